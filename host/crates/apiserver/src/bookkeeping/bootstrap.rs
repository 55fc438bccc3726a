//! The objects that every cluster starts with: namespaces, the service `kubernetes`, priority classes, roles.
//!
//! Creates what is missing and leaves alone what an administrator changed, except for the addresses of this server, which
//! are always made true.

use base64::Engine;
use futures::StreamExt;
use pintle_api::client::{Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use pintle_registry::flowcontrol::mandatory;
use serde_json::{Value, json};

use super::{Context, rbac};

/// Writes under way at once; the store groups them into few syncs.
const AT_ONCE: usize = 64;

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
const ENDPOINTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "endpoints");
const SLICES: GroupVersionResource = GroupVersionResource::constant("discovery.k8s.io", "v1", "endpointslices");
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const PRIORITIES: GroupVersionResource = GroupVersionResource::constant("scheduling.k8s.io", "v1", "priorityclasses");
const FLOWS: GroupVersionResource = GroupVersionResource::constant("flowcontrol.apiserver.k8s.io", "v1", "flowschemas");
const LEVELS: GroupVersionResource = GroupVersionResource::constant("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations");
const SERVICE_CIDRS: GroupVersionResource = GroupVersionResource::constant("networking.k8s.io", "v1", "servicecidrs");

pub async fn run(context: &Context) -> Result<(), Status> {
    let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| (NAMESPACES, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})));
    create_all(context, namespaces.into()).await?;
    let mut rest = rbac::missing(context).await?;
    rest.extend(priorities());
    rest.extend(flow_control());
    rest.push((SERVICES, service(context)));
    rest.extend(dns_service(context).map(|service| (SERVICES, service)));
    rest.push((SERVICE_CIDRS, json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [context.service_cidr]},
    })));
    rest.push((CONFIG_MAPS, extension_authentication(context)));
    rest.push((CONFIG_MAPS, cluster_info(context)));
    create_all(context, rest).await?;
    rbac::complete(context).await?;
    // A loopback address means something else to everybody who would read it.
    if context.advertise.is_loopback() {
        tracing::warn!(address = %context.advertise, "the service default/kubernetes has no endpoints: the advertised address is a loopback one");
        return Ok(());
    }
    // Of several servers the one that leads tells of all, see [`super::servers`].
    if context.shared { Ok(()) } else { publish(context, &[(context.port, vec![context.advertise.to_string()])]).await }
}

/// Makes the endpoints of default/kubernetes the servers' ports, each with its addresses.
pub async fn publish(context: &Context, servers: &[(u16, Vec<String>)]) -> Result<(), Status> {
    if servers.is_empty() {
        return Ok(());
    }
    for (resource, wanted, fields) in addresses(context, servers) {
        ensure(context, resource, wanted, fields).await?;
    }
    Ok(())
}

/// Creates the objects, many at once; those that exist are left alone. A resource that this server does not serve is skipped.
async fn create_all(context: &Context, objects: Vec<(GroupVersionResource, Object)>) -> Result<(), Status> {
    let writes: Vec<_> = objects.into_iter().map(|(resource, object)| create(context, resource, object)).collect();
    let mut writes = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
    while let Some(written) = writes.next().await {
        match written {
            Err(status) if !status.is(Reason::AlreadyExists) && !status.is(Reason::NotFound) => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

async fn create(context: &Context, resource: GroupVersionResource, object: Object) -> Result<(), Status> {
    let target = Target { name: None, ..Target::of(&resource, &object) };
    context.client.create(&target, object, &WriteOptions::default()).await.map(|_| ())
}

/// Creates the object, or makes the fields as wanted.
async fn ensure(context: &Context, resource: GroupVersionResource, wanted: Object, fields: &[&str]) -> Result<(), Status> {
    let target = Target::of(&resource, &wanted);
    let mut current = match context.client.get(&target).await {
        Ok(served) => served.parse()?,
        Err(status) if status.is(Reason::NotFound) => {
            return create_all(context, vec![(resource, wanted)]).await;
        }
        Err(status) => return Err(status),
    };
    if fields.iter().all(|field| current.get(field) == wanted.get(field)) {
        return Ok(());
    }
    for field in fields {
        current.set_at(&[field], wanted.get(field).cloned().unwrap_or(Value::Null));
    }
    context.client.update(&target, current, &WriteOptions::default()).await.map(|_| ())
}

fn service(context: &Context) -> Object {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": context.service.to_string(), "clusterIPs": [context.service.to_string()], "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": context.port}],
        },
    })
}

/// Cluster DNS, at the tenth address of the range. Every node answers for its own pods and adds itself as an endpoint, so traffic stays on the node.
fn dns_service(context: &Context) -> Option<Object> {
    let range: ipnet::IpNet = context.service_cidr.split(',').next()?.trim().parse().ok()?;
    let address = range.hosts().nth(9)?.to_string();
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "protocol": protocol, "targetPort": 53});
    Some(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Local",
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    }))
}

/// Endpoints and EndpointSlices of the service, with the fields that must be true. A slice has one set of ports, so that a port
/// that differs from the first one's gets a slice of its own.
fn addresses(context: &Context, servers: &[(u16, Vec<String>)]) -> Vec<(GroupVersionResource, Object, &'static [&'static str])> {
    let port = |number: u16| json!({"name": "https", "port": number, "protocol": "TCP"});
    let subsets: Vec<Value> = servers
        .iter()
        .map(|(number, ips)| json!({"addresses": ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(), "ports": [port(*number)]}))
        .collect();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": subsets,
    });
    let family = if context.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = |(n, (number, ips)): (usize, &(u16, Vec<String>))| {
        let name = if n == 0 { "kubernetes".to_owned() } else { format!("kubernetes-{number}") };
        let ready: Vec<Value> = ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": ready, "ports": [port(*number)],
        })
    };
    let slices = servers.iter().enumerate().map(slice).map(|slice| (SLICES, slice, &["endpoints", "ports"][..]));
    std::iter::once((ENDPOINTS, endpoints, &["subsets"][..])).chain(slices).collect()
}

fn priorities() -> Vec<(GroupVersionResource, Object)> {
    let class = |name: &str, value: i64, description: &str| {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": description, "preemptionPolicy": "PreemptLowerPriority",
        });
        (PRIORITIES, class)
    };
    vec![
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    ]
}

/// The two mandatory levels of flow control and their schemas, stored for clients that list them.
fn flow_control() -> Vec<(GroupVersionResource, Object)> {
    let api = "flowcontrol.apiserver.k8s.io/v1";
    let about = |name: &str| json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}});
    let made = |resource: GroupVersionResource, kind: &str, name: &str, spec: Option<Value>| {
        spec.map(|spec| (resource, json!({"apiVersion": api, "kind": kind, "metadata": about(name), "spec": spec})))
    };
    let flows = mandatory::NAMES.into_iter().map(|name| made(FLOWS, "FlowSchema", name, mandatory::flow_schema(name)));
    let levels = mandatory::NAMES.into_iter().map(|name| made(LEVELS, "PriorityLevelConfiguration", name, mandatory::priority_level(name)));
    flows.chain(levels).flatten().collect()
}

/// Where the cluster is and whom to trust, readable by everybody, for machines that join.
fn cluster_info(context: &Context) -> Object {
    let server = format!("https://{}", std::net::SocketAddr::new(context.advertise, context.port));
    let cluster = json!({"certificate-authority-data": encode(context.auth.pki.ca_pem()), "server": server});
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": cluster}]});
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": kubeconfig.to_string()},
    })
}

/// From which aggregated API servers learn whom to trust.
fn extension_authentication(context: &Context) -> Object {
    let ca = context.auth.pki.ca_pem();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": ca, "requestheader-client-ca-file": ca, "requestheader-allowed-names": "[\"front-proxy-client\"]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]", "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]", "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
        },
    })
}

/// Base64, as Secrets and certificate requests carry bytes.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
