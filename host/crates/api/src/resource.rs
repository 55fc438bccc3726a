//! Names of kinds and resources, and the description of one served resource.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

type Str = Cow<'static, str>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupVersion {
    /// Empty for the core group.
    pub group: Str,
    pub version: Str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupVersionKind {
    pub group: Str,
    pub version: Str,
    pub kind: Str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupVersionResource {
    pub group: Str,
    pub version: Str,
    /// The plural, lower-case name: `pods`.
    pub resource: Str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// What discovery says of one resource in one version. Built-in ones are constants, custom ones are made
/// from their CustomResourceDefinition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceDef {
    pub group: Str,
    pub version: Str,
    pub resource: Str,
    pub singular: Str,
    pub kind: Str,
    pub scope: Scope,
    pub short_names: Cow<'static, [Str]>,
    pub categories: Cow<'static, [Str]>,
    /// `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`.
    pub verbs: Cow<'static, [Str]>,
    pub subresources: Cow<'static, [SubresourceDef]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubresourceDef {
    /// `status`, `scale`, `log`, ...
    pub name: Str,
    /// The kind that it takes and gives, when it is not the resource's own: `autoscaling/v1 Scale`.
    pub kind: Option<GroupVersionKind>,
    pub verbs: Cow<'static, [Str]>,
}

impl GroupVersion {
    pub fn new(group: impl Into<Str>, version: impl Into<Str>) -> Self {
        Self { group: group.into(), version: version.into() }
    }
    /// Parses `v1` or `apps/v1`.
    pub fn parse(api_version: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group.to_owned(), version.to_owned()),
            None => Self::new("", api_version.to_owned()),
        }
    }
}

impl GroupVersionResource {
    pub const fn constant(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), resource: Cow::Borrowed(resource) }
    }
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, resource: impl Into<Str>) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl GroupVersionKind {
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, kind: impl Into<Str>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl ResourceDef {
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource { group: self.group.clone(), version: self.version.clone(), resource: self.resource.clone() }
    }
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
    /// Whether a deletion that is complete answers with the object and not with a Status.
    pub fn gives_back_what_was_deleted(&self) -> bool {
        GIVE_BACK_WHAT_WAS_DELETED.contains(&(&*self.group, &*self.resource))
    }
}

/// Resources whose deletion answers with the object; that of others answers with a Status. As upstream's storages have it (`ReturnDeletedObject`).
const GIVE_BACK_WHAT_WAS_DELETED: [(&str, &str); 18] = [
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

impl fmt::Display for GroupVersionResource {
    /// `deployments.apps`, as upstream names a resource in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.resource) } else { write!(f, "{}.{}", self.resource, self.group) }
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
