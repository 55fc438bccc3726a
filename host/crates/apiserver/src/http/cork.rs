//! Gathers what a connection writes until its turn ends.
//!
//! HTTP/2 flushes after each frame: with many streams on one connection each small answer or watch event would be a TLS record and a
//! system call of its own. Between hyper and TLS, [`Corked`] keeps written bytes back, also from a flush, and [`Gathered`] sends them when the
//! connection's future has done all that it can do at the moment. So nothing waits longer than for work that is done already.
//! What fills whole records is encrypted from where it lies, without a copy; only what is left over is kept.
//! Holds no more than [`GATHER_BYTES`]; from then on writes wait for the socket, as without it. Called by `serve`.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// What a TLS record holds.
const RECORD_BYTES: usize = 16 << 10;
/// Four full TLS records go out with one system call.
const GATHER_BYTES: usize = 4 * RECORD_BYTES;
/// An idle connection keeps no more room than this.
const IDLE_BYTES: usize = 1 << 10;
/// Parts of one write that are looked at; the writer comes again with the others.
const MOST_PARTS: usize = 64;

/// What lies under the cork.
pub trait Put: AsyncWrite + Unpin {
    /// Takes bytes without waiting, to be sent with the next flush. Whoever calls this bounds how many.
    fn put(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl<T: AsyncRead + AsyncWrite + Unpin> Put for TlsStream<T> {
    fn put(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        use io::Write as _;
        self.get_mut().1.writer().write_vectored(parts)
    }
}

/// A byte stream whose writes are gathered for as long as its [`Gathered`] future lives.
pub struct Corked<T>(Arc<Mutex<Inner<T>>>);

/// Drives the connection and sends what it wrote.
pub struct Gathered<F, T> {
    connection: Pin<Box<F>>,
    stream: Arc<Mutex<Inner<T>>>,
}

struct Inner<T> {
    stream: T,
    /// Less than a record.
    kept: Vec<u8>,
    /// How much was put into the stream since its last flush ended.
    put: usize,
    gather: bool,
    broken: Option<io::ErrorKind>,
}

/// The cork over TLS, whose own limit would break records where it is reached.
pub fn corked_tls<T: AsyncRead + AsyncWrite + Unpin>(mut stream: TlsStream<T>) -> Corked<TlsStream<T>> {
    stream.get_mut().1.set_buffer_limit(None);
    corked(stream)
}

fn corked<T>(stream: T) -> Corked<T> {
    Corked(Arc::new(Mutex::new(Inner { stream, kept: Vec::new(), put: 0, gather: false, broken: None })))
}

impl<T> Corked<T> {
    /// The future that is to be polled instead of the connection's; the connection owns the stream.
    pub fn gathered<F>(self, connect: impl FnOnce(Self) -> F) -> Gathered<F, T> {
        let stream = self.0.clone();
        lock(&stream).gather = true;
        Gathered { connection: Box::pin(connect(self)), stream }
    }
}

impl<F: Future, T: Put> Future for Gathered<F, T> {
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

impl<T: Put> Inner<T> {
    fn check(&self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.put + self.kept.len() >= GATHER_BYTES || !self.gather {
            ready!(self.drain(cx))?;
        }
        let room = GATHER_BYTES - self.put - self.kept.len();
        let parts = &parts[..parts.len().min(MOST_PARTS)];
        let taken = parts.iter().map(|part| part.len()).sum::<usize>().min(room);
        let records = (self.kept.len() + taken) / RECORD_BYTES * RECORD_BYTES;
        let through = records.saturating_sub(self.kept.len());
        if records > 0 {
            let mut slices = [IoSlice::new(&[]); MOST_PARTS + 1];
            let first = std::iter::once(&*self.kept);
            let count = slices.iter_mut().zip(first.chain(between(parts, 0, through))).map(|(slice, part)| *slice = IoSlice::new(part)).count();
            put_all(&mut self.stream, &mut slices[..count])?;
            self.put += records;
            self.kept.clear();
        }
        if taken - through > IDLE_BYTES {
            self.kept.reserve_exact(RECORD_BYTES - self.kept.len());
        }
        between(parts, through, taken).for_each(|part| self.kept.extend_from_slice(part));
        Poll::Ready(Ok(taken))
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.kept.is_empty() {
            put_all(&mut self.stream, &mut [IoSlice::new(&self.kept)])?;
            self.put += self.kept.len();
            self.kept.clear();
        }
        if self.put > 0 {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.put = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        if self.kept.capacity() > IDLE_BYTES {
            self.kept = Vec::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<T: AsyncRead + Put> AsyncRead for Corked<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        Pin::new(&mut inner.stream).poll_read(cx, into)
    }
}

impl<T: Put> AsyncWrite for Corked<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, &[IoSlice::new(bytes)])
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, parts)
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

/// All parts, in their order.
fn put_all(stream: &mut impl Put, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let put = stream.put(parts)?;
        if put == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut parts, put);
    }
    Ok(())
}

/// The bytes of the parts from one place to another.
fn between<'a>(parts: &'a [IoSlice<'_>], from: usize, to: usize) -> impl Iterator<Item = &'a [u8]> {
    let mut at = 0;
    parts.iter().filter_map(move |part| {
        let start = at;
        at += part.len();
        let (first, last) = (from.max(start), to.min(at));
        (first < last).then(|| &part[first - start..last - start])
    })
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
        held: Vec<u8>,
        writes: Arc<Mutex<Vec<usize>>>,
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            lock(&self.writes).push(written);
            Poll::Ready(Ok(written))
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            while !self.held.is_empty() {
                let held = std::mem::take(&mut self.held);
                let written = self.as_mut().poll_write(cx, &held);
                self.held = held[if let Poll::Ready(Ok(written)) = written { written } else { 0 }..].to_vec();
                ready!(written)?;
            }
            Pin::new(&mut self.stream).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }

    impl Put for Counted {
        fn put(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            // One part at a time, so that the caller has to come again.
            let part = parts.first().map_or(&[][..], |part| part);
            self.held.extend_from_slice(part);
            Ok(part.len())
        }
    }

    fn pair(room: usize) -> (Corked<Counted>, tokio::io::DuplexStream, Arc<Mutex<Vec<usize>>>) {
        let (near, far) = tokio::io::duplex(room);
        let writes = Arc::<Mutex<Vec<usize>>>::default();
        (corked(Counted { stream: near, held: Vec::new(), writes: writes.clone() }), far, writes)
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
    async fn long_writes_leave_in_whole_records_and_in_order() {
        let (stream, mut far, writes) = pair(1 << 20);
        let mut sent: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 % 251) as u8).collect();
        let body = sent.clone();
        let connection = stream.gathered(|mut stream| async move {
            for (at, chunk) in body.chunks(RECORD_BYTES + 9).enumerate() {
                let (head, tail) = chunk.split_at(chunk.len() / (at + 2));
                let mut left = &mut [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)][..];
                while !left.is_empty() {
                    let written = poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, left)).await.unwrap();
                    IoSlice::advance_slices(&mut left, written);
                }
                stream.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        tokio::spawn(connection);
        let mut read = vec![0; sent.len()];
        far.read_exact(&mut read).await.unwrap();
        assert!(read == sent);
        let last = sent.split_off(sent.len() / GATHER_BYTES * GATHER_BYTES).len();
        assert_eq!(*lock(&writes), [GATHER_BYTES, GATHER_BYTES, GATHER_BYTES, GATHER_BYTES, last]);
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
        assert!(*lock(&written) <= GATHER_BYTES, "{}", lock(&written));
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
