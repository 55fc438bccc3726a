//! Answers load balancers on a service's `healthCheckNodePort`: 200 while this node has a ready endpoint of it, else 503.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Response, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::model::Snapshot;
use super::topology::is_local;

/// Connections to one port at a time; a load balancer opens one for each question.
const MOST_CONNECTIONS: usize = 64;
/// How long a client may take to send its question.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the port could not be opened.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Server {
    ports: BTreeMap<u16, Served>,
}

struct Served {
    service: (String, String),
    local: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Opens, closes and renews the ports as the services say.
    pub fn serve(&mut self, snapshot: &Snapshot) {
        let wanted = wanted(snapshot);
        self.ports.retain(|port, served| wanted.get(port).is_some_and(|(service, _)| *service == served.service));
        for (port, (service, count)) in wanted {
            let served = self.ports.entry(port).or_insert_with(|| {
                let local = Arc::new(AtomicUsize::new(0));
                let task = tokio::spawn(listen(port, service.clone(), local.clone()));
                Served { service, local, task }
            });
            served.local.store(count, Ordering::Relaxed);
        }
    }
}

/// By port: the service, and how many endpoints are ready on this node.
fn wanted(snapshot: &Snapshot) -> BTreeMap<u16, ((String, String), usize)> {
    let mut wanted = BTreeMap::new();
    for (key, service) in &snapshot.services {
        let Some(port) = service.ports.iter().find_map(|p| p.health_check_port) else { continue };
        let local = |p| snapshot.endpoints(service, p).iter().filter(|e| e.ready && is_local(e, snapshot)).count();
        wanted.insert(port, (key.clone(), service.ports.iter().map(local).max().unwrap_or(0)));
    }
    wanted
}

async fn listen(port: u16, service: (String, String), local: Arc<AtomicUsize>) {
    let listener = loop {
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(port, %error, "a health check port cannot be opened"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let service = Arc::new(service);
    let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(seat) = seats.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, local) = (service.clone(), local.clone());
        tokio::spawn(async move {
            let answer = service_fn(|_| std::future::ready(Ok::<_, Infallible>(answer(&service, local.load(Ordering::Relaxed)))));
            let mut http = hyper::server::conn::http1::Builder::new();
            let served = http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false).serve_connection(TokioIo::new(stream), answer);
            let _ = tokio::time::timeout(PATIENCE * 2, served).await;
            drop(seat);
        });
    }
}

fn answer(service: &(String, String), local: usize) -> Response<Full<bytes::Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": service.0, "name": service.1}, "localEndpoints": local, "serviceProxyHealthy": true,
    });
    Response::builder()
        .status(if local > 0 { 200 } else { 503 })
        .header(header::CONTENT_TYPE, "application/json")
        .header("X-Content-Type-Options", "nosniff")
        .header("X-Load-Balancing-Endpoint-Weight", local)
        .body(Full::from(body.to_string()))
        .unwrap_or_default()
}
