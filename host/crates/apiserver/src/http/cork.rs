//! Gathers what a connection writes until its turn ends.
//!
//! HTTP/2 flushes after each frame: with many streams on one connection each small answer or watch event would be a TLS record and a
//! system call of its own. Between hyper and TLS, [`Corked`] keeps written bytes back, also from a flush, and [`Gathered`] sends them when the
//! connection's future has done all that it can do at the moment. So nothing waits longer than for work that is done already.
//! Holds no more than [`GATHER_BYTES`]; from then on writes wait for the socket, as without it. Called by `serve`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Four full TLS records go out with one system call.
const GATHER_BYTES: usize = 64 << 10;
/// A single write is at most a frame; behind the limit there is room for one, so that the buffer is made once.
const FRAME_ROOM_BYTES: usize = 20 << 10;
/// An idle connection keeps no more room than this.
const IDLE_BYTES: usize = 1 << 10;

/// A byte stream whose writes are gathered for as long as its [`Gathered`] future lives.
pub struct Corked<T>(Arc<Mutex<Inner<T>>>);

/// Drives the connection and sends what it wrote.
pub struct Gathered<F, T> {
    connection: Pin<Box<F>>,
    stream: Arc<Mutex<Inner<T>>>,
}

struct Inner<T> {
    stream: T,
    kept: BytesMut,
    gather: bool,
    broken: Option<io::ErrorKind>,
}

pub fn corked<T>(stream: T) -> Corked<T> {
    Corked(Arc::new(Mutex::new(Inner { stream, kept: BytesMut::new(), gather: false, broken: None })))
}

impl<T> Corked<T> {
    /// The future that is to be polled instead of the connection's; the connection owns the stream.
    pub fn gathered<F>(self, connect: impl FnOnce(Self) -> F) -> Gathered<F, T> {
        let stream = self.0.clone();
        lock(&stream).gather = true;
        Gathered { connection: Box::pin(connect(self)), stream }
    }
}

impl<F: Future, T: AsyncWrite + Unpin> Future for Gathered<F, T> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outcome = self.connection.as_mut().poll(cx);
        let mut stream = lock(&self.stream);
        // What was upgraded belongs to somebody else from now on.
        stream.gather = outcome.is_pending();
        if let Poll::Ready(Err(why)) = stream.send(cx)
            && stream.broken.replace(why.kind()).is_none()
        {
            // The connection learns of it when it reads or writes next.
            cx.waker().wake_by_ref();
        }
        outcome
    }
}

impl<F, T> Drop for Gathered<F, T> {
    fn drop(&mut self) {
        lock(&self.stream).gather = false;
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn check(&self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn write(&mut self, cx: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.kept.len() >= GATHER_BYTES || !self.gather {
            ready!(self.drain(cx))?;
        }
        let length = parts.iter().map(|part| part.len()).sum();
        let room = if length > IDLE_BYTES { GATHER_BYTES + FRAME_ROOM_BYTES } else { length };
        if self.kept.capacity() - self.kept.len() < length {
            self.kept.reserve(room.max(length));
        }
        parts.iter().for_each(|part| self.kept.extend_from_slice(part));
        Poll::Ready(Ok(length))
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        if self.kept.capacity() > IDLE_BYTES {
            self.kept = BytesMut::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        Pin::new(&mut inner.stream).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, &[bytes])
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        const MOST_PARTS: usize = 64;
        let mut slices: [&[u8]; MOST_PARTS] = [&[]; MOST_PARTS];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = part;
        }
        lock(&self.0).write(cx, &slices[..parts.len().min(MOST_PARTS)])
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        if inner.gather { Poll::Ready(Ok(())) } else { inner.send(cx) }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        ready!(inner.send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

/// Nothing between taking and giving back the lock can leave it half done.
fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A stream that counts its writes.
    struct Counted {
        stream: tokio::io::DuplexStream,
        writes: Arc<Mutex<Vec<usize>>>,
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            lock(&self.writes).push(written);
            Poll::Ready(Ok(written))
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }

    fn pair(room: usize) -> (Corked<Counted>, tokio::io::DuplexStream, Arc<Mutex<Vec<usize>>>) {
        let (near, far) = tokio::io::duplex(room);
        let writes = Arc::<Mutex<Vec<usize>>>::default();
        (corked(Counted { stream: near, writes: writes.clone() }), far, writes)
    }

    #[tokio::test]
    async fn frames_of_one_turn_go_out_together() {
        let (stream, mut far, writes) = pair(1 << 20);
        let connection = stream.gathered(|mut stream| async move {
            for _ in 0..100 {
                stream.write_all(&[1; 100]).await.unwrap();
                stream.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        tokio::spawn(connection);
        let mut read = vec![0; 10_000];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(*lock(&writes), [10_000]);
    }

    #[tokio::test]
    async fn a_full_socket_holds_the_writer_back() {
        let (stream, mut far, _) = pair(1000);
        let written = Arc::<Mutex<usize>>::default();
        let count = written.clone();
        let mut connection = Box::pin(stream.gathered(|mut stream| async move {
            for _ in 0..100 {
                stream.write_all(&[1; 10_000]).await.unwrap();
                *lock(&count) += 10_000;
            }
            stream.shutdown().await.unwrap();
        }));
        assert!(poll_fn(|cx| Poll::Ready(connection.poll_unpin(cx).is_pending())).await);
        assert!(*lock(&written) <= GATHER_BYTES + 20_000, "{}", lock(&written));
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all.len())
        });
        connection.await;
        assert_eq!(reader.await.unwrap().unwrap(), 1_000_000);
    }

    #[tokio::test]
    async fn a_stream_that_outlives_its_connection_writes_at_once() {
        let (stream, mut far, _) = pair(1000);
        let mut kept = None;
        stream.gathered(|stream| async { kept = Some(stream) }).await;
        let mut stream = kept.unwrap();
        stream.write_all(b"upgraded").await.unwrap();
        stream.flush().await.unwrap();
        let mut read = [0; 8];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"upgraded");
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_ends_the_connection() {
        let (stream, far, _) = pair(1000);
        drop(far);
        let connection = stream.gathered(|mut stream| async move {
            let written = stream.write_all(b"lost").await;
            assert!(written.is_ok(), "it is only gathered");
            tokio::task::yield_now().await;
            stream.write_all(b"again").await
        });
        assert!(connection.await.is_err());
    }
}
