//! The body of a request, and what becomes of the part that its handler did not read. Called by `serve`.
//!
//! Over HTTP/1 the connection cannot go on before a body is read to its end, and hyper closes one whose body is not: without a word to the client, which
//! is still sending and may lose the answer itself. A request that is refused for its path, its user or its options is answered before anybody looked at
//! its body. So that body is read and thrown away first; when it is too long or too slow for that, the answer says that the connection closes.
//! HTTP/2 needs none of it: there a stream ends by itself.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::incoming::MAX_BODY_BYTES;
use super::{Request, Response};

/// As much as any body may have is read in vain, so that a client that keeps to the limit always has its answer.
const MAX_IN_VAIN: usize = MAX_BODY_BYTES;
/// What is under way is there within a moment; a client that waits with its body gets its answer instead.
const MOMENT: Duration = Duration::from_secs(1);

/// A request's body. What nobody read of it can be had back when it is dropped.
pub struct Asking {
    incoming: Option<Incoming>,
    given_back: Option<Unread>,
}

/// Where an unread body goes.
#[derive(Clone, Default)]
pub struct Unread(Arc<Mutex<Option<Incoming>>>);

impl Asking {
    /// The request, and where to look for its body afterwards, if there is one that matters.
    pub fn of(request: Request) -> (http::request::Parts, Self, Option<Unread>) {
        let (parts, incoming) = request.into_parts();
        let matters = parts.version < Version::HTTP_2 && !http_body::Body::is_end_stream(&incoming);
        let given_back = matters.then(Unread::default);
        (parts, Self { incoming: Some(incoming), given_back: given_back.clone() }, given_back)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let (Some(incoming), Some(unread)) = (self.incoming.take(), &self.given_back) {
            *unread.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}

impl Unread {
    /// Reads what is left, or lets `response` say that the connection closes. `awaited`: the client sends nothing before it is told to (`Expect`).
    pub async fn settle(self, response: &mut Response, awaited: bool) {
        let Some(incoming) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let read = !awaited && tokio::time::timeout(MOMENT, is_read_to_its_end(incoming)).await.unwrap_or(false);
        if !read {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

async fn is_read_to_its_end(mut incoming: Incoming) -> bool {
    let mut size = 0;
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else { return false };
        size += frame.data_ref().map_or(0, Bytes::len);
        if size > MAX_IN_VAIN {
            return false;
        }
    }
    true
}

impl http_body::Body for Asking {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.incoming.as_mut().map_or(Poll::Ready(None), |incoming| Pin::new(incoming).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}
