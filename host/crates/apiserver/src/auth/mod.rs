//! Who asks, and may they: the types that the http layer and the handlers share with authentication and authorization.

use std::collections::BTreeMap;

use pintle_api::Status;
use rustls_pki_types::CertificateDer;

/// An authenticated identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

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
}

pub trait Authenticator: Send + Sync + 'static {
    /// `peer` is the verified client certificate chain, leaf first; empty without one.
    fn authenticate(&self, parts: &::http::request::Parts, peer: &[CertificateDer<'static>]) -> Result<User, Status>;
}

impl User {
    /// The identity of the server's own parts: member of `system:masters`, so every authorizer lets it pass.
    pub fn loopback() -> Self {
        Self { name: "system:apiserver".into(), groups: vec!["system:masters".into(), "system:authenticated".into()], ..Self::default() }
    }
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()], ..Self::default() }
    }
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
