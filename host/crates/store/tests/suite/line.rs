//! A TCP line to a server that the test cuts: after a number of bytes, so that a call is lost on its way, its answer on the way
//! back, or a watch in the middle of a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CHUNK_BYTES: usize = 4096;

pub struct Line {
    pub url: String,
    cut: Arc<Cut>,
    accepting: JoinHandle<()>,
}

struct Cut {
    /// What still passes, in either direction.
    bytes_left: AtomicI64,
    /// Counts the cuts. Every connection of before ends with each.
    cuts: watch::Sender<usize>,
}

pub async fn open(to: String) -> Line {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cut = Arc::new(Cut { bytes_left: AtomicI64::new(i64::MAX), cuts: watch::Sender::new(0) });
    let shared = cut.clone();
    let accepting = tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let ends = shared.cuts.subscribe();
            if let Ok(far) = TcpStream::connect(&to).await {
                tokio::spawn(carry(near, far, ends, shared.clone()));
            }
        }
    });
    Line { url, cut, accepting }
}

impl Line {
    /// All connections end when so many more bytes have passed.
    pub fn cut_after(&self, bytes: i64) {
        self.cut.bytes_left.store(bytes, Ordering::Relaxed);
    }

    pub fn cuts(&self) -> usize {
        *self.cut.cuts.borrow()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(near: TcpStream, far: TcpStream, mut ends: watch::Receiver<usize>, cut: Arc<Cut>) {
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = far.into_split();
    tokio::select! {
        _ = ends.changed() => {}
        () = pass(from_near, to_far, &cut) => {}
        () = pass(from_far, to_near, &cut) => {}
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, cut: &Cut) {
    let mut chunk = [0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let wanted = i64::try_from(length).unwrap();
        let left = cut.bytes_left.fetch_sub(wanted, Ordering::Relaxed);
        let allowed = length.min(usize::try_from(left).unwrap_or(0));
        if to.write_all(&chunk[..allowed]).await.is_err() {
            return;
        }
        if allowed < length {
            // Whoever is first to find the end makes the line whole for the connections that come.
            cut.bytes_left.store(i64::MAX, Ordering::Relaxed);
            cut.cuts.send_modify(|cuts| *cuts += 1);
            return;
        }
    }
}
