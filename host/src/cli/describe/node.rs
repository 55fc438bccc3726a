//! Nodes: conditions, capacity, and what the pods on them ask for.

use std::collections::BTreeMap;

use anyhow::Result;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::{Format, Quantity};
use pintle_api::table::since;
use serde_json::Value;

use super::text::{Text, joined, long_time, or_none};
use crate::cli::jsonpath::show;
use crate::cli::session::{Session, collection_path, with_query};

const ROLE: &str = "node-role.kubernetes.io/";
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

type Amounts = BTreeMap<String, Quantity>;

pub async fn describe(session: &Session, node: &Value, text: &mut Text) -> Result<()> {
    text.field(0, "Name", node.name());
    let labels = node.map_at(&["metadata", "labels"]);
    let roles: Vec<&str> = labels.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(ROLE)).collect();
    text.field(0, "Roles", or_none(&roles.join(",")));
    text.labels_and_annotations(node);
    text.field(0, "CreationTimestamp", long_time(node.str_at(&["metadata", "creationTimestamp"])));
    let mut taints: Vec<&Value> = node.list_at(&["spec", "taints"]).iter().collect();
    taints.sort_by_key(|t| (t.str_at(&["effect"]).to_owned(), t.str_at(&["key"]).to_owned()));
    text.column("Taints", &taints.into_iter().map(taint).collect::<Vec<_>>());
    text.field(0, "Unschedulable", node.bool_at(&["spec", "unschedulable"]));
    lease(session, node, text).await?;
    conditions(node, text);
    text.line(0, "Addresses:");
    node.list_at(&["status", "addresses"]).iter().for_each(|a| text.field(1, a.str_at(&["type"]), a.str_at(&["address"])));
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let Some(amounts) = node.map_at(&["status", field]).filter(|a| !a.is_empty()) else { continue };
        text.line(0, &format!("{title}:"));
        amounts.iter().for_each(|(name, amount)| text.field(1, name, show(amount)));
    }
    system_info(node, text);
    text.some(0, "PodCIDR", &node["spec"]["podCIDR"]);
    if !node.list_at(&["spec", "podCIDRs"]).is_empty() {
        text.field(0, "PodCIDRs", joined(node.list_at(&["spec", "podCIDRs"]), ","));
    }
    text.some(0, "ProviderID", &node["spec"]["providerID"]);
    pods(session, node, text).await
}

pub fn taint(taint: &Value) -> String {
    let part = |name| taint.str_at(&[name]);
    match part("value") {
        "" => format!("{}:{}", part("key"), part("effect")),
        value => format!("{}={value}:{}", part("key"), part("effect")),
    }
}

async fn lease(session: &Session, node: &Value, text: &mut Text) -> Result<()> {
    let def = session.discovery().await?.find("leases.coordination.k8s.io")?;
    match session.get_object(def, Some("kube-node-lease"), node.name()).await {
        Ok(lease) => {
            let or_unset = |t: &str| if t.is_empty() { "<unset>".to_owned() } else { t.to_owned() };
            let time = |field| or_unset(&long_time(lease.str_at(&["spec", field])));
            text.line(0, "Lease:");
            text.field(1, "HolderIdentity", or_unset(lease.str_at(&["spec", "holderIdentity"])));
            text.field(1, "AcquireTime", time("acquireTime"));
            text.field(1, "RenewTime", time("renewTime"));
        }
        Err(error) => {
            let why = crate::cli::session::refusal(&error).map_or(error.to_string(), |s| s.message.clone());
            text.field(0, "Lease", format!("Failed to get lease: {why}"));
        }
    }
    Ok(())
}

fn conditions(node: &Value, text: &mut Text) {
    let conditions = node.list_at(&["status", "conditions"]);
    if conditions.is_empty() {
        return;
    }
    text.line(0, "Conditions:");
    text.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
    text.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    for c in conditions {
        let part = |name| c.str_at(&[name]);
        let (heartbeat, transition) = (long_time(part("lastHeartbeatTime")), long_time(part("lastTransitionTime")));
        text.line(1, &format!("{} \t{} \t{heartbeat} \t{transition} \t{} \t{}", part("type"), part("status"), part("reason"), part("message")));
    }
}

fn system_info(node: &Value, text: &mut Text) {
    const FIELDS: [(&str, &str); 9] = [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ];
    text.line(0, "System Info:");
    FIELDS.iter().for_each(|(title, field)| text.field(1, title, node.str_at(&["status", "nodeInfo", field])));
}

async fn pods(session: &Session, node: &Value, text: &mut Text) -> Result<()> {
    let def = session.discovery().await?.find("pods")?;
    let selector = format!("spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed", node.name());
    let Ok(pods) = session.list(&with_query(&collection_path(def, None), &[("fieldSelector", &selector)])).await else {
        text.field(0, "Pods", "not authorized");
        return Ok(());
    };
    let allocatable = amounts(node.map_at(&["status", "allocatable"]));
    text.line(0, &format!("Non-terminated Pods:\t({} in total)", pods.len()));
    text.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    text.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for pod in &pods {
        let (r, l) = (of_pod(pod, "requests"), of_pod(pod, "limits"));
        let share = |amounts: &Amounts, name: &str| share(amounts, &allocatable, name);
        let age = since(pod.str_at(&["metadata", "creationTimestamp"]), jiff::Timestamp::now());
        text.line(
            1,
            &format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{age}",
                pod.namespace(),
                pod.name(),
                share(&r, "cpu"),
                share(&l, "cpu"),
                share(&r, "memory"),
                share(&l, "memory")
            ),
        );
        add(&mut requests, &r);
        add(&mut limits, &l);
    }
    text.line(0, "Allocated resources:");
    text.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    text.line(1, "Resource\tRequests\tLimits");
    text.line(1, "--------\t--------\t------");
    for name in STANDARD {
        text.line(1, &format!("{name}\t{}\t{}", share(&requests, &allocatable, name), share(&limits, &allocatable, name)));
    }
    for name in allocatable.keys().filter(|n| !STANDARD.contains(&n.as_str()) && *n != "pods") {
        let huge = name.starts_with("hugepages-");
        let shown = |of: &Amounts| if huge { share(of, &allocatable, name) } else { of.get(name).map_or("0".to_owned(), ToString::to_string) };
        text.line(1, &format!("{name}\t{}\t{}", shown(&requests), shown(&limits)));
    }
    Ok(())
}

/// `100m (5%)`.
fn share(amounts: &Amounts, of: &Amounts, name: &str) -> String {
    let zero = Quantity::from_i64(0, Format::DecimalSi);
    let amount = amounts.get(name).copied().unwrap_or(zero);
    let all = of.get(name).map_or(0, |q| q.milli_value());
    let percent = if all == 0 { 0 } else { (i128::from(amount.milli_value()) * 100 / i128::from(all)) as i64 };
    format!("{amount} ({percent}%)")
}

fn amounts(map: Option<&serde_json::Map<String, Value>>) -> Amounts {
    map.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value).ok()?))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        to.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
    }
}

/// Containers together with those init containers that keep running, or the largest of the others, and the overhead.
fn of_pod(pod: &Value, list: &str) -> Amounts {
    let spec = &pod["spec"];
    let own = |c: &Value| amounts(c.map_at(&["resources", list]));
    let mut total = Amounts::new();
    spec.list_at(&["containers"]).iter().for_each(|c| add(&mut total, &own(c)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.list_at(&["initContainers"]) {
        let mut now = own(container);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    let overhead = amounts(spec.map_at(&["overhead"]).filter(|_| !total.is_empty()));
    add(&mut total, &overhead);
    total
}

fn raise(to: &mut Amounts, floor: &Amounts) {
    for (name, amount) in floor {
        let least = to.entry(name.clone()).or_insert(*amount);
        if amount.milli_value() > least.milli_value() {
            *least = *amount;
        }
    }
}
