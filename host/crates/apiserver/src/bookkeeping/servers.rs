//! Which servers of a cluster there are: each keeps a Lease in kube-system under upstream's label, and the one that leads makes the
//! endpoints of default/kubernetes the addresses of those that live.
//!
//! A lease counts as long as its own duration says, by the clock of who looks: servers' clocks must agree to within seconds. A single
//! server needs none of it, see [`super::bootstrap`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{DeleteOptions, ListOptions, Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Object, Reason, Status};
use serde_json::json;
use tokio::sync::watch;

use super::{Context, bootstrap, leader};

const LEASES: GroupVersionResource = GroupVersionResource::constant("coordination.k8s.io", "v1", "leases");
const NAMESPACE: &str = "kube-system";
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// Where the server of a lease is reached.
const ADDRESS: &str = "pintle.dev/address";
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A server that missed two renewals is left out.
const LEASE_SECONDS: i64 = 30;
/// The lease of a server that was not seen for so long is removed.
const FORGET_SECONDS: i64 = 3600;

/// Tells that this server lives, until `stop` is raised; then that it does not.
pub async fn announce(client: Arc<dyn Client>, address: SocketAddr, mut stop: watch::Receiver<bool>) {
    let name = format!("apiserver-{}", address.to_string().replace(['.', ':', '[', ']'], "-").trim_matches('-'));
    let target = Target::object(LEASES, Some(NAMESPACE), &name);
    loop {
        if let Err(why) = renew(&client, &target, &name, address).await {
            tracing::debug!(%why, "this server's lease was not renewed");
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    let _ = client.delete(&target, &DeleteOptions::default()).await;
}

async fn renew(client: &Arc<dyn Client>, target: &Target, name: &str, address: SocketAddr) -> Result<(), Status> {
    let spec = json!({"holderIdentity": address.to_string(), "leaseDurationSeconds": LEASE_SECONDS, "renewTime": leader::now()});
    match client.patch(target, Patch::Merge(json!({"spec": spec})), &WriteOptions::default()).await {
        Err(none) if none.is(Reason::NotFound) => {}
        other => return other.map(drop),
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL.0: LABEL.1}, "annotations": {ADDRESS: address.to_string()}},
        "spec": spec,
    });
    client.create(&Target::collection(LEASES, Some(NAMESPACE)), lease, &WriteOptions::default()).await.map(drop)
}

/// Keeps the endpoints true, where this server leads.
pub async fn publish(context: Context) {
    loop {
        if let Err(why) = publish_once(&context).await {
            tracing::debug!(%why, "the endpoints of default/kubernetes were not brought up to date");
        }
        tokio::time::sleep(RENEW_EVERY).await;
    }
}

async fn publish_once(context: &Context) -> Result<(), Status> {
    let options = ListOptions { label_selector: format!("{}={}", LABEL.0, LABEL.1), ..ListOptions::default() };
    let listed = context.client.list(&Target::collection(LEASES, Some(NAMESPACE)), &options).await?;
    let now = jiff::Timestamp::now();
    let mut live = vec![SocketAddr::new(context.advertise, context.port)];
    for served in listed.items {
        let lease = served.parse()?;
        match seconds_left(&lease, now) {
            left if left > 0 => live.extend(lease.annotation(ADDRESS).and_then(|a| a.parse::<SocketAddr>().ok())),
            left if left < -FORGET_SECONDS => {
                let target = Target::object(LEASES, Some(NAMESPACE), lease.name());
                drop(context.client.delete(&target, &DeleteOptions::default()).await);
            }
            _ => {}
        }
    }
    bootstrap::publish(context, &by_port(live)).await
}

fn seconds_left(lease: &Object, now: jiff::Timestamp) -> i64 {
    let renewed = lease.str_at(&["spec", "renewTime"]).parse().map_or(0, jiff::Timestamp::as_second);
    renewed + lease.i64_at(&["spec", "leaseDurationSeconds"]).unwrap_or(0) - now.as_second()
}

/// Ports in order, each with its addresses in order.
fn by_port(mut live: Vec<SocketAddr>) -> Vec<(u16, Vec<String>)> {
    live.sort();
    live.dedup();
    let mut ports: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for address in live.into_iter().filter(|address| !address.ip().is_loopback()) {
        ports.entry(address.port()).or_default().push(address.ip().to_string());
    }
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_live_are_endpoints() {
        let lease = |renewed: &str| json!({"spec": {"renewTime": renewed, "leaseDurationSeconds": LEASE_SECONDS}});
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(seconds_left(&lease("2026-01-01T00:00:45.123456Z"), now), 15);
        assert!(seconds_left(&lease("2026-01-01T00:00:29.999999Z"), now) < 0);
        assert!(seconds_left(&json!({}), now) < -FORGET_SECONDS);
        let live = ["10.0.0.2:6443", "10.0.0.1:6443", "127.0.0.1:1", "10.0.0.1:6443", "10.0.0.1:7443"].map(|a| a.parse().unwrap());
        let expected = vec![(6443, vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]), (7443, vec!["10.0.0.1".to_owned()])];
        assert_eq!(by_port(live.into()), expected);
    }
}
