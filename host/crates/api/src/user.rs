//! Who acts: `authentication.k8s.io`'s UserInfo, and the names that upstream gives to users and groups of its own.
//!
//! Whether somebody is who they say, and what they may do, is the API server's to find out.

use std::collections::BTreeMap;

/// The members of this group may do everything.
pub const SUPERUSERS: &str = "system:masters";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const ANONYMOUS: &str = "system:anonymous";
/// `system:pintle:plugin:NAME` acts with the grants of the Plugin object of that name.
pub const PLUGIN_USER_PREFIX: &str = "system:pintle:plugin:";

/// An authenticated identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The identity of the server's own parts: member of `system:masters`, so every authorizer lets it pass.
    pub fn loopback() -> Self {
        Self { name: "system:apiserver".into(), groups: vec![SUPERUSERS.into(), AUTHENTICATED.into()], ..Self::default() }
    }
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }
    /// The identity that a plugin's calls carry.
    pub fn plugin(name: &str) -> Self {
        Self { name: format!("{PLUGIN_USER_PREFIX}{name}"), groups: vec![AUTHENTICATED.into()], ..Self::default() }
    }
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
