//! Paths and operations of one resource. kubectl and client-go read from them which verbs take `fieldValidation` and
//! `dryRun`; client generators read the operation ids.

use serde_json::{Map, Value, json};

use super::{Dialect, Published};
use crate::ResourceDef;
use crate::resource::SubresourceDef;

const META_PACKAGE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PRODUCES: [&str; 2] = ["application/json", "application/yaml"];
const PATCHES: [&str; 3] = ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// Full names of the definitions that operations take and give.
pub(super) struct Bodies<'a> {
    pub(super) object: String,
    pub(super) list: String,
    /// The definition of a subresource's kind; `None`: no JSON body (a stream, a proxy).
    pub(super) of_subresource: &'a dyn Fn(&SubresourceDef) -> Option<String>,
}

/// Calls `add` with each path and its item.
pub(super) fn of_resource(published: &Published<'_>, bodies: &Bodies<'_>, dialect: Dialect, mut add: impl FnMut(String, Value)) {
    let writer = Writer { def: published.def, bodies, dialect, custom: published.schema.is_some() };
    let root = if writer.def.group.is_empty() { "/api" } else { "/apis" };
    let root = format!("{root}/{}", writer.def.api_version());
    let collection = if writer.def.is_namespaced() {
        format!("{root}/namespaces/{{namespace}}/{}", writer.def.resource)
    } else {
        format!("{root}/{}", writer.def.resource)
    };
    add_if_any(&mut add, collection.clone(), writer.collection());
    if writer.def.is_namespaced() && writer.has("list") {
        add_if_any(&mut add, format!("{root}/{}", writer.def.resource), writer.all_namespaces());
    }
    let object = format!("{collection}/{{name}}");
    add_if_any(&mut add, object.clone(), writer.object());
    for sub in writer.def.subresources.iter() {
        add_if_any(&mut add, format!("{object}/{}", sub.name), writer.subresource(sub));
    }
}

fn add_if_any(add: &mut impl FnMut(String, Value), path: String, item: Map<String, Value>) {
    if item.keys().any(|key| key != "parameters") {
        add(path, Value::Object(item));
    }
}

struct Writer<'a> {
    def: &'a ResourceDef,
    bodies: &'a Bodies<'a>,
    dialect: Dialect,
    custom: bool,
}

/// What distinguishes one operation from another.
struct Operation<'a> {
    method: &'a str,
    /// `x-kubernetes-action`.
    action: &'a str,
    id: String,
    description: String,
    parameters: Vec<Value>,
    /// The request's body: definition, and whether it must be there.
    takes: Option<(&'a str, bool)>,
    /// The answer's definition; `None`: a text.
    gives: Option<&'a str>,
}

impl Writer<'_> {
    fn has(&self, verb: &str) -> bool {
        self.def.verbs.iter().any(|known| known == verb)
    }

    fn collection(&self) -> Map<String, Value> {
        let mut item = self.item(false);
        let (kind, object) = (self.def.kind.as_ref(), self.bodies.object.as_str());
        if self.has("list") {
            let operation = self.operation("get", "list", "list", "", format!("list or watch objects of kind {kind}"));
            self.add(&mut item, Operation { parameters: self.list_parameters(), gives: Some(&self.bodies.list), ..operation }, None);
        }
        if self.has("create") {
            let operation = self.operation("post", "post", "create", "", format!("create a {kind}"));
            self.add(&mut item, Operation { parameters: self.write_parameters(false), takes: Some((object, true)), gives: Some(object), ..operation }, None);
        }
        if self.has("deletecollection") {
            let id = self.operation_id("delete", "Collection", "");
            let operation = self.operation("delete", "deletecollection", "delete", "", format!("delete collection of {kind}"));
            let parameters = [self.list_parameters(), self.delete_parameters()].concat();
            let (status, options) = (meta("Status"), meta("DeleteOptions"));
            self.add(&mut item, Operation { id, parameters, takes: Some((&options, false)), gives: Some(&status), ..operation }, None);
        }
        item
    }

    fn all_namespaces(&self) -> Map<String, Value> {
        let mut item = Map::new();
        let id = format!("list{}{}ForAllNamespaces", self.group_version_id(), self.def.kind);
        let operation = self.operation("get", "list", "list", "", format!("list or watch objects of kind {}", self.def.kind));
        self.add(&mut item, Operation { id, parameters: self.list_parameters(), gives: Some(&self.bodies.list), ..operation }, None);
        item
    }

    fn object(&self) -> Map<String, Value> {
        let mut item = self.item(true);
        let kind = self.def.kind.as_ref();
        let object = Some(self.bodies.object.as_str());
        if self.has("get") {
            self.add(&mut item, Operation { gives: object, ..self.operation("get", "get", "read", "", format!("read the specified {kind}")) }, None);
        }
        if self.has("update") {
            self.put(&mut item, "", object, None, format!("replace the specified {kind}"));
        }
        if self.has("patch") {
            self.patch(&mut item, "", object, None, format!("partially update the specified {kind}"));
        }
        if self.has("delete") {
            let (status, options) = (meta("Status"), meta("DeleteOptions"));
            let operation = self.operation("delete", "delete", "delete", "", format!("delete a {kind}"));
            self.add(&mut item, Operation { parameters: self.delete_parameters(), takes: Some((&options, false)), gives: Some(&status), ..operation }, None);
        }
        item
    }

    fn subresource(&self, sub: &SubresourceDef) -> Map<String, Value> {
        let mut item = self.item(true);
        let body = (self.bodies.of_subresource)(sub);
        let body = body.as_deref();
        let suffix = capitalized(&sub.name);
        let what = format!("{} of the specified {}", sub.name, self.def.kind);
        for verb in sub.verbs.iter() {
            match (verb.as_ref(), body) {
                ("get", Some(_)) => self.add(&mut item, Operation { gives: body, ..self.operation("get", "get", "read", &suffix, format!("read {what}")) }, Some(sub)),
                ("create", Some(kind)) => {
                    let operation = self.operation("post", "post", "create", &suffix, format!("create {what}"));
                    self.add(&mut item, Operation { parameters: self.write_parameters(false), takes: Some((kind, true)), gives: body, ..operation }, Some(sub));
                }
                ("update", Some(_)) => self.put(&mut item, &suffix, body, Some(sub), format!("replace {what}")),
                ("patch", Some(_)) => self.patch(&mut item, &suffix, body, Some(sub), format!("partially update {what}")),
                (verb, None) => {
                    let method = match verb {
                        "create" => "post",
                        "update" => "put",
                        other => other,
                    };
                    let id = format!("connect{}{}{}{}{suffix}", self.group_version_id(), capitalized(method), self.namespaced_word(), self.def.kind);
                    let operation = self.operation(method, "connect", "connect", &suffix, format!("connect to {what}"));
                    self.add(&mut item, Operation { id, ..operation }, Some(sub));
                }
                _ => {}
            }
        }
        item
    }

    fn put(&self, item: &mut Map<String, Value>, suffix: &str, body: Option<&str>, sub: Option<&SubresourceDef>, description: String) {
        let operation = self.operation("put", "put", "replace", suffix, description);
        let takes = body.map(|body| (body, true));
        self.add(item, Operation { parameters: self.write_parameters(false), takes, gives: body, ..operation }, sub);
    }

    fn patch(&self, item: &mut Map<String, Value>, suffix: &str, body: Option<&str>, sub: Option<&SubresourceDef>, description: String) {
        let operation = self.operation("patch", "patch", "patch", suffix, description);
        let patch = meta("Patch");
        self.add(item, Operation { parameters: self.write_parameters(true), takes: Some((&patch, true)), gives: body, ..operation }, sub);
    }

    fn operation<'b>(&self, method: &'b str, action: &'b str, word: &str, suffix: &str, description: String) -> Operation<'b> {
        let id = self.operation_id(word, "", suffix);
        Operation { method, action, id, description, parameters: Vec::new(), takes: None, gives: None }
    }

    /// `replaceAppsV1NamespacedDeploymentStatus`
    fn operation_id(&self, word: &str, infix: &str, suffix: &str) -> String {
        format!("{word}{}{infix}{}{}{suffix}", self.group_version_id(), self.namespaced_word(), self.def.kind)
    }

    fn group_version_id(&self) -> String {
        let group = if self.def.group.is_empty() { "core" } else { self.def.group.trim_end_matches(".k8s.io") };
        let parts: String = group.split(['.', '-']).map(capitalized).collect();
        format!("{parts}{}", capitalized(&self.def.version))
    }

    fn namespaced_word(&self) -> &'static str {
        if self.def.is_namespaced() { "Namespaced" } else { "" }
    }

    /// A path item with the parameters that all its operations share.
    fn item(&self, named: bool) -> Map<String, Value> {
        let mut parameters = Vec::new();
        if named {
            parameters.push(self.parameter("path", "name", "string", &format!("name of the {}", self.def.kind)));
        }
        if self.def.is_namespaced() {
            parameters.push(self.parameter("path", "namespace", "string", "the namespace of the object"));
        }
        parameters.push(self.parameter("query", "pretty", "string", "if 'true', the answer is indented"));
        Map::from_iter([("parameters".to_owned(), parameters.into())])
    }

    fn add(&self, item: &mut Map<String, Value>, mut operation: Operation<'_>, sub: Option<&SubresourceDef>) {
        let (group, version, kind) = match sub.and_then(|sub| sub.kind.as_ref()) {
            Some(kind) => (&kind.group, &kind.version, &kind.kind),
            None => (&self.def.group, &self.def.version, &self.def.kind),
        };
        let tag_group = if self.def.group.is_empty() { "core" } else { self.def.group.trim_end_matches(".k8s.io") };
        let mut body = json!({
            "description": operation.description,
            "operationId": operation.id,
            "tags": [format!("{}_{}", tag_group.replace('.', "_"), self.def.version)],
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        let mut parameters = std::mem::take(&mut operation.parameters);
        let consumes = self.consumes(operation.method);
        match (self.dialect, operation.takes) {
            (Dialect::V2, takes) => {
                body["consumes"] = json!(consumes);
                body["produces"] = json!(PRODUCES);
                if let Some((definition, required)) = takes {
                    let mut parameter = json!({"in": "body", "name": "body", "schema": self.reference(definition)});
                    if required {
                        parameter["required"] = true.into();
                    }
                    parameters.push(parameter);
                }
            }
            (Dialect::V3, Some((definition, required))) => {
                let content: Map<String, Value> = consumes.iter().map(|media| ((*media).to_owned(), json!({"schema": self.reference(definition)}))).collect();
                body["requestBody"] = json!({"content": content});
                if required {
                    body["requestBody"]["required"] = true.into();
                }
            }
            (Dialect::V3, None) => {}
        }
        if !parameters.is_empty() {
            body["parameters"] = parameters.into();
        }
        body["responses"] = self.responses(&operation);
        item.insert(operation.method.to_owned(), body);
    }

    fn consumes(&self, method: &str) -> Vec<&'static str> {
        match method {
            "patch" if self.custom => PATCHES.to_vec(),
            "patch" => PATCHES.into_iter().chain([STRATEGIC_PATCH]).collect(),
            _ if self.dialect == Dialect::V2 => vec!["*/*"],
            _ => PRODUCES.to_vec(),
        }
    }

    fn responses(&self, operation: &Operation<'_>) -> Value {
        let schema = operation.gives.map_or_else(|| json!({"type": "string"}), |definition| self.reference(definition));
        let answer = |description: &str| match self.dialect {
            Dialect::V2 => json!({"description": description, "schema": schema}),
            Dialect::V3 => {
                let media: &[&str] = if operation.gives.is_some() { &PRODUCES } else { &["*/*"] };
                let content: Map<String, Value> = media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect();
                json!({"description": description, "content": content})
            }
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

    fn list_parameters(&self) -> Vec<Value> {
        [
            ("allowWatchBookmarks", "boolean", "send bookmarks in a watch"),
            ("continue", "string", "the token of a list that was cut off: go on from there"),
            ("fieldSelector", "string", "restrict to objects with these fields"),
            ("labelSelector", "string", "restrict to objects with these labels"),
            ("limit", "integer", "the most objects in one answer"),
            ("resourceVersion", "string", "the revision to read at or to watch from"),
            ("resourceVersionMatch", "string", "how resourceVersion is to be met"),
            ("sendInitialEvents", "boolean", "begin a watch with the objects that are there"),
            ("timeoutSeconds", "integer", "the longest that the call may take"),
            ("watch", "boolean", "stream changes instead of a list"),
        ]
        .into_iter()
        .map(|(name, kind, description)| self.parameter("query", name, kind, description))
        .collect()
    }

    fn write_parameters(&self, patch: bool) -> Vec<Value> {
        let mut parameters = vec![
            self.parameter("query", "dryRun", "string", "with 'All', everything happens but the write"),
            self.parameter("query", "fieldManager", "string", "the name of whoever changes fields"),
            self.parameter("query", "fieldValidation", "string", "what unknown and duplicate fields do: Ignore, Warn or Strict"),
        ];
        if patch {
            parameters.push(self.parameter("query", "force", "boolean", "take fields over from other managers (apply only)"));
        }
        parameters
    }

    fn delete_parameters(&self) -> Vec<Value> {
        vec![
            self.parameter("query", "dryRun", "string", "with 'All', everything happens but the write"),
            self.parameter("query", "gracePeriodSeconds", "integer", "the time that the object gets to end"),
            self.parameter("query", "orphanDependents", "boolean", "the old form of propagationPolicy"),
            self.parameter("query", "propagationPolicy", "string", "what becomes of dependents: Orphan, Background or Foreground"),
        ]
    }

    fn parameter(&self, place: &str, name: &str, kind: &str, description: &str) -> Value {
        let mut parameter = json!({"in": place, "name": name, "description": description});
        match self.dialect {
            Dialect::V2 => {
                parameter["type"] = kind.into();
                parameter["uniqueItems"] = true.into();
            }
            Dialect::V3 => parameter["schema"] = json!({"type": kind, "uniqueItems": true}),
        }
        if place == "path" {
            parameter["required"] = true.into();
        }
        parameter
    }
}

fn meta(kind: &str) -> String {
    format!("{META_PACKAGE}.{kind}")
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}
