//! Connections to backends: pooled, plain or TLS, HTTP/1.1 or HTTP/2. A backend's certificate is not checked, as nginx does not unless
//! it is told to.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::Body;
use crate::table::Protocol;

/// Idle connections kept for one endpoint, and for how long.
const IDLE_CONNECTIONS: usize = 64;
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Sets of connections; each combination of protocol and connect time-out has one.
const MOST_POOLS: usize = 64;

pub type Client = Pool<Connector, Body>;

/// One pool for each way to connect.
pub struct Clients {
    pools: Mutex<HashMap<(Protocol, Duration), Client>>,
    tls: Arc<ClientConfig>,
    tls_h2: Arc<ClientConfig>,
}

impl Clients {
    pub fn new() -> Self {
        let config = |protocol: &[u8]| Arc::new(pintle_tls::unverified(&[protocol]));
        Self { pools: Mutex::default(), tls: config(b"http/1.1"), tls_h2: config(b"h2") }
    }

    pub fn get(&self, protocol: Protocol, connect_timeout: Duration) -> Client {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= MOST_POOLS {
            pools.clear();
        }
        let make = || {
            let tls = match protocol {
                Protocol::Http | Protocol::Grpc => None,
                Protocol::Https => Some(self.tls.clone()),
                Protocol::Grpcs => Some(self.tls_h2.clone()),
            };
            let mut builder = Pool::builder(TokioExecutor::new());
            builder.pool_idle_timeout(IDLE_TIME).pool_max_idle_per_host(IDLE_CONNECTIONS).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
            builder.http2_only(matches!(protocol, Protocol::Grpc | Protocol::Grpcs));
            builder.build(Connector { connect_timeout, tls })
        };
        pools.entry((protocol, connect_timeout)).or_insert_with(make).clone()
    }
}

#[derive(Clone)]
pub struct Connector {
    connect_timeout: Duration,
    tls: Option<Arc<ClientConfig>>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { connect_timeout, tls } = self.clone();
        Box::pin(async move {
            let endpoint: SocketAddr = uri.authority().and_then(|a| a.as_str().parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
            tokio::time::timeout(connect_timeout, connect(endpoint, tls))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map(TokioIo::new)
        })
    }
}

async fn connect(endpoint: SocketAddr, tls: Option<Arc<ClientConfig>>) -> io::Result<Stream> {
    let stream = TcpStream::connect(endpoint).await?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(Stream { io: Box::new(stream), is_h2: false }) };
    let stream = TlsConnector::from(config).connect(ServerName::IpAddress(endpoint.ip().into()), stream).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Stream { io: Box::new(stream), is_h2 })
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub struct Stream {
    io: Box<dyn Io>,
    is_h2: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.is_h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
