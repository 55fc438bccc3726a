//! A write as the checks of its content see it ([`super::gate`]).

use pintle_api::Object;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// One write, as admission sees it.
pub struct Write<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The object to be; `None` on a deletion.
    pub new: Option<&'a Object>,
    /// The object before; `None` on a creation.
    pub old: Option<&'a Object>,
}
