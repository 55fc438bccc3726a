//! Bodies of answers, read whole within a limit.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use pintle_api::Status;

pub async fn collect(body: Incoming, limit: usize) -> Result<Bytes, Status> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::internal(format!("the answer is longer than {limit} bytes"))),
        Err(error) => Err(Status::unavailable(format!("the connection was lost during the answer: {error}"))),
    }
}
