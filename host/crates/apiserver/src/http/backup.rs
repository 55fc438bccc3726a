//! A backup while the server serves ([`crate::backup`] has what is done with one).

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::HeaderValue;
use pintle_api::Status;
use pintle_store::Snapshot;
use pintle_store::backup::Writer;

use super::body::BoxError;
use super::{Body, Response, answer};
use crate::handlers::Core;
use crate::handlers::write::store_error;

/// The backup as a stream. One that ends without its checksum is no backup: the store failed on the way.
pub async fn serve(core: &Core) -> Result<Response, Status> {
    let Snapshot { revision, pages } = core.cache.store().snapshot().await.map_err(store_error)?;
    let (writer, first) = Writer::begin(revision);
    let rest = futures::stream::unfold(Some((pages, writer)), |state| async {
        let (mut pages, mut writer) = state?;
        match pages.next().await {
            Some(Ok(page)) => Some((Ok(writer.entries(&page)), Some((pages, writer)))),
            Some(Err(why)) => Some((Err(BoxError::from(why)), None)),
            None => Some((Ok(writer.end()), None)),
        }
    });
    let stream = futures::stream::once(async { Ok::<Bytes, BoxError>(first) }).chain(rest);
    Ok(answer::bytes(200, HeaderValue::from_static("application/octet-stream"), Body::Stream(stream.boxed())))
}
