//! Values as upstream shows them where a fault is about a whole object: its internal type's fields, in their order, the empty ones too.

use pintle_api::object::ObjectExt;
use serde_json::Value;

/// What stands for a field that is not there.
#[derive(Clone, Copy)]
pub enum Field {
    /// A pointer, a list or a map: `null`.
    Optional,
    /// `""`.
    Text,
    /// A pointer to an object of these fields.
    Object(Fields),
}

/// The name in JSON, upstream's name, and what it is.
pub type Fields = &'static [(&'static str, &'static str, Field)];

use Field::{Object, Optional, Text};

pub const SECURITY_CONTEXT: Fields = &[
    ("capabilities", "Capabilities", Object(&[("add", "Add", Optional), ("drop", "Drop", Optional)])),
    ("privileged", "Privileged", Optional),
    ("seLinuxOptions", "SELinuxOptions", Object(&[("user", "User", Text), ("role", "Role", Text), ("type", "Type", Text), ("level", "Level", Text)])),
    (
        "windowsOptions",
        "WindowsOptions",
        Object(&[
            ("gmsaCredentialSpecName", "GMSACredentialSpecName", Optional),
            ("gmsaCredentialSpec", "GMSACredentialSpec", Optional),
            ("runAsUserName", "RunAsUserName", Optional),
            ("hostProcess", "HostProcess", Optional),
        ]),
    ),
    ("runAsUser", "RunAsUser", Optional),
    ("runAsGroup", "RunAsGroup", Optional),
    ("runAsNonRoot", "RunAsNonRoot", Optional),
    ("readOnlyRootFilesystem", "ReadOnlyRootFilesystem", Optional),
    ("allowPrivilegeEscalation", "AllowPrivilegeEscalation", Optional),
    ("procMount", "ProcMount", Optional),
    ("seccompProfile", "SeccompProfile", Object(PROFILE)),
    ("appArmorProfile", "AppArmorProfile", Object(PROFILE)),
];
pub const PROFILE: Fields = &[("type", "Type", Text), ("localhostProfile", "LocalhostProfile", Optional)];
pub const RESOURCE_CLAIM: Fields = &[
    ("name", "Name", Text),
    ("resourceClaimName", "ResourceClaimName", Optional),
    ("resourceClaimTemplateName", "ResourceClaimTemplateName", Optional),
];
pub const ROLE_REF: Fields = &[("apiGroup", "APIGroup", Text), ("kind", "Kind", Text), ("name", "Name", Text)];
pub const NODE_ADDRESS: Fields = &[("type", "Type", Text), ("address", "Address", Text)];

pub fn shown(object: &Value, fields: Fields) -> String {
    let all: Vec<String> = fields.iter().map(|(field, name, kind)| format!("{name:?}:{}", shown_field(object, field, *kind))).collect();
    format!("{{{}}}", all.join(","))
}

fn shown_field(object: &Value, field: &str, kind: Field) -> String {
    let value = object.get(field).filter(|value| !value.is_null());
    match (value, kind) {
        (_, Text) => Value::from(object.str_at(&[field])).to_string(),
        (None, _) => "null".to_owned(),
        (Some(value), Optional) => value.to_string(),
        (Some(value), Object(fields)) => shown(value, fields),
    }
}
