//! Who asks, and may they: the types that the http layer and the handlers share with authentication and authorization.
//!
//! [`Auth`] is both in one: client certificates, service account and bootstrap tokens, impersonation; then the chain of
//! superusers, nodes, plugins' grants and RBAC. It reads the cluster through [`Lookup`] and through an index that is fed by
//! [`Auth::observe`]; it never writes. It refuses to guess: what no authorizer allows is forbidden.

pub mod authn;
pub mod bootstrap_policy;
pub mod certificate_admission;
pub mod certificate_request;
pub mod gate;
pub mod impersonation;
pub mod node;
pub mod node_restriction;
pub mod oidc;
pub mod pki;
mod plugin_grants;
pub mod rbac;
pub mod reviews;
pub mod rules;
pub mod shared_keys;
pub mod token_request;
pub mod tokens;
pub mod write;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use pintle_api::client::BoxFuture;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use pintle_registry::Lookup;
use rustls_pki_types::CertificateDer;

pub use node::NodeIndex;
pub use pintle_api::user::{ANONYMOUS, AUTHENTICATED, PLUGIN_USER_PREFIX, SUPERUSERS, UNAUTHENTICATED, User};
pub use pki::{Pki, ServerNames};
pub use rbac::RbacIndex;
pub use rules::Rule;
pub use tokens::Tokens;

/// Under this, a user's extra tells which of their credentials was shown.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
pub const PLUGIN_GROUP: &str = "pintle.dev";

/// What is asked for. A request that names no resource has an empty `resource` and its `path`.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
    /// The query's `fieldSelector` of a list, watch or deletecollection, as text; empty otherwise. Nodes may list their own pods by it.
    pub field_selector: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny(String),
    NoOpinion,
}

/// Synchronous and cheap: it runs on every request, over state that it keeps indexed.
pub trait Authorizer: Send + Sync + 'static {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
    /// Why something that is allowed is, for those who ask or write it down. May be empty.
    fn reason(&self, _attributes: &Attributes<'_>) -> String {
        String::new()
    }
    /// The checks on a write's content that depend on who writes ([`gate`]). Runs after mutation, before the commit.
    fn admit(&self, _user: &User, _write: &write::Write<'_>) -> Result<(), Status> {
        Ok(())
    }
}

pub trait Authenticator: Send + Sync + 'static {
    /// `peer` is the verified client certificate chain, leaf first; empty without one.
    fn authenticate(&self, parts: &::http::request::Parts, peer: &[CertificateDer<'static>]) -> Result<Arc<User>, Status>;
    /// What has to be fetched before [`Authenticator::authenticate`] can judge the request; `None`: nothing.
    fn prepare(&self, _parts: &::http::request::Parts) -> Option<BoxFuture<'static, ()>> {
        None
    }
    /// As whom the user acts who asks this, by the request's headers. `None`: as themselves.
    fn impersonate(&self, headers: &::http::HeaderMap, asked: &Attributes<'_>) -> Result<Option<impersonation::Acting>, Status>;
    /// The documents by which others verify this server's tokens: path, content type and body.
    fn issuer_document(&self, _path: &str) -> Option<(&'static str, serde_json::Value)> {
        None
    }
}

/// What an installation chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `iss` of service account tokens, and where its discovery document is looked for.
    pub issuer: String,
    /// The audiences that name this server. The first is the default of a token request.
    pub audiences: Vec<String>,
    /// `https://ADDRESS:PORT`, for the discovery document.
    pub external_url: String,
    pub anonymous: Anonymous,
}

/// Which requests without credentials are `system:anonymous` and left to RBAC; the others are refused with 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    Off,
    /// Those for one of these paths.
    Paths(Vec<String>),
    On,
}

impl Anonymous {
    /// What probes ask. The default.
    pub fn health() -> Self {
        Self::Paths(["/healthz", "/livez", "/readyz"].map(str::to_owned).into())
    }
    pub fn allows(&self, path: &str) -> bool {
        match self {
            Self::Off => false,
            Self::Paths(paths) => paths.iter().any(|p| p == path),
            Self::On => true,
        }
    }
}

/// Authentication and authorization of one API server.
pub struct Auth {
    pub pki: Arc<Pki>,
    pub tokens: Tokens,
    pub rbac: RbacIndex,
    pub nodes: NodeIndex,
    pub settings: Settings,
    pub(crate) objects: Arc<dyn Lookup>,
    certificates: authn::Certificates,
    oidc: oidc::Oidc,
    impersonations: impersonation::LastModes,
    /// Grants by the plugin's name.
    plugins: RwLock<HashMap<String, Arc<[Rule]>>>,
}

impl Auth {
    pub fn new(
        pki: Arc<Pki>,
        settings: Settings,
        objects: Arc<dyn Lookup>,
        issuers: &[Arc<oidc::config::Jwt>],
    ) -> Result<Arc<Self>, tokens::KeyError> {
        let tokens = Tokens::new(&pki.service_account_key, &settings.issuer)?;
        Ok(Arc::new(Self {
            pki,
            tokens,
            rbac: RbacIndex::default(),
            nodes: NodeIndex::default(),
            settings,
            objects,
            certificates: authn::Certificates::default(),
            oidc: oidc::Oidc::new(issuers),
            impersonations: Default::default(),
            plugins: RwLock::default(),
        }))
    }

    /// The resources whose changes [`Auth::observe`] must see, before a reader can.
    pub const OBSERVED: [GroupVersionResource; 6] = [
        GroupVersionResource::constant(rbac::GROUP, "v1", "clusterroles"),
        GroupVersionResource::constant(rbac::GROUP, "v1", "clusterrolebindings"),
        GroupVersionResource::constant(rbac::GROUP, "v1", "roles"),
        GroupVersionResource::constant(rbac::GROUP, "v1", "rolebindings"),
        GroupVersionResource::constant("", "v1", "pods"),
        GroupVersionResource::constant(PLUGIN_GROUP, "v1alpha1", "plugins"),
    ];

    /// Takes over a change. `object: None` is a deletion. Idempotent; resources that do not matter are ignored.
    pub fn observe(&self, group: &str, resource: &str, namespace: &str, name: &str, object: Option<&Object>) {
        match (group, resource) {
            (rbac::GROUP, _) => self.rbac.observe(resource, namespace, name, object),
            ("", "pods") => self.nodes.observe_pod(namespace, name, object),
            (PLUGIN_GROUP, "plugins") => {
                let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
                match object {
                    Some(plugin) => plugins.insert(name.to_owned(), Rule::list(plugin, &["spec", "grants"]).into()),
                    None => plugins.remove(name),
                };
            }
            _ => {}
        }
    }

    fn plugin_allows(&self, name: &str, asked: &Attributes<'_>) -> bool {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.get(name).is_some_and(|grants| grants.iter().any(|rule| rule.allows(asked)))
    }
}

impl Authorizer for Auth {
    /// Superusers, nodes, plugins, RBAC; the first that allows decides. `Deny` carries the reason of an authorizer
    /// that had one, when no other allowed.
    fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        if asked.user.in_group(SUPERUSERS) {
            return Decision::Allow;
        }
        let of_node = match node::node_name(asked.user) {
            Some(node) => node::authorize(self, node, asked),
            None => Decision::NoOpinion,
        };
        if of_node == Decision::Allow {
            return Decision::Allow;
        }
        if let Some(plugin) = asked.user.name.strip_prefix(PLUGIN_USER_PREFIX)
            && self.plugin_allows(plugin, asked)
        {
            return Decision::Allow;
        }
        if self.rbac.allows(asked) { Decision::Allow } else { of_node }
    }

    fn reason(&self, asked: &Attributes<'_>) -> String {
        if asked.user.in_group(SUPERUSERS) || node::node_name(asked.user).is_some_and(|node| node::authorize(self, node, asked) == Decision::Allow) {
            return String::new();
        }
        match asked.user.name.strip_prefix(PLUGIN_USER_PREFIX) {
            Some(plugin) if self.plugin_allows(plugin, asked) => format!("allowed by the grants of Plugin {plugin:?}"),
            _ => self.rbac.reason(asked).map(|reason| format!("RBAC: allowed by {reason}")).unwrap_or_default(),
        }
    }

    fn admit(&self, user: &User, write: &write::Write<'_>) -> Result<(), Status> {
        gate::check(self, user, write)
    }
}

/// The answer to a request that was not allowed, in upstream's words. `reason` may be empty.
pub fn forbidden(asked: &Attributes<'_>, reason: &str) -> Status {
    let mut why = format!("User {:?} cannot {} ", asked.user.name, asked.verb);
    if asked.resource.is_empty() {
        why.push_str(&format!("path {:?}", asked.path));
    } else {
        why.push_str(&format!("resource {:?} in API group {:?} ", shown_resource(asked), asked.group));
        match asked.namespace {
            "" => why.push_str("at the cluster scope"),
            namespace => why.push_str(&format!("in the namespace {namespace:?}")),
        }
    }
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if asked.resource.is_empty() {
        let mut status = Status::new(403, Reason::Forbidden, format!("forbidden: {why}"));
        status.details_mut();
        return status;
    }
    if asked.name.is_empty() {
        let group = if asked.group.is_empty() { String::new() } else { format!(".{}", asked.group) };
        let message = format!("{}{group} is forbidden: {why}", asked.resource);
        return Status::new(403, Reason::Forbidden, message).about(asked.group, asked.resource, "");
    }
    Status::forbidden(asked.group, asked.resource, asked.name, &why)
}

fn shown_resource(asked: &Attributes<'_>) -> String {
    if asked.subresource.is_empty() { asked.resource.to_owned() } else { format!("{}/{}", asked.resource, asked.subresource) }
}

/// `system:serviceaccount:NAMESPACE:NAME`
pub fn service_account_user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Namespace and name of a service account's user name.
pub fn service_account_of(user_name: &str) -> Option<(&str, &str)> {
    user_name.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(ns, name)| !ns.is_empty() && !name.is_empty() && !name.contains(':'))
}

pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

impl<'a> Attributes<'a> {
    /// A request for a resource, without subresource or selector.
    pub fn of_resource(
        user: &'a User,
        verb: &'a str,
        group: &'a str,
        version: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        Self { user, verb, group, version, resource, subresource: "", namespace, name, path: "", field_selector: "" }
    }
    /// A request for a path that names no resource.
    pub fn of_path(user: &'a User, verb: &'a str, path: &'a str) -> Self {
        Self { user, verb, group: "", version: "", resource: "", subresource: "", namespace: "", name: "", path, field_selector: "" }
    }
    pub fn with_subresource(mut self, subresource: &'a str) -> Self {
        self.subresource = subresource;
        self
    }
}

#[cfg(test)]
mod tests;
