//! Whole documents. They are written piece by piece, so that the largest thing in memory is the finished text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::definitions::Definitions;
use super::fixed::Fixed;
use super::paths::{self, Bodies};
use super::{Dialect, Published, custom, fixed, parameters, proto};
use crate::resource::SubresourceDef;
use crate::schema::rows::{self, NAME_PREFIX};
use crate::{GroupVersion, GroupVersionKind};

/// Custom resources refer to them.
const META: [&str; 2] = ["apimachinery.pkg.apis.meta.v1.ListMeta", "apimachinery.pkg.apis.meta.v1.ObjectMeta"];
/// Requests of each group version take bodies of this one, too.
const CORE: (&str, &str) = ("", "v1");

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
    let groups: BTreeSet<&str> = resources.iter().map(|published| published.def.group.as_ref()).collect();
    for fixed in fixed::of_groups(groups.into_iter()) {
        hashers.entry(fixed.path).or_insert_with(|| Sha256::new_with_prefix(server_version));
    }
    let entries = hashers.into_iter().map(|(path, hasher)| {
        let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        let entry = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
        (path, entry)
    });
    json!({"paths": Value::Object(entries.collect())})
}

/// `GET /openapi/v3/PATH`, where path is one of the index. `None`: nothing is served there.
pub fn v3_json(resources: &[Published<'_>], path: &str, server_version: &str) -> Option<Vec<u8>> {
    let listed: Vec<Published<'_>> = resources.iter().copied().filter(|p| v3_path(&p.def.group, &p.def.version) == path).collect();
    let (fixed, versions) = match listed.first() {
        Some(published) => {
            let (group, version) = (published.def.group.as_ref(), published.def.version.as_ref());
            let mut versions = vec![CORE, (group, version)];
            versions.dedup();
            (fixed::of_version(path, group, version), versions)
        }
        None => {
            let groups: BTreeSet<&str> = resources.iter().map(|published| published.def.group.as_ref()).collect();
            (fixed::of_groups(groups.into_iter()).into_iter().find(|fixed| fixed.path == path)?, Vec::new())
        }
    };
    let mut assembly = Assembly::new(&listed, vec![fixed], Dialect::V3);
    let mut json = Json::begin(&json!({"openapi": "3.0.0", "info": info(server_version)}));
    json.open("paths");
    assembly.paths(|path, item| json.member(&path, &item));
    json.close();
    json.open("components");
    json.open_if_any("schemas", |json| assembly.definitions(&versions, |name, schema| json.member(&name, &schema)));
    json.member("securitySchemes", &security());
    json.close();
    Some(json.finish())
}

/// `GET /openapi/v2` as JSON.
pub fn v2_json(resources: &[Published<'_>], server_version: &str) -> Vec<u8> {
    let mut assembly = Assembly::whole(resources);
    let mut json = Json::begin(&json!({"swagger": "2.0", "info": info(server_version)}));
    json.open("paths");
    assembly.paths(|path, item| json.member(&path, &item));
    json.close();
    json.open("definitions");
    assembly.definitions(&group_versions(resources), |name, schema| json.member(&name, &schema));
    json.close();
    json.member("parameters", &Value::Object(assembly.parameters().collect()));
    json.member("securityDefinitions", &security());
    json.member("security", &json!([{"BearerToken": []}]));
    json.finish()
}

/// `GET /openapi/v2` as protobuf, gnostic's `openapi.v2.Document`.
pub fn v2_protobuf(resources: &[Published<'_>], server_version: &str) -> Vec<u8> {
    let mut assembly = Assembly::whole(resources);
    let mut document = proto::DocumentWriter::new(&info(server_version));
    assembly.paths(|path, item| document.path(&path, &item));
    assembly.definitions(&group_versions(resources), |name, schema| document.definition(&name, &schema));
    assembly.parameters().for_each(|(name, parameter)| document.parameter(&name, &parameter));
    document.finish()
}

/// The version without the patch: `1.36` of `v1.36.3`.
fn info(server_version: &str) -> Value {
    let minor: Vec<&str> = server_version.trim_start_matches('v').split('.').take(2).collect();
    json!({"title": "Kubernetes", "version": minor.join(".")})
}

fn security() -> Value {
    json!({"BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}})
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
    fixed: Vec<Fixed>,
    dialect: Dialect,
    known: Definitions,
    /// What the paths that were written refer to.
    referred: BTreeSet<&'static str>,
    taken: BTreeSet<String>,
}

impl<'a> Assembly<'a> {
    fn new(resources: &'a [Published<'a>], fixed: Vec<Fixed>, dialect: Dialect) -> Self {
        Self { resources, fixed, dialect, known: Definitions::load(), referred: BTreeSet::new(), taken: BTreeSet::new() }
    }

    /// Version 2, which is one document.
    fn whole(resources: &'a [Published<'a>]) -> Self {
        let versions = group_versions(resources);
        let groups: BTreeSet<&str> = versions.iter().map(|(group, _)| *group).collect();
        let mut fixed = fixed::of_groups(groups.into_iter());
        fixed.extend(versions.iter().map(|(group, version)| fixed::of_version(&v3_path(group, version), group, version)));
        Self::new(resources, fixed, Dialect::V2)
    }

    fn paths(&mut self, mut add: impl FnMut(String, Value)) {
        let (mut referred, mut taken) = (BTreeSet::new(), BTreeSet::new());
        let mut note = |part: &Value| {
            for_each_reference(part, &mut |target| {
                referred.extend(target.rsplit('/').next().and_then(|name| self.known.known(name.strip_prefix(NAME_PREFIX)?)));
                taken.extend(target.strip_prefix(parameters::SHARED).map(str::to_owned));
            });
        };
        if self.dialect == Dialect::V2 {
            parameters::shared().values().for_each(&mut note);
        }
        let mut add = |path: String, item: Value| {
            note(&item);
            add(path, item);
        };
        for fixed in &self.fixed {
            add(format!("/{}/", fixed.path), fixed.item(self.dialect));
        }
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
        (self.referred, self.taken) = (referred, taken);
    }

    /// After the paths: the parameters that they share, in version 2.
    fn parameters(&self) -> impl Iterator<Item = (String, Value)> {
        parameters::shared().into_iter().filter(|(name, _)| self.taken.contains(name))
    }

    /// After the paths: what these refer to.
    fn definitions(&self, versions: &[(&str, &str)], mut add: impl FnMut(String, Value)) {
        let custom: Vec<&Published<'_>> = self.resources.iter().filter(|published| self.built_in(published).is_none()).collect();
        let of_custom = if custom.is_empty() { [].as_slice() } else { &META };
        for name in self.known.closure(self.referred.iter().chain(of_custom).copied()) {
            add(full_name(name), self.known.schema(name, self.dialect, versions));
        }
        for published in custom {
            let name = custom::definition_name(published.def);
            add(format!("{name}List"), custom::list_schema(published.def, self.dialect));
            add(name, custom::schema(published.def, published.schema, self.dialect));
        }
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

fn for_each_reference(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            members.get("$ref").and_then(Value::as_str).into_iter().for_each(&mut *found);
            members.values().for_each(|member| for_each_reference(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| for_each_reference(item, found)),
        _ => {}
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
    /// Nothing at all where nothing is written into it.
    fn open_if_any(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        let (before, started) = (self.text.len(), self.started);
        self.open(name);
        write(self);
        if self.started {
            self.close();
        } else {
            self.text.truncate(before);
            self.started = started;
            self.depth -= 1;
        }
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
