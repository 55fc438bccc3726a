//! Services and Ingresses, with the endpoints behind them.

use anyhow::Result;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::text::{Text, joined, or_none};
use crate::cli::jsonpath::show;
use crate::cli::print::pairs;
use crate::cli::session::{Session, collection_path, with_query};

/// Addresses that are shown; the rest is counted.
const SHOWN_ENDPOINTS: usize = 3;

pub async fn service(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let spec = &object["spec"];
    text.head(object);
    text.labels_and_annotations(object);
    text.field(0, "Selector", pairs(spec.at(&["selector"])));
    text.field(0, "Type", spec.str_at(&["type"]));
    text.some(0, "IP Family Policy", &spec["ipFamilyPolicy"]);
    text.field(0, "IP Families", or_none(&joined(spec.list_at(&["ipFamilies"]), ",")));
    text.field(0, "IP", spec.str_at(&["clusterIP"]));
    text.field(0, "IPs", or_none(&joined(spec.list_at(&["clusterIPs"]), ",")));
    if !spec.list_at(&["externalIPs"]).is_empty() {
        text.field(0, "External IPs", joined(spec.list_at(&["externalIPs"]), ","));
    }
    text.some(0, "Desired LoadBalancer IP", &spec["loadBalancerIP"]);
    text.some(0, "External Name", &spec["externalName"]);
    let balancers = load_balancers(object);
    if !balancers.is_empty() {
        text.field(0, "LoadBalancer Ingress", balancers);
    }
    let slices = slices(session, object.namespace(), object.name()).await?;
    for port in spec.list_at(&["ports"]) {
        let name = Some(port.str_at(&["name"])).filter(|n| !n.is_empty()).unwrap_or("<unset>");
        let protocol = port.str_at(&["protocol"]);
        text.line(0, &format!("Port:\t{name}\t{}/{protocol}", show(&port["port"])));
        text.field(0, "TargetPort", format!("{}/{protocol}", show(&port["targetPort"])));
        text.some(0, "AppProtocol", &port["appProtocol"]);
        if let Some(node_port @ 1..) = port.i64_at(&["nodePort"]) {
            text.line(0, &format!("NodePort:\t{name}\t{node_port}/{protocol}"));
        }
        text.field(0, "Endpoints", endpoints(&slices, port.str_at(&["name"])));
    }
    text.field(0, "Session Affinity", spec.str_at(&["sessionAffinity"]));
    text.some(0, "External Traffic Policy", &spec["externalTrafficPolicy"]);
    text.some(0, "Internal Traffic Policy", &spec["internalTrafficPolicy"]);
    if let Some(port @ 1..) = spec.i64_at(&["healthCheckNodePort"]) {
        text.field(0, "HealthCheck NodePort", port);
    }
    text.some(0, "Traffic Distribution", &spec["trafficDistribution"]);
    Ok(())
}

pub async fn ingress(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let spec = &object["spec"];
    text.field(0, "Name", object.name());
    text.labels(object);
    text.field(0, "Namespace", object.namespace());
    text.field(0, "Address", load_balancers(object));
    text.field(0, "Ingress Class", or_none(spec.str_at(&["ingressClassName"])));
    let default = match spec.at(&["defaultBackend"]) {
        Some(b) => backend(session, object.namespace(), b).await?,
        None => "<default>".to_owned(),
    };
    text.field(0, "Default backend", &default);
    if !spec.list_at(&["tls"]).is_empty() {
        text.line(0, "TLS:");
        for tls in spec.list_at(&["tls"]) {
            let hosts = joined(tls.list_at(&["hosts"]), ",");
            match tls.str_at(&["secretName"]) {
                "" => text.line(1, &format!("SNI routes {hosts}")),
                secret => text.line(1, &format!("{secret} terminates {hosts}")),
            }
        }
    }
    text.line(0, "Rules:");
    text.line(1, "Host\tPath\tBackends");
    text.line(1, "----\t----\t--------");
    let rules = spec.list_at(&["rules"]).iter().filter(|r| r["http"].is_object());
    if rules.clone().next().is_none() {
        text.line(1, &format!("*\t*\t{default}"));
    }
    for rule in rules {
        text.line(1, &format!("{}\t", Some(rule.str_at(&["host"])).filter(|h| !h.is_empty()).unwrap_or("*")));
        for path in rule.list_at(&["http", "paths"]) {
            let backend = backend(session, object.namespace(), &path["backend"]).await?;
            text.line(2, &format!("\t{} \t{backend}", path.str_at(&["path"])));
        }
    }
    text.annotations("Annotations", object.at(&["metadata", "annotations"]));
    Ok(())
}

async fn backend(session: &Session, namespace: &str, backend: &Value) -> Result<String> {
    let Some(service) = backend.at(&["service"]) else {
        let resource = &backend["resource"];
        let group = or_none(resource.str_at(&["apiGroup"]));
        return Ok(format!("APIGroup: {group}, Kind: {}, Name: {}", resource.str_at(&["kind"]), resource.str_at(&["name"])));
    };
    let (name, port) = (service.str_at(&["name"]), &service["port"]);
    let shown = if port["number"].is_number() { show(&port["number"]) } else { port.str_at(&["name"]).to_owned() };
    let def = session.discovery().await?.find("services")?;
    let found = match session.get_object(def, Some(namespace), name).await {
        Ok(found) => found,
        Err(error) => {
            return Ok(format!(
                "{name}:{shown} (<error: {}>)",
                crate::cli::session::refusal(&error).map_or(error.to_string(), |s| s.message.clone())
            ));
        }
    };
    let ports = found.list_at(&["spec", "ports"]);
    let fits = |p: &&Value| p["port"] == port["number"] || (!port["name"].is_null() && p["name"] == port["name"]);
    let port_name = ports.iter().find(fits).map_or("", |p| p.str_at(&["name"])).to_owned();
    let slices = slices(session, namespace, name).await?;
    Ok(format!("{name}:{shown} ({})", endpoints(&slices, &port_name)))
}

async fn slices(session: &Session, namespace: &str, service: &str) -> Result<Vec<Value>> {
    let def = session.discovery().await?.find("endpointslices.discovery.k8s.io")?;
    let selector = format!("kubernetes.io/service-name={service}");
    session.list(&with_query(&collection_path(def, Some(namespace)), &[("labelSelector", &selector)])).await
}

/// `<none>` only where nobody made a slice; slices without a ready endpoint show as nothing.
fn endpoints(slices: &[Value], port: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut found = Vec::new();
    for slice in slices {
        let ready = slice.list_at(&["endpoints"]).iter().filter(|e| e["conditions"]["ready"] != false);
        let addresses: Vec<String> = ready.filter_map(|e| e.list_at(&["addresses"]).first()).map(show).collect();
        let ports = slice.list_at(&["ports"]);
        // A headless Service may have none.
        if ports.is_empty() {
            found.extend(addresses);
            continue;
        }
        for number in ports.iter().filter(|p| p.str_at(&["name"]) == port).map(|p| show(&p["port"])) {
            found.extend(addresses.iter().map(|a| if a.contains(':') { format!("[{a}]:{number}") } else { format!("{a}:{number}") }));
        }
    }
    let more = found.len().saturating_sub(SHOWN_ENDPOINTS);
    found.truncate(SHOWN_ENDPOINTS);
    match more {
        0 => found.join(","),
        more => format!("{} + {more} more...", found.join(",")),
    }
}

fn load_balancers(object: &Value) -> String {
    let entries = object.list_at(&["status", "loadBalancer", "ingress"]).iter();
    let names = entries.map(|e| Some(e.str_at(&["ip"])).filter(|ip| !ip.is_empty()).unwrap_or(e.str_at(&["hostname"])));
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_read_as_kubectl_prints_them() {
        let endpoint = |address: &str, ready: bool| json!({"addresses": [address], "conditions": {"ready": ready}});
        let ports = json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 53}]);
        let of = |list: Vec<Value>, ports: &Value| endpoints(&[json!({"endpoints": list, "ports": ports})], "http");
        assert_eq!(endpoints(&[], "http"), "<none>");
        assert_eq!(of(vec![endpoint("10.0.0.1", false)], &ports), "");
        assert_eq!(of(vec![endpoint("10.0.0.1", true), endpoint("fd00::1", true)], &ports), "10.0.0.1:8080,[fd00::1]:8080");
        assert_eq!(of((1..=5).map(|i| endpoint(&format!("10.0.0.{i}"), true)).collect(), &json!(null)), "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...");
    }
}
