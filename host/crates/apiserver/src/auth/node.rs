//! What a kubelet may do: its own Node, Lease and CSINode, the pods bound to it, and what those pods refer to.
//!
//! [`NodeIndex`] keeps, for each node, its pods with the names they refer to, fed by pod changes. Rights that all nodes
//! share are a static list of rules; contents of writes are [`super::node_restriction`]'s matter.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object};
use pintle_registry::podspec::CONTAINER_LISTS;

use super::bootstrap_policy;
use super::rules::Rule;
use super::{Attributes, Auth, Decision, User};

const CLAIMS: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
const VOLUMES: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumes");
const ATTACHMENTS: GroupVersionResource = GroupVersionResource::constant("storage.k8s.io", "v1", "volumeattachments");
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The rules that all nodes share where nothing more precise is said below.
static SHARED_RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| bootstrap_policy::rules_of("system:node"));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referred {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

#[derive(Default)]
pub struct NodeIndex {
    tables: RwLock<Tables>,
}

/// Namespace -> pod name.
type ByName<T> = HashMap<Box<str>, HashMap<Box<str>, T>>;

#[derive(Default)]
struct Tables {
    pods: ByName<Pod>,
    /// Node -> its pods.
    of_node: HashMap<Box<str>, ByName<()>>,
}

struct Pod {
    uid: Box<str>,
    node: Box<str>,
    deleting: bool,
    refers_to: Box<[(Referred, Box<str>)]>,
}

/// The node that a user is: `system:node:NAME` in group `system:nodes`.
pub fn node_name(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|name| !name.is_empty() && user.in_group("system:nodes"))
}

impl NodeIndex {
    /// `pod: None` is a deletion.
    pub fn observe_pod(&self, namespace: &str, name: &str, pod: Option<&Object>) {
        let new = pod.map(Pod::read);
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let tables = &mut *tables;
        let old_node = tables.pods.get(namespace).and_then(|pods| pods.get(name)).map(|p| p.node.clone()).unwrap_or_default();
        let new_node = new.as_ref().map(|p| p.node.clone()).unwrap_or_default();
        match new {
            Some(new) => insert(&mut tables.pods, namespace, name, new),
            None => remove(&mut tables.pods, namespace, name),
        }
        if old_node == new_node {
            return;
        }
        if let Some(pods) = tables.of_node.get_mut(&old_node) {
            remove(pods, namespace, name);
            if pods.is_empty() {
                tables.of_node.remove(&old_node);
            }
        }
        if !new_node.is_empty() {
            insert(tables.of_node.entry(new_node).or_default(), namespace, name, ());
        }
    }

    /// A pod that exists with this uid and is not being deleted.
    pub fn is_live_pod(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.pods.get(namespace).and_then(|pods| pods.get(name)).is_some_and(|pod| &*pod.uid == uid && !pod.deleting)
    }

    fn runs(&self, node: &str, namespace: &str, name: &str) -> bool {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.pods.get(namespace).and_then(|pods| pods.get(name)).is_some_and(|pod| &*pod.node == node)
    }

    /// Whether a pod on the node refers to the object.
    fn needs(&self, node: &str, kind: Referred, namespace: &str, name: &str) -> bool {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let Some(here) = tables.of_node.get(node).and_then(|pods| pods.get(namespace)) else { return false };
        let Some(pods) = tables.pods.get(namespace) else { return false };
        here.keys().filter_map(|pod| pods.get(pod)).any(|pod| pod.refers_to.iter().any(|(k, n)| *k == kind && &**n == name))
    }

    /// The claims that the pods of the node use.
    fn claims(&self, node: &str) -> Vec<(String, String)> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let mut claims = Vec::new();
        for (namespace, names) in tables.of_node.get(node).into_iter().flatten() {
            let pods = names.keys().filter_map(|name| tables.pods.get(namespace)?.get(name));
            let used = pods.flat_map(|pod| pod.refers_to.iter()).filter(|(kind, _)| *kind == Referred::Claim);
            claims.extend(used.map(|(_, name)| (namespace.to_string(), name.to_string())));
        }
        claims
    }
}

fn insert<T>(map: &mut ByName<T>, namespace: &str, name: &str, value: T) {
    map.entry(namespace.into()).or_default().insert(name.into(), value);
}

fn remove<T>(map: &mut ByName<T>, namespace: &str, name: &str) {
    let Some(names) = map.get_mut(namespace) else { return };
    names.remove(name);
    if names.is_empty() {
        map.remove(namespace);
    }
}

impl Pod {
    fn read(pod: &Object) -> Self {
        let node = pod.str_at(&["spec", "nodeName"]);
        Self {
            uid: pod.uid().into(),
            node: node.into(),
            deleting: pod.is_being_deleted(),
            // A pod without a node gives nobody access.
            refers_to: if node.is_empty() { Box::default() } else { references(pod).into() },
        }
    }
}

/// Every object that a pod's spec names.
pub fn references(pod: &Object) -> Vec<(Referred, Box<str>)> {
    let mut found: Vec<(Referred, Box<str>)> = Vec::new();
    let mut note = |kind: Referred, name: &str| {
        if !name.is_empty() && !found.iter().any(|(k, n)| *k == kind && &**n == name) {
            found.push((kind, name.into()));
        }
    };
    note(Referred::ServiceAccount, pod.str_at(&["spec", "serviceAccountName"]));
    for secret in pod.list_at(&["spec", "imagePullSecrets"]) {
        note(Referred::Secret, secret.str_at(&["name"]));
    }
    for list in CONTAINER_LISTS {
        for container in pod.list_at(&["spec", list]) {
            for env in container.list_at(&["env"]) {
                note(Referred::Secret, env.str_at(&["valueFrom", "secretKeyRef", "name"]));
                note(Referred::ConfigMap, env.str_at(&["valueFrom", "configMapKeyRef", "name"]));
            }
            for env in container.list_at(&["envFrom"]) {
                note(Referred::Secret, env.str_at(&["secretRef", "name"]));
                note(Referred::ConfigMap, env.str_at(&["configMapRef", "name"]));
            }
        }
    }
    for volume in pod.list_at(&["spec", "volumes"]) {
        note(Referred::Secret, volume.str_at(&["secret", "secretName"]));
        note(Referred::ConfigMap, volume.str_at(&["configMap", "name"]));
        note(Referred::Claim, volume.str_at(&["persistentVolumeClaim", "claimName"]));
        note(Referred::Secret, volume.str_at(&["csi", "nodePublishSecretRef", "name"]));
        if volume.at(&["ephemeral"]).is_some() {
            note(Referred::Claim, &format!("{}-{}", pod.name(), volume.str_at(&["name"])));
        }
        for source in volume.list_at(&["projected", "sources"]) {
            note(Referred::Secret, source.str_at(&["secret", "name"]));
            note(Referred::ConfigMap, source.str_at(&["configMap", "name"]));
        }
    }
    for claim in pod.list_at(&["status", "resourceClaimStatuses"]) {
        note(Referred::ResourceClaim, claim.str_at(&["resourceClaimName"]));
    }
    for claim in pod.list_at(&["spec", "resourceClaims"]) {
        note(Referred::ResourceClaim, claim.str_at(&["resourceClaimName"]));
    }
    found
}

/// The Node authorizer. Never denies outright: RBAC has the next word, `Deny` carries the reason for the message.
pub fn authorize(auth: &Auth, node: &str, asked: &Attributes<'_>) -> Decision {
    let decide = |allowed: bool, reason: &str| if allowed { Decision::Allow } else { Decision::Deny(reason.to_owned()) };
    let related = |kind: Referred| {
        if asked.namespace.is_empty() {
            return decide(false, "can only read namespaced object of this type");
        }
        if asked.name.is_empty() {
            return decide(false, "No Object name found");
        }
        let found = !asked.name.is_empty() && auth.nodes.needs(node, kind, asked.namespace, asked.name);
        decide(found, &format!("no relationship found between node '{node}' and this object"))
    };
    let (verb, sub) = (asked.verb, asked.subresource);
    let reads_one = matches!(verb, "get" | "list" | "watch") && sub.is_empty();
    let writes = matches!(verb, "update" | "patch");
    match (asked.group, asked.resource) {
        ("", "secrets") if reads_one && auth.nodes.claims_need_secret(auth, node, asked) => Decision::Allow,
        ("", "secrets") if reads_one => related(Referred::Secret),
        ("", "configmaps") if reads_one => related(Referred::ConfigMap),
        ("", "secrets" | "configmaps") => decide(false, "can only read resources of this type"),
        ("", "persistentvolumeclaims") if (sub == "status" && writes) || (sub.is_empty() && verb == "get") => related(Referred::Claim),
        ("", "persistentvolumeclaims") => decide(false, "can only get individual resources of this type"),
        ("", "persistentvolumes") if verb == "get" && sub.is_empty() => {
            decide(volume_is_used(auth, node, asked.name), &format!("no relationship found between node '{node}' and this object"))
        }
        ("", "persistentvolumes") => decide(false, "can only get individual resources of this type"),
        ("resource.k8s.io", "resourceclaims") if verb == "get" && sub.is_empty() => related(Referred::ResourceClaim),
        ("storage.k8s.io", "volumeattachments") if verb == "get" && sub.is_empty() => {
            let of_node = auth.objects.get(&ATTACHMENTS, None, asked.name).is_some_and(|a| a.str_at(&["spec", "nodeName"]) == node);
            decide(of_node, &format!("no relationship found between node '{node}' and this object"))
        }
        ("storage.k8s.io", "volumeattachments") => decide(false, "can only get individual resources of this type"),
        ("", "serviceaccounts") if (verb == "get" && sub.is_empty()) || (verb == "create" && sub == "token") => related(Referred::ServiceAccount),
        ("", "serviceaccounts") => decide(false, "can only create tokens for individual service accounts"),
        ("coordination.k8s.io", "leases") if asked.namespace != LEASE_NAMESPACE => {
            decide(false, &format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"))
        }
        ("coordination.k8s.io", "leases") => {
            own_object(node, asked, "a node lease", "can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes") => own_object(node, asked, "a CSINode", "can only access CSINode with the same name as the requesting node"),
        ("resource.k8s.io", "resourceslices") => {
            decide(verb == "create" || selects_node(asked, node), "can only list/watch/deletecollection resourceslices with nodeName field selector")
        }
        ("", "nodes") => match (sub, verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Decision::Allow,
            ("", "get" | "list" | "watch") => {
                decide(asked.name == node, &format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
            }
            _ => Decision::NoOpinion,
        },
        ("", "pods") => match (sub, verb) {
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Decision::Allow,
            ("", "get" | "list" | "watch") => {
                let own = selects_node(asked, node) || (!asked.name.is_empty() && auth.nodes.runs(node, asked.namespace, asked.name));
                let unrelated = format!("no relationship found between node '{node}' and this object");
                decide(own, if verb == "get" { &unrelated } else { "can only list/watch pods with spec.nodeName field selector" })
            }
            _ => Decision::NoOpinion,
        },
        _ if SHARED_RULES.iter().any(|rule| rule.allows(asked)) => Decision::Allow,
        _ => Decision::NoOpinion,
    }
}

impl NodeIndex {
    /// A secret that a volume behind one of the node's claims names.
    fn claims_need_secret(&self, auth: &Auth, node: &str, asked: &Attributes<'_>) -> bool {
        !asked.name.is_empty()
            && !self.needs(node, Referred::Secret, asked.namespace, asked.name)
            && self.claims(node).iter().filter_map(|(namespace, claim)| auth.objects.get(&CLAIMS, Some(namespace), claim)).any(|claim| {
                let volume = auth.objects.get(&VOLUMES, None, claim.str_at(&["spec", "volumeName"]));
                let sources = volume.as_ref().and_then(|v| v.map_at(&["spec"])).into_iter().flatten();
                sources.flat_map(|(_, source)| source.as_object().into_iter().flatten()).any(|(key, reference)| {
                    key.to_ascii_lowercase().contains("secretref")
                        && reference.str_at(&["name"]) == asked.name
                        && reference.str_at(&["namespace"]) == asked.namespace
                })
            })
    }
}

fn volume_is_used(auth: &Auth, node: &str, volume: &str) -> bool {
    let Some(volume) = auth.objects.get(&VOLUMES, None, volume) else { return false };
    let (namespace, claim) = (volume.str_at(&["spec", "claimRef", "namespace"]), volume.str_at(&["spec", "claimRef", "name"]));
    auth.nodes.needs(node, Referred::Claim, namespace, claim)
}

fn own_object(node: &str, asked: &Attributes<'_>, what: &str, reason: &str) -> Decision {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Decision::Deny(format!("can only get, create, update, patch, or delete {what}"));
    }
    // The name in the body of a creation is checked by the admission.
    let name_fits = asked.name == node || (asked.verb == "create" && asked.name.is_empty());
    if name_fits && asked.subresource.is_empty() { Decision::Allow } else { Decision::Deny(reason.to_owned()) }
}

/// Whether the request's field selector restricts it to objects of the node.
fn selects_node(asked: &Attributes<'_>, node: &str) -> bool {
    asked.field_selector.split(',').filter(|part| !part.contains("!=")).any(|part| {
        let (field, value) = part.split_once('=').unwrap_or((part, ""));
        matches!(field.trim(), "spec.nodeName") && value.trim_start_matches('=').trim() == node
    })
}
