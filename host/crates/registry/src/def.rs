//! Short words for writing a [`ResourceDef`]: `namespaced("apps/v1", "deployments", "Deployment").short(&["deploy"]).status()`.
//!
//! Called by the resource files only, once at start. Verbs default to all eight, as most kinds have them.

use std::borrow::Cow;

use pintle_api::resource::SubresourceDef;
use pintle_api::{GroupVersion, GroupVersionKind, ResourceDef, Scope};

type Str = Cow<'static, str>;

pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

pub fn namespaced(api_version: &'static str, resource: &'static str, kind: &'static str) -> Def {
    Def::new(api_version, resource, kind, Scope::Namespaced)
}

pub fn cluster(api_version: &'static str, resource: &'static str, kind: &'static str) -> Def {
    Def::new(api_version, resource, kind, Scope::Cluster)
}

/// A [`ResourceDef`] while it is written.
pub struct Def(ResourceDef);

impl Def {
    fn new(api_version: &'static str, resource: &'static str, kind: &'static str, scope: Scope) -> Self {
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        Self(ResourceDef {
            group,
            version,
            resource: resource.into(),
            singular: kind.to_ascii_lowercase().into(),
            kind: kind.into(),
            scope,
            short_names: Cow::Borrowed(&[]),
            categories: Cow::Borrowed(&[]),
            verbs: strings(ALL_VERBS),
            subresources: Cow::Borrowed(&[]),
        })
    }
    pub fn short(mut self, names: &[&'static str]) -> Self {
        self.0.short_names = strings(names);
        self
    }
    pub fn categories(mut self, names: &[&'static str]) -> Self {
        self.0.categories = strings(names);
        self
    }
    /// In `kubectl get all`.
    pub fn in_all(self) -> Self {
        self.categories(&["all"])
    }
    pub fn verbs(mut self, verbs: &[&'static str]) -> Self {
        self.0.verbs = strings(verbs);
        self
    }
    pub fn status(self) -> Self {
        self.sub("status", GET_PATCH_UPDATE)
    }
    pub fn scale(self) -> Self {
        self.sub_of_kind("scale", "autoscaling/v1", "Scale", GET_PATCH_UPDATE)
    }
    /// A subresource that takes and gives the resource's own kind.
    pub fn sub(mut self, name: &'static str, verbs: &[&'static str]) -> Self {
        self.0.subresources.to_mut().push(SubresourceDef { name: name.into(), kind: None, verbs: strings(verbs) });
        self
    }
    pub fn sub_of_kind(mut self, name: &'static str, api_version: &'static str, kind: &'static str, verbs: &[&'static str]) -> Self {
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        let kind = Some(GroupVersionKind::new(group, version, kind));
        self.0.subresources.to_mut().push(SubresourceDef { name: name.into(), kind, verbs: strings(verbs) });
        self
    }
    pub fn build(self) -> ResourceDef {
        self.0
    }
}

fn strings(words: &[&'static str]) -> Cow<'static, [Str]> {
    words.iter().map(|w| Cow::Borrowed(*w)).collect::<Vec<_>>().into()
}
