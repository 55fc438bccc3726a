//! Cluster DNS, on every node for the node's own pods.
//!
//! Pods ask the cluster address of the service kube-system/kube-dns. Each node answers at a port of its own address and says so in
//! an EndpointSlice of that service; the service's `internalTrafficPolicy: Local` lets the proxy lead each pod to its own node. So
//! port 53 of the machine stays free, and nothing about DNS is special to the proxy. Names outside the cluster are asked of the
//! machine's own resolvers. Started by [`crate::run`].

mod forward;
mod handler;
mod model;
mod publish;
mod zone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use hickory_server::Server;
use pintle_client::Change;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::NodeConfig;
use crate::network::Sources;
use forward::Forwarder;
use handler::Handler;
use zone::Zone;

/// Taken where it is free; otherwise any other.
const PREFERRED_PORT: u16 = 10053;
/// A TCP client that says nothing for this long is hung up on.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that wait for a slow TCP client.
const TCP_QUEUE: usize = 32;
/// After the ports could not be opened.
const RETRY: Duration = Duration::from_secs(2);

/// Serves until dropped.
pub struct Dns {
    task: JoinHandle<()>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn start(config: &NodeConfig, sources: &Arc<Sources>) -> Dns {
    let node_name = config.name.clone();
    let domain = config.cluster_domain.clone();
    let addresses = config.addresses.clone();
    let server = config.cluster_dns.iter().chain([&crate::DEFAULT_CLUSTER_DNS]).find_map(v4).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let sources = sources.clone();
    let task = async move {
        let Some(address) = addresses.iter().find_map(v4) else {
            tracing::error!("this node has no IPv4 address: its pods have no cluster DNS");
            return;
        };
        let zone = Arc::new(RwLock::new(Zone::new(&domain, server)));
        let (udp, tcp) = listen(address).await;
        let Ok(place) = udp.local_addr() else { return };
        let forwarder = Forwarder::new(vec![place.ip(), IpAddr::V4(server)]);
        // Before the first state is complete an answer would be a lie: questions wait in the open socket.
        sources.services.wait_synced().await;
        sources.slices.wait_synced().await;
        let mut changes = (sources.services.subscribe(), sources.slices.subscribe());
        take_in(&zone, &mut changes, (None, None));
        let mut dns = Server::new(Handler::new(zone.clone(), forwarder));
        dns.register_socket(udp);
        dns.register_listener(tcp, TCP_IDLE, TCP_QUEUE);
        let follow = follow(changes, &zone);
        let publish = publish::keep(&sources.client, &node_name, place);
        tokio::select! {
            () = follow => {}
            () = publish => {}
            ended = dns.block_until_done() => tracing::error!(?ended, "the DNS server ended"),
        }
    };
    Dns { task: tokio::spawn(task) }
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    }
}

/// UDP and TCP on one port.
async fn listen(address: Ipv4Addr) -> (UdpSocket, TcpListener) {
    loop {
        for port in [PREFERRED_PORT, 0] {
            let Ok(tcp) = TcpListener::bind(SocketAddr::from((address, port))).await else { continue };
            let Ok(place) = tcp.local_addr() else { continue };
            if let Ok(udp) = UdpSocket::bind(place).await {
                return (udp, tcp);
            }
        }
        tracing::warn!(%address, "no port for cluster DNS could be opened");
        tokio::time::sleep(RETRY).await;
    }
}

type Changes = BoxStream<'static, Change>;

async fn follow(mut changes: (Changes, Changes), zone: &RwLock<Zone>) {
    loop {
        let first = tokio::select! {
            change = changes.0.next() => (change, None),
            change = changes.1.next() => (None, change),
        };
        if first.0.is_none() && first.1.is_none() {
            return;
        }
        take_in(zone, &mut changes, first);
    }
}

/// The first changes, and what else is there already.
fn take_in(zone: &RwLock<Zone>, changes: &mut (Changes, Changes), first: (Option<Change>, Option<Change>)) {
    let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
    first.0.iter().for_each(|change| service_changed(&mut zone, change));
    first.1.iter().for_each(|change| slice_changed(&mut zone, change));
    while let Some(Some(change)) = changes.0.next().now_or_never() {
        service_changed(&mut zone, &change);
    }
    while let Some(Some(change)) = changes.1.next().now_or_never() {
        slice_changed(&mut zone, &change);
    }
}

fn service_changed(zone: &mut Zone, change: &Change) {
    let Some(service) = model::read_service(change.object()) else { return };
    match change {
        Change::Deleted(_) => zone.remove_service(&service.namespace, &service.name),
        Change::Added(_) | Change::Modified { .. } => zone.put_service(service),
    }
}

fn slice_changed(zone: &mut Zone, change: &Change) {
    if let Change::Deleted(old) | Change::Modified { old, .. } = change
        && let Some((name, slice)) = model::read_slice(old)
    {
        zone.remove_slice(&slice.namespace, &slice.service, &name);
    }
    if let Change::Added(new) | Change::Modified { new, .. } = change
        && let Some((name, slice)) = model::read_slice(new)
    {
        zone.put_slice(&name, slice);
    }
}
