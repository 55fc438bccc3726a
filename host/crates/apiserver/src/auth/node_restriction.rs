//! NodeRestriction: what a kubelet may write into the objects that the Node authorizer lets it write.
//!
//! An admission check, pure over its arguments. It looks at contents; whether the node may touch the resource at all was
//! decided before.

use std::collections::BTreeSet;

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::Lookup;
use pintle_registry::podspec::annotations::MIRROR;
use serde_json::Value;

use super::write::{Operation, Write};
use super::{User, node};

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
/// The `kubernetes.io` labels that kubelets set.
const KUBELET_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "kubernetes.io/instance-type",
    "node.kubernetes.io/exclude-disruption",
];
const KUBELET_LABEL_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Refuses a node's write that reaches beyond the node. Users that are no nodes pass.
pub fn admit(user: &User, write: &Write<'_>, objects: &dyn Lookup) -> Result<(), Status> {
    let Some(node) = node::node_name(user) else { return Ok(()) };
    let checked = match (write.group, write.resource, write.subresource) {
        ("", "pods", "") => pod(node, write, objects),
        ("", "pods", "status") => pod_status(node, write),
        ("", "pods", "eviction") => eviction(node, write, objects),
        ("", "pods", other) => Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
        ("", "nodes", _) => own_node(node, write),
        ("", "persistentvolumeclaims", "status") => claim_status(node, write),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("", "serviceaccounts", "token") => token(node, write, objects),
        ("coordination.k8s.io", "leases", _) => lease(node, write),
        ("storage.k8s.io", "csinodes", _) => named_like(node, write, "CSINode"),
        ("certificates.k8s.io", "certificatesigningrequests", "") => signing_request(user, write),
        _ => Ok(()),
    };
    checked.map_err(|why| Status::forbidden(write.group, write.resource, write.name, &why))
}

type Check = Result<(), String>;

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(why()) }
}

fn pod(node: &str, write: &Write<'_>, objects: &dyn Lookup) -> Check {
    match (write.operation, write.new, write.old) {
        (Operation::Create, Some(pod), _) => mirror_pod(node, pod, objects),
        (Operation::Delete, _, Some(old)) => {
            ensure(old.str_at(&["spec", "nodeName"]) == node, || format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        _ => Err(format!("unexpected operation, node {node:?} can only create and delete mirror pods")),
    }
}

fn mirror_pod(node: &str, pod: &Object, objects: &dyn Lookup) -> Check {
    ensure(pod.annotation(MIRROR).is_some(), || format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"))?;
    let own = pod.str_at(&["spec", "nodeName"]) == node;
    ensure(own, || format!("node {node:?} can only create pods with spec.nodeName set to itself"))?;
    let [owner] = pod.list_at(&["metadata", "ownerReferences"]) else {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    };
    let is_node = (owner.str_at(&["apiVersion"]), owner.str_at(&["kind"]), owner.str_at(&["name"])) == ("v1", "Node", node);
    ensure(is_node, || format!("node {node:?} can only create pods with an owner reference set to itself"))?;
    ensure(owner.bool_at(&["controller"]), || format!("node {node:?} can only create pods with a controller owner reference set to itself"))?;
    ensure(!owner.bool_at(&["blockOwnerDeletion"]), || format!("node {node:?} must not set blockOwnerDeletion on an owner reference"))?;
    let live = objects.get(&NODES, None, node).ok_or_else(|| format!("node {node:?} not found"))?;
    ensure(live.uid() == owner.str_at(&["uid"]), || format!("node {node} UID mismatch: expected {} got {}", owner.str_at(&["uid"]), live.uid()))?;
    ensure(node::references(pod).is_empty(), || format!("node {node:?} can not create pods that reference API objects"))
}

fn pod_status(node: &str, write: &Write<'_>) -> Check {
    let (Operation::Update, Some(new), Some(old)) = (write.operation, write.new, write.old) else {
        return Err("unexpected operation".to_owned());
    };
    let own = old.str_at(&["spec", "nodeName"]) == node;
    ensure(own, || format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))?;
    ensure(same(new, old, &["metadata", "labels"]), || format!("node {node:?} cannot update labels through pod status"))?;
    ensure(same(new, old, &["status", "resourceClaimStatuses"]), || format!("node {node:?} cannot update resource claim statues"))
}

fn eviction(node: &str, write: &Write<'_>, objects: &dyn Lookup) -> Check {
    let pod = objects.get(&PODS, Some(write.namespace), write.name).ok_or_else(|| format!("pod {:?} not found", write.name))?;
    ensure(pod.str_at(&["spec", "nodeName"]) == node, || format!("node {node} can only evict pods with spec.nodeName set to itself"))
}

fn own_node(node: &str, write: &Write<'_>) -> Check {
    let name = if write.name.is_empty() { write.new.map(|n| n.name()).unwrap_or_default() } else { write.name };
    ensure(name == node, || format!("node {node:?} is not allowed to modify node {name:?}"))?;
    let Some(new) = write.new.filter(|_| write.operation != Operation::Delete) else { return Ok(()) };
    let labels = |object: Option<&Object>| object.and_then(|o| o.map_at(&["metadata", "labels"])).cloned().unwrap_or_default();
    let (after, before) = (labels(Some(new)), labels(write.old));
    let changed = after.iter().filter(|(k, v)| before.get(*k) != Some(v)).map(|(k, _)| k);
    let removed = before.keys().filter(|k| !after.contains_key(*k));
    let forbidden: BTreeSet<&str> = changed.chain(removed).map(String::as_str).filter(|l| is_forbidden_label(l)).collect();
    let forbidden = forbidden.into_iter().collect::<Vec<_>>().join(", ");
    let Some(old) = write.old else {
        let configured = new.at(&["spec", "configSource"]).is_some_and(|source| !source.is_null());
        ensure(!configured, || format!("node {node:?} is not allowed to create pods with a non-nil configSource"))?;
        return ensure(forbidden.is_empty(), || format!("node {node:?} is not allowed to set the following labels: {forbidden}"));
    };
    ensure(same(new, old, &["spec", "taints"]), || format!("node {node:?} is not allowed to modify taints"))?;
    let owners = same(new, old, &["metadata", "ownerReferences"]);
    ensure(owners, || format!("node {node:?} is not allowed to modify ownerReferences"))?;
    ensure(forbidden.is_empty(), || format!("is not allowed to modify labels: {forbidden}"))
}

fn is_forbidden_label(label: &str) -> bool {
    let namespace = label.split_once('/').map(|(ns, _)| ns).unwrap_or_default();
    let within = |parent: &str| namespace == parent || namespace.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let for_kubelets = KUBELET_LABELS.contains(&label) || KUBELET_LABEL_NAMESPACES.iter().any(|ns| within(ns));
    (within("kubernetes.io") || within("k8s.io")) && !for_kubelets
}

fn claim_status(node: &str, write: &Write<'_>) -> Check {
    let (Some(new), Some(old)) = (write.new, write.old) else { return Err("unexpected operation".to_owned()) };
    let bare = |object: &Object| {
        let mut object = object.clone();
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            object.remove_at(&["status", field]);
        }
        object.remove_at(&["metadata", "resourceVersion"]);
        object.remove_at(&["metadata", "managedFields"]);
        object
    };
    ensure(bare(new) == bare(old), || format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"))
}

fn token(node: &str, write: &Write<'_>, objects: &dyn Lookup) -> Check {
    let to = write.new.and_then(|r| r.at(&["spec", "boundObjectRef"])).unwrap_or(&Value::Null);
    let bound = (to.str_at(&["apiVersion"]), to.str_at(&["kind"])) == ("v1", "Pod") && !to.str_at(&["name"]).is_empty();
    ensure(bound, || "node requested token not bound to a pod".to_owned())?;
    let uid = to.str_at(&["uid"]);
    ensure(!uid.is_empty(), || "node requested token with a pod binding without a uid".to_owned())?;
    let name = to.str_at(&["name"]);
    let pod = objects.get(&PODS, Some(write.namespace), name).ok_or_else(|| format!("pods {name:?} not found"))?;
    ensure(pod.uid() == uid, || {
        format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        )
    })?;
    let own = pod.str_at(&["spec", "nodeName"]) == node;
    ensure(own, || "node requested token bound to a pod scheduled on a different node".to_owned())?;
    let audience = match write.new.map(|r| r.list_at(&["spec", "audiences"])).unwrap_or_default() {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let projected = pod.list_at(&["spec", "volumes"]).iter().flat_map(|v| v.list_at(&["projected", "sources"]));
    let mut tokens = projected.filter_map(|s| s.at(&["serviceAccountToken"]));
    let mounted = audience.is_empty() || tokens.any(|t| t.str_at(&["audience"]) == audience);
    ensure(mounted, || {
        format!("audience {audience:?} not found in pod spec volume, system:node:{node} is not authorized to request tokens for this audience")
    })
}

fn lease(node: &str, write: &Write<'_>) -> Check {
    ensure(write.namespace == "kube-node-lease", || "can only access leases in the \"kube-node-lease\" system namespace".to_owned())?;
    named_like(node, write, "node lease")
}

fn named_like(node: &str, write: &Write<'_>, what: &str) -> Check {
    let name = if write.name.is_empty() { write.new.map(|n| n.name()).unwrap_or_default() } else { write.name };
    ensure(name == node, || format!("can only access {what} with the same name as the requesting node"))
}

/// A node may ask for certificates in its own name only.
fn signing_request(user: &User, write: &Write<'_>) -> Check {
    let (Operation::Create, Some(request)) = (write.operation, write.new) else { return Ok(()) };
    let signer = request.str_at(&["spec", "signerName"]);
    if !matches!(signer, "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet") {
        return Ok(());
    }
    let subject = super::certificate_request::subject_of(request).map_err(|e| format!("unable to parse csr: {e}"))?;
    ensure(subject.0 == user.name, || format!("can only create a node CSR with CN={}", user.name))
}

fn same(new: &Object, old: &Object, path: &[&str]) -> bool {
    let value = |object: &Object| {
        let value = object.at(path).cloned().unwrap_or(Value::Null);
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
        if empty { Value::Null } else { value }
    };
    value(new) == value(old)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    struct Nothing;
    impl Lookup for Nothing {
        fn get(&self, _: &GroupVersionResource, _: Option<&str>, _: &str) -> Option<Arc<Object>> {
            None
        }
        fn list(&self, _: &GroupVersionResource, _: Option<&str>) -> Vec<Arc<Object>> {
            Vec::new()
        }
    }

    fn check(operation: Operation, resource: &str, subresource: &str, new: &Object, old: Option<&Object>) -> Result<(), String> {
        let user = User { name: "system:node:n1".into(), groups: vec!["system:nodes".into()], ..User::default() };
        let write = Write { operation, group: "", resource, subresource, namespace: "a", name: new.name(), new: Some(new), old };
        admit(&user, &write, &Nothing).map_err(|s| s.message)
    }

    #[test]
    fn a_node_keeps_to_itself() {
        let node = |name: &str, label: &str| json!({"metadata": {"name": name, "labels": {label: "x"}}});
        assert!(check(Operation::Create, "nodes", "", &node("n1", "kubernetes.io/hostname"), None).is_ok());
        assert_eq!(
            check(Operation::Create, "nodes", "", &node("n1", "node-restriction.kubernetes.io/a"), None).unwrap_err(),
            "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: node-restriction.kubernetes.io/a"
        );
        assert!(check(Operation::Create, "nodes", "", &node("n2", "a"), None).is_err());
        let mut tainted = node("n1", "a");
        tainted["spec"] = json!({"taints": [{"key": "k"}]});
        assert!(check(Operation::Update, "nodes", "status", &tainted, Some(&node("n1", "a"))).unwrap_err().contains("modify taints"));
    }

    #[test]
    fn a_node_reports_only_its_pods() {
        let pod = |node: &str| json!({"metadata": {"name": "p"}, "spec": {"nodeName": node}});
        assert!(check(Operation::Update, "pods", "status", &pod("n1"), Some(&pod("n1"))).is_ok());
        assert!(check(Operation::Update, "pods", "status", &pod("n2"), Some(&pod("n2"))).is_err());
        assert!(check(Operation::Create, "pods", "", &pod("n1"), None).unwrap_err().contains("mirror"));
    }
}
