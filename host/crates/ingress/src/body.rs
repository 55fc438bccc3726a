//! Bodies on their way through: limited on the way in, held to a time-out on the way out, never gathered.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

pub type Error = Box<dyn StdError + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, Error>;

#[derive(Debug, thiserror::Error)]
#[error("the backend sent nothing for too long")]
pub struct TooSlow;

pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Whether somewhere down the chain of causes a body was too long.
pub fn is_too_long(error: &(dyn StdError + 'static)) -> bool {
    let mut here = Some(error);
    while let Some(cause) = here {
        if cause.is::<LengthLimitError>() {
            return true;
        }
        here = cause.source();
    }
    false
}

/// A client's body that several attempts may be given: as long as none has read from it, the next one can.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    body: Limited<Incoming>,
    begun: bool,
}

impl Shared {
    pub fn new(body: Incoming, limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { inner: Arc::new(Mutex::new(Inner { body: Limited::new(body, limit), begun: false })) }
    }

    /// True once a part of it went to somebody.
    pub fn is_begun(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).begun
    }

    pub fn boxed(&self) -> Body {
        self.clone().boxed_unsync()
    }
}

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(&mut inner.body).poll_frame(context);
        inner.begun |= matches!(polled, Poll::Ready(Some(_)));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).body.size_hint()
    }
}

/// A backend's body that ends in an error when nothing comes for too long. Holds what must live as long as the answer.
pub struct Timed<G> {
    body: Incoming,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    armed: bool,
    _guard: G,
}

impl<G> Timed<G> {
    pub fn new(body: Incoming, patience: Duration, guard: G) -> Self {
        Self { body, patience, timer: Box::pin(tokio::time::sleep(patience)), armed: false, _guard: guard }
    }
}

impl<G: Unpin> http_body::Body for Timed<G> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.armed = false;
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        if !self.armed {
            let end = Instant::now() + self.patience;
            self.timer.as_mut().reset(end);
            self.armed = true;
        }
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(TooSlow.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
