//! Listeners and connections, and the tables as they come.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::crypto::CryptoProvider;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::balance::Balancer;
use crate::client::Clients;
use crate::compiled::Compiled;
use crate::handle::{Arrival, Plane, handle};
use crate::rate::Rates;
use crate::table::RouteTable;
use crate::tls;

/// Clients' connections at a time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 16_384;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// For a request's headers, and between two requests of a connection.
const HEADER_PATIENCE: Duration = Duration::from_secs(60);
/// Streams that an HTTP/2 client may have open on one connection: nginx's.
const MOST_STREAMS: u32 = 128;
/// After accepting failed, for lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Serves the newest table until the sender of tables is gone.
pub async fn serve(http: SocketAddr, https: SocketAddr, table: watch::Receiver<Arc<RouteTable>>) -> Result<(), ServeError> {
    let listen = |address| async move { TcpListener::bind(address).await.map_err(|error| ServeError::Listen { address, error }) };
    serve_on(listen(http).await?, listen(https).await?, table).await
}

/// The same on listeners that are open already.
pub async fn serve_on(http: TcpListener, https: TcpListener, mut tables: watch::Receiver<Arc<RouteTable>>) -> Result<(), ServeError> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let first = tables.borrow_and_update().clone();
    let table = Arc::new(ArcSwap::from_pointee(Compiled::new(&first)));
    let clients = Clients::new();
    let plane = Arc::new(Plane { table: table.clone(), clients, balancer: Balancer::default(), rates: Rates::default() });
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&provider, table.clone())?));
    let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    tokio::select! {
        () = accept(http, None, plane.clone(), seats.clone()) => {}
        () = accept(https, Some(acceptor), plane, seats) => {}
        () = follow(&table, &mut tables) => {}
    }
    Ok(())
}

async fn follow(table: &ArcSwap<Compiled>, tables: &mut watch::Receiver<Arc<RouteTable>>) {
    while tables.changed().await.is_ok() {
        let next = tables.borrow_and_update().clone();
        table.store(Arc::new(Compiled::new(&next)));
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, plane: Arc<Plane>, seats: Arc<Semaphore>) {
    let port = listener.local_addr().map_or(0, |a| a.port());
    while let Ok(seat) = seats.clone().acquire_owned().await {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let arrival = Arrival { client, port, tls: tls.is_some() };
        let (tls, plane) = (tls.clone(), plane.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(stream, arrival, plane).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                        converse(stream, arrival, plane).await;
                    }
                }
            }
            drop(seat);
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, arrival: Arrival, plane: Arc<Plane>) {
    let service = service_fn(move |request| {
        let plane = plane.clone();
        async move { Ok::<_, Infallible>(handle(&plane, arrival, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MOST_STREAMS);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::trace!(%error, "a connection ended");
    }
}
