//! This node's own DNS server as an endpoint of kube-system/kube-dns. The service itself is made by the API server at its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::{Client, Object, Status};
use serde_json::json;

use crate::network::sources::{NODES, SLICES};
use crate::services::SERVICE_NAME_LABEL;

const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
/// First and longest delay after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Somebody may have deleted the slice.
const RECHECK: Duration = Duration::from_secs(60);

/// Keeps the slice as it should be; never returns.
pub async fn keep(client: &Arc<dyn Client>, node: &str, place: SocketAddr) {
    let mut delay = RETRY.0;
    loop {
        let pause = match write(client, node, place).await {
            Ok(()) => {
                delay = RETRY.0;
                RECHECK
            }
            Err(status) => {
                tracing::debug!(%status, "cannot publish this node's DNS server yet");
                delay = (delay * 2).min(RETRY.1);
                delay
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn write(client: &Arc<dyn Client>, node: &str, place: SocketAddr) -> Result<(), Status> {
    // The Node owns the slice: with it goes its DNS server. Until the kubelet registered it there is nothing to own it.
    let owner = client.get(&Target::object(NODES, None, node)).await?.parse()?;
    let wanted = slice(node, owner["metadata"]["uid"].as_str().unwrap_or_default(), place);
    let target = Target::object(SLICES, Some(NAMESPACE), &format!("{SERVICE}-{node}"));
    let options = WriteOptions { field_manager: "pintle-dns".to_owned(), force: true, ..WriteOptions::default() };
    client.patch(&target, Patch::Apply(wanted), &options).await.map(|_| ())
}

fn slice(node: &str, node_uid: &str, place: SocketAddr) -> Object {
    let port = |name: &str, protocol: &str| json!({"name": name, "port": place.port(), "protocol": protocol});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": if place.is_ipv4() { "IPv4" } else { "IPv6" },
        "metadata": {
            "name": format!("{SERVICE}-{node}"), "namespace": NAMESPACE,
            "labels": {SERVICE_NAME_LABEL: SERVICE, "endpointslice.kubernetes.io/managed-by": "node.pintle.dev", "k8s-app": SERVICE},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid}],
        },
        "endpoints": [{"addresses": [place.ip().to_string()], "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": node}],
        "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
    })
}
