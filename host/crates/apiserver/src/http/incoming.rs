//! Bodies of requests: how large one may be, and how much of all of them is held at once. Called by `rest`.
//!
//! Parsed, a body takes many times its bytes, and anybody with a name may send one. What is refused for want of room is refused at once: a
//! sender that waits with the rest of its body must not hold up others.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use pintle_api::{Reason, Status};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::unread::Asking;

/// The largest body of a request.
pub const MAX_BODY_BYTES: usize = 3 << 20;
/// A body up to this size is not counted: the number of requests in flight bounds them.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// What is counted of all bodies together, until their requests are answered.
pub const MAX_HELD_BYTES: usize = 32 << 20;

/// Room for the bodies of all requests of a server.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

/// A body, which has its room until it is dropped.
pub struct Held {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_HELD_BYTES)))
    }
}

impl Room {
    pub async fn read(&self, body: &mut Asking) -> Result<Held, Status> {
        let mut parts = Vec::new();
        let (mut size, mut counted, mut room) = (0, 0, None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|why| Status::bad_request(format!("the body could not be read: {why}")))?;
            let Ok(part) = frame.into_data() else { continue };
            size += part.len();
            if size > MAX_BODY_BYTES {
                return Err(too_large());
            }
            if size > SMALL_BODY_BYTES {
                self.take(size - counted, &mut room)?;
                counted = size;
            }
            parts.push(part);
        }
        Ok(Held { bytes: joined(parts, size), _room: room })
    }

    fn take(&self, bytes: usize, room: &mut Option<OwnedSemaphorePermit>) -> Result<(), Status> {
        let more = u32::try_from(bytes).ok().and_then(|bytes| self.0.clone().try_acquire_many_owned(bytes).ok());
        let Some(more) = more else {
            return Err(Status::too_many_requests("too many large requests, please try again later", 1));
        };
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}

fn too_large() -> Status {
    Status::new(413, Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {MAX_BODY_BYTES}"))
}

/// A body that came in one piece is not copied.
fn joined(mut parts: Vec<Bytes>, size: usize) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(size);
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}
