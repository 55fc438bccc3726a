//! Whole documents. They are written piece by piece, so that the largest thing in memory is the finished text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::definitions::Definitions;
use super::paths::{self, Bodies};
use super::{Dialect, Published, custom, proto};
use crate::resource::SubresourceDef;
use crate::schema::rows::{self, NAME_PREFIX};
use crate::{GroupVersion, GroupVersionKind};

/// Definitions that no resource names, yet requests take or give.
const ALWAYS: [&str; 8] = [
    "apimachinery.pkg.apis.meta.v1.APIGroup",
    "apimachinery.pkg.apis.meta.v1.APIGroupList",
    "apimachinery.pkg.apis.meta.v1.APIResourceList",
    "apimachinery.pkg.apis.meta.v1.APIVersions",
    "apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "apimachinery.pkg.apis.meta.v1.Patch",
    "apimachinery.pkg.apis.meta.v1.Status",
    "apimachinery.pkg.apis.meta.v1.WatchEvent",
];
/// Custom resources refer to them.
const META: [&str; 2] = ["apimachinery.pkg.apis.meta.v1.ListMeta", "apimachinery.pkg.apis.meta.v1.ObjectMeta"];

/// `GET /openapi/v3`: where the document of each group version is. The hash changes when the document does, so that clients may keep it.
pub fn v3_index(resources: &[Published<'_>], server_version: &str) -> Value {
    let mut hashers: BTreeMap<String, Sha256> = BTreeMap::new();
    for published in resources {
        let hasher = hashers.entry(v3_path(&published.def.group, &published.def.version)).or_insert_with(|| {
            let mut hasher = Sha256::new();
            hasher.update(server_version);
            hasher.update(rows::TYPES.len().to_le_bytes());
            hasher
        });
        hasher.update(format!("{:?}", published.def));
        if let Some(schema) = published.schema {
            hasher.update(schema.to_string());
        }
    }
    let entries = hashers.into_iter().map(|(path, hasher)| {
        let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        let entry = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
        (path, entry)
    });
    json!({"paths": Value::Object(entries.collect())})
}

/// `GET /openapi/v3/PATH`, where path is `api/v1` or `apis/GROUP/VERSION`. `None`: nothing is served there.
pub fn v3_json(resources: &[Published<'_>], path: &str, server_version: &str) -> Option<Vec<u8>> {
    let listed: Vec<Published<'_>> = resources.iter().copied().filter(|p| v3_path(&p.def.group, &p.def.version) == path).collect();
    if listed.is_empty() {
        return None;
    }
    let all_versions = group_versions(resources);
    let assembly = Assembly::new(&listed, Dialect::V3);
    let mut json = Json::begin(&json!({"openapi": "3.0.0", "info": info(server_version)}));
    json.open("paths");
    assembly.paths(|path, item| json.member(&path, &item));
    json.close();
    json.open("components");
    json.open("schemas");
    assembly.definitions(&all_versions, |name, schema| json.member(&name, &schema));
    json.close();
    json.close();
    Some(json.finish())
}

/// `GET /openapi/v2` as JSON.
pub fn v2_json(resources: &[Published<'_>], server_version: &str) -> Vec<u8> {
    let assembly = Assembly::new(resources, Dialect::V2);
    let mut json = Json::begin(&json!({"swagger": "2.0", "info": info(server_version)}));
    json.open("paths");
    assembly.paths(|path, item| json.member(&path, &item));
    json.close();
    json.open("definitions");
    assembly.definitions(&group_versions(resources), |name, schema| json.member(&name, &schema));
    json.close();
    json.finish()
}

/// `GET /openapi/v2` as protobuf, gnostic's `openapi.v2.Document`.
pub fn v2_protobuf(resources: &[Published<'_>], server_version: &str) -> Vec<u8> {
    let assembly = Assembly::new(resources, Dialect::V2);
    let mut document = proto::DocumentWriter::new(&info(server_version));
    assembly.paths(|path, item| document.path(&path, &item));
    assembly.definitions(&group_versions(resources), |name, schema| document.definition(&name, &schema));
    document.finish()
}

fn info(server_version: &str) -> Value {
    json!({"title": "Kubernetes", "version": server_version})
}

fn v3_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn group_versions<'a>(resources: &[Published<'a>]) -> Vec<(&'a str, &'a str)> {
    let all: BTreeSet<_> = resources.iter().map(|p| (p.def.group.as_ref(), p.def.version.as_ref())).collect();
    all.into_iter().collect()
}

/// The parts of a document about some resources.
struct Assembly<'a> {
    resources: &'a [Published<'a>],
    dialect: Dialect,
    known: Definitions,
}

impl<'a> Assembly<'a> {
    fn new(resources: &'a [Published<'a>], dialect: Dialect) -> Self {
        Self { resources, dialect, known: Definitions::load() }
    }

    fn paths(&self, mut add: impl FnMut(String, Value)) {
        let mut sorted: Vec<&Published<'_>> = self.resources.iter().collect();
        sorted.sort_by(|a, b| (&a.def.group, &a.def.version, &a.def.resource).cmp(&(&b.def.group, &b.def.version, &b.def.resource)));
        for published in sorted {
            let object = self.body_of(published);
            let list = self.list_of(published).unwrap_or_else(|| object.clone());
            let of_subresource = |sub: &SubresourceDef| match &sub.kind {
                Some(kind) => self.known.of_kind(kind).map(full_name),
                // A log is a text, though its kind is Pod.
                None => (sub.name != "log").then(|| object.clone()),
            };
            let bodies = Bodies { object: object.clone(), list, of_subresource: &of_subresource };
            paths::of_resource(published, &bodies, self.dialect, &mut add);
        }
    }

    fn definitions(&self, versions: &[(&str, &str)], mut add: impl FnMut(String, Value)) {
        for name in self.known.closure(self.roots()) {
            add(full_name(name), self.known.schema(name, self.dialect, versions));
        }
        for published in self.resources.iter().filter(|p| self.built_in(p).is_none()) {
            let name = custom::definition_name(published.def);
            add(format!("{name}List"), custom::list_schema(published.def, self.dialect));
            add(name, custom::schema(published.def, published.schema, self.dialect));
        }
    }

    fn roots(&self) -> Vec<&'static str> {
        let mut roots = [ALWAYS.as_slice(), META.as_slice()].concat();
        for published in self.resources {
            roots.extend(self.built_in(published));
            roots.extend(self.built_in_list(published));
            let kinds = published.def.subresources.iter().filter_map(|sub| sub.kind.as_ref());
            roots.extend(kinds.filter_map(|kind| self.known.of_kind(kind)));
        }
        roots
    }

    fn built_in(&self, published: &Published<'_>) -> Option<&'static str> {
        if published.schema.is_some() { None } else { self.known.of_kind(&published.def.gvk()) }
    }

    fn built_in_list(&self, published: &Published<'_>) -> Option<&'static str> {
        let kind = published.def.gvk();
        let list = GroupVersionKind { kind: format!("{}List", kind.kind).into(), ..kind };
        self.built_in(published).and_then(|_| self.known.of_kind(&list))
    }

    fn body_of(&self, published: &Published<'_>) -> String {
        self.built_in(published).map_or_else(|| custom::definition_name(published.def), full_name)
    }

    fn list_of(&self, published: &Published<'_>) -> Option<String> {
        match self.built_in(published) {
            Some(_) => self.built_in_list(published).map(full_name),
            None => Some(format!("{}List", custom::definition_name(published.def))),
        }
    }
}

fn full_name(short: &str) -> String {
    format!("{NAME_PREFIX}{short}")
}

/// Writes one JSON object member by member.
struct Json {
    text: Vec<u8>,
    /// Whether the innermost open object has a member already.
    started: bool,
    depth: usize,
}

impl Json {
    fn begin(head: &Value) -> Self {
        let mut text = head.to_string().into_bytes();
        text.pop();
        Self { text, started: true, depth: 1 }
    }
    fn key(&mut self, name: &str) {
        if self.started {
            self.text.push(b',');
        }
        self.started = true;
        self.text.extend_from_slice(Value::from(name).to_string().as_bytes());
        self.text.push(b':');
    }
    fn member(&mut self, name: &str, value: &Value) {
        self.key(name);
        self.text.extend_from_slice(value.to_string().as_bytes());
    }
    fn open(&mut self, name: &str) {
        self.key(name);
        self.text.push(b'{');
        self.started = false;
        self.depth += 1;
    }
    fn close(&mut self) {
        self.text.push(b'}');
        self.started = true;
        self.depth -= 1;
    }
    fn finish(mut self) -> Vec<u8> {
        for _ in 0..self.depth {
            self.text.push(b'}');
        }
        self.text.shrink_to_fit();
        self.text
    }
}

/// For callers that hold a [`GroupVersion`].
pub fn v3_document_path(of: &GroupVersion) -> String {
    v3_path(&of.group, &of.version)
}
