//! Paths that answer a GET without a resource behind it: what a server serves, its version, the keys of its tokens.

use serde_json::{Value, json};

use super::Dialect;
use super::operations::{PROTOBUF, TEXTUAL, content};
use super::paths::{META_PACKAGE, capitalized, group_id, group_tag};

/// One of them.
pub(super) struct Fixed {
    /// Without slashes at its ends, which is its document's name in version 3, too.
    pub(super) path: String,
    tag: String,
    id: String,
    description: &'static str,
    answer: Answer,
}

enum Answer {
    /// In JSON, YAML and protobuf.
    Discovery(&'static str),
    Version,
    Text {
        media: &'static str,
    },
}

impl Fixed {
    pub(super) fn item(&self, dialect: Dialect) -> Value {
        let definition = |name: String| json!({"$ref": dialect.reference(&name)});
        let (media, schema) = match &self.answer {
            Answer::Discovery(kind) => ([TEXTUAL.as_slice(), &[PROTOBUF]].concat(), definition(format!("{META_PACKAGE}.{kind}"))),
            Answer::Version => (vec![TEXTUAL[0]], definition("io.k8s.apimachinery.pkg.version.Info".to_owned())),
            Answer::Text { media } => (vec![*media], json!({"type": "string"})),
        };
        let mut operation = json!({"tags": [self.tag], "description": self.description, "operationId": self.id});
        operation["responses"] = json!({"401": {"description": "Unauthorized"}});
        match dialect {
            Dialect::V2 => {
                operation["schemes"] = json!(["https"]);
                if !matches!(self.answer, Answer::Text { .. }) {
                    operation["consumes"] = json!(media);
                }
                operation["produces"] = json!(media);
                operation["responses"]["200"] = json!({"description": "OK", "schema": schema});
            }
            Dialect::V3 => operation["responses"]["200"] = json!({"description": "OK", "content": content(&media, &schema)}),
        }
        json!({"get": operation})
    }
}

/// Those of a server with these groups.
pub(super) fn of_groups<'a>(groups: impl Iterator<Item = &'a str>) -> Vec<Fixed> {
    let fixed = |path: &str, tag: &str, id: &str, description, answer| Fixed {
        path: path.to_owned(),
        tag: tag.to_owned(),
        id: id.to_owned(),
        description,
        answer,
    };
    let versions = "get available API versions";
    let mut all = vec![
        fixed("api", "core", "getCoreAPIVersions", versions, Answer::Discovery("APIVersions")),
        fixed("apis", "apis", "getAPIVersions", versions, Answer::Discovery("APIGroupList")),
        fixed("version", "version", "getCodeVersion", "get the version information for this server", Answer::Version),
        fixed(
            ".well-known/openid-configuration",
            "WellKnown",
            "getServiceAccountIssuerOpenIDConfiguration",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            Answer::Text { media: TEXTUAL[0] },
        ),
        fixed(
            "openid/v1/jwks",
            "openid",
            "getServiceAccountIssuerOpenIDKeyset",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            Answer::Text { media: "application/jwk-set+json" },
        ),
    ];
    all.extend(groups.filter(|group| !group.is_empty()).map(|group| Fixed {
        path: format!("apis/{group}"),
        tag: group_tag(group),
        id: format!("get{}APIGroup", group_id(group)),
        description: "get information of a group",
        answer: Answer::Discovery("APIGroup"),
    }));
    all
}

/// What a group version serves; `path` is where.
pub(super) fn of_version(path: &str, group: &str, version: &str) -> Fixed {
    Fixed {
        path: path.to_owned(),
        tag: format!("{}_{version}", group_tag(group)),
        id: format!("get{}{}APIResources", group_id(group), capitalized(version)),
        description: "get available resources",
        answer: Answer::Discovery("APIResourceList"),
    }
}
