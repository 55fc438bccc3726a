//! One operation of a path, written in either version of OpenAPI: media types, body, answers.

use serde_json::{Map, Value, json};

use super::paths::group_tag;
use super::{Dialect, parameters};
use crate::ResourceDef;

pub(super) const TEXTUAL: [&str; 2] = ["application/json", "application/yaml"];
pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const STREAMED: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// What distinguishes one operation from another.
#[derive(Clone)]
pub(super) struct Operation<'a> {
    pub(super) method: &'a str,
    /// `x-kubernetes-action`.
    pub(super) action: &'a str,
    pub(super) id: String,
    pub(super) description: String,
    /// The set of its parameters.
    pub(super) parameters: &'a str,
    /// The request's body: definition, and whether it must be there.
    pub(super) takes: Option<(String, bool)>,
    pub(super) answer: Answer,
    /// Group, version and kind where they are not the resource's.
    pub(super) about: Option<(&'a str, &'a str, &'a str)>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Object(String),
    /// A stream of whatever the other side says.
    Whatever,
    Log,
}

/// What all operations of a resource have in common.
pub(super) struct Frame<'a> {
    pub(super) def: &'a ResourceDef,
    pub(super) dialect: Dialect,
    pub(super) custom: bool,
}

pub(super) fn content(media: &[&str], schema: &Value) -> Map<String, Value> {
    media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect()
}

impl Operation<'_> {
    /// `own`: the parameters that do not stand on its path.
    pub(super) fn json(&self, frame: &Frame<'_>, mut own: Vec<Value>) -> Value {
        let def = frame.def;
        let (group, version, kind) = self.about.unwrap_or((&def.group, &def.version, &def.kind));
        let mut body = json!({
            "description": self.description,
            "operationId": self.id,
            "tags": [format!("{}_{}", group_tag(&def.group), def.version)],
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        let consumes = frame.consumes(self.action);
        match (frame.dialect, &self.takes) {
            (Dialect::V2, takes) => {
                body["schemes"] = json!(["https"]);
                body["consumes"] = json!(consumes);
                body["produces"] = json!(frame.produces(self));
                own.splice(0..0, takes.as_ref().map(|(definition, required)| parameters::body(definition, *required)));
            }
            (Dialect::V3, Some((definition, required))) => {
                body["requestBody"] = json!({"content": content(&consumes, &frame.reference(definition))});
                if *required {
                    body["requestBody"]["required"] = true.into();
                }
            }
            (Dialect::V3, None) => {}
        }
        if !own.is_empty() {
            body["parameters"] = own.into();
        }
        body["responses"] = frame.responses(self);
        body
    }
}

impl Frame<'_> {
    fn consumes(&self, action: &str) -> Vec<&'static str> {
        match action {
            "patch" if self.custom => PATCHES.into_iter().chain([APPLY_PATCH]).collect(),
            "patch" => PATCHES.into_iter().chain([STRATEGIC_PATCH, APPLY_PATCH]).collect(),
            _ if self.custom && self.dialect == Dialect::V3 => TEXTUAL.to_vec(),
            _ => vec!["*/*"],
        }
    }

    fn produces(&self, operation: &Operation<'_>) -> Vec<&'static str> {
        let mut media = TEXTUAL.to_vec();
        if !self.custom {
            media.push(PROTOBUF);
        }
        match operation.answer {
            Answer::Whatever => return vec!["*/*"],
            Answer::Log => media.insert(0, "text/plain"),
            Answer::Object(_) if !self.custom && matches!(operation.action, "list" | "watch" | "watchlist") => media.extend(STREAMED),
            Answer::Object(_) => {}
        }
        media
    }

    fn responses(&self, operation: &Operation<'_>) -> Value {
        let schema = match &operation.answer {
            Answer::Object(definition) => self.reference(definition),
            Answer::Whatever | Answer::Log => json!({"type": "string"}),
        };
        let answer = |description: &str| match self.dialect {
            Dialect::V2 => json!({"description": description, "schema": schema}),
            Dialect::V3 => json!({"description": description, "content": content(&self.produces(operation), &schema)}),
        };
        let mut responses = json!({"200": answer("OK"), "401": {"description": "Unauthorized"}});
        if matches!(operation.action, "post" | "put" | "patch") {
            responses["201"] = answer("Created");
        }
        if matches!(operation.action, "post" | "delete") {
            responses["202"] = answer("Accepted");
        }
        responses
    }

    fn reference(&self, definition: &str) -> Value {
        json!({"$ref": self.dialect.reference(definition)})
    }
}
