//! `internal_types.txt`: the fields of upstream's internal types, which its messages show where a fault is about a whole object.
//!
//! Read from `pkg/apis/GROUP/types.go` of upstream's module, with names in JSON from the same structs of the published API. Only what the roots reach is kept.
//! The rows are explained at the head of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

/// The types whose objects messages show.
const ROOTS: &[&str] = &[
    "core.PodSpec",
    "core.PersistentVolumeSource",
    "core.PersistentVolumeClaimSpec",
    "core.VolumeNodeAffinity",
    "core.Taint",
    "core.Toleration",
    "core.NodeAddress",
    "metav1.LabelSelector",
    "apps.DeploymentStrategy",
    "apps.DaemonSetUpdateStrategy",
    "apps.StatefulSetUpdateStrategy",
    "batch.PodFailurePolicy",
    "batch.SuccessPolicy",
    "policy.PodDisruptionBudgetSpec",
    "rbac.RoleRef",
    "storage.VolumeAttachmentSpec",
    "storage.CSINodeDriver",
    "networking.ParentReference",
    "flowcontrol.FlowSchemaSpec",
    "flowcontrol.PriorityLevelConfigurationSpec",
];
/// Where the published form of a group's types lies.
const VERSIONS: &[(&str, &str)] = &[
    ("core", "core/v1"),
    ("apps", "apps/v1"),
    ("batch", "batch/v1"),
    ("policy", "policy/v1"),
    ("rbac", "rbac/v1"),
    ("storage", "storage/v1"),
    ("networking", "networking/v1"),
    ("flowcontrol", "flowcontrol/v1"),
];

const HEAD: &str = "\
# Fields of upstream's internal types, in their order, as its messages show them. Made by `schema-gen internal`; do not edit.
# `> type`, then its fields: name shown, name in JSON, type, flags.
# Types: s string, i number, z boolean, q quantity, v any value, else a type of this file. Flags: r list of it, p pointer to it, o left out when empty.
";

struct Field {
    name: String,
    /// As Go writes it; empty in one that is embedded.
    kind: String,
    tag: String,
}

#[derive(Default)]
struct Package {
    structs: BTreeMap<String, Vec<Field>>,
    /// `type A B`, where B is no struct.
    named: BTreeMap<String, String>,
}

/// `modules` holds upstream's modules (`k8s.io` in a Go module cache); the versions are `1.36.3` of kubernetes and `v0.36.3` of the others.
pub fn render(modules: &Path, version: &str) -> Result<String> {
    let kubernetes = modules.join(format!("kubernetes@{}", version.replacen("v0.", "v1.", 1)));
    let mut internal = BTreeMap::new();
    let mut published = BTreeMap::new();
    for (group, place) in VERSIONS {
        internal.insert((*group).to_owned(), read(&kubernetes.join("pkg/apis").join(group).join("types.go"))?);
        published.insert((*group).to_owned(), read(&modules.join(format!("api@{version}")).join(place).join("types.go"))?);
    }
    internal.insert("metav1".to_owned(), read(&modules.join(format!("apimachinery@{version}/pkg/apis/meta/v1/types.go")))?);
    published.insert("metav1".to_owned(), Package::default());
    let tables = Tables { internal, published };
    let (mut out, mut done, mut waiting) = (String::from(HEAD), BTreeSet::new(), ROOTS.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
    let mut rows = BTreeMap::new();
    while let Some(next) = waiting.pop() {
        if done.insert(next.clone()) {
            let mut lines = String::new();
            tables.render(&next, &mut lines, &mut waiting)?;
            rows.insert(next, lines);
        }
    }
    for (name, lines) in rows {
        out.push_str(&format!("> {name}\n{lines}"));
    }
    Ok(out)
}

struct Tables {
    internal: BTreeMap<String, Package>,
    published: BTreeMap<String, Package>,
}

impl Tables {
    fn render(&self, name: &str, out: &mut String, waiting: &mut Vec<String>) -> Result<()> {
        let (group, name) = name.split_once('.').context("a type has a group")?;
        let fields = self.internal.get(group).and_then(|p| p.structs.get(name)).with_context(|| format!("{group}.{name}"))?;
        for field in fields {
            if field.kind.is_empty() {
                let embedded = qualified(group, &field.name);
                self.render(&embedded, out, waiting)?;
                continue;
            }
            let (kind, mut flags) = self.kind(group, &field.kind);
            if kind.contains('.') {
                waiting.push(kind.clone());
            }
            let tagged = field.tag.split(',').next().filter(|tag| !tag.is_empty());
            if field.tag.contains("omitempty") {
                flags.push('o');
            }
            let shown = tagged.unwrap_or(&field.name);
            let json = tagged.map_or_else(|| self.json_name(group, name, &field.name), str::to_owned);
            out.push_str(format!("{shown} {json} {kind} {flags}").trim_end());
            out.push('\n');
        }
        Ok(())
    }

    /// The type's word in the file and its flags.
    fn kind(&self, group: &str, go: &str) -> (String, String) {
        if let Some(inner) = go.strip_prefix('*') {
            let (kind, _) = self.kind(group, inner);
            return if kind.contains('.') { (kind, "p".to_owned()) } else { ("v".to_owned(), String::new()) };
        }
        if let Some(inner) = go.strip_prefix("[]") {
            let (kind, flags) = self.kind(group, inner);
            return if kind.contains('.') && flags.is_empty() { (kind, "r".to_owned()) } else { ("v".to_owned(), String::new()) };
        }
        let word = match go {
            "string" | "types.UID" | "v1.UID" => "s",
            "bool" => "z",
            "int" | "int32" | "int64" | "uint32" | "float64" | "intstr.IntOrString" => "i",
            "resource.Quantity" => "q",
            _ => "",
        };
        if !word.is_empty() {
            return (word.to_owned(), String::new());
        }
        let full = qualified(group, go);
        let Some((group, name)) = full.split_once('.') else { return ("v".to_owned(), String::new()) };
        let Some(package) = self.internal.get(group) else { return ("v".to_owned(), String::new()) };
        if let Some(alias) = package.named.get(name) {
            return self.kind(group, alias);
        }
        // Times and the like write themselves.
        let is_plain = package.structs.get(name).is_some_and(|fields| group != "metav1" || fields.iter().all(|f| !f.tag.is_empty()));
        (if is_plain { full.clone() } else { "v".to_owned() }, String::new())
    }

    /// What the published struct of the same name calls the field, else the name with its first capitals lowered.
    fn json_name(&self, group: &str, holder: &str, field: &str) -> String {
        let package = self.published.get(group);
        let mut fields = package.and_then(|p| p.structs.get(holder)).into_iter().flatten();
        let tag = fields.find(|f| f.name == field).and_then(|f| f.tag.split(',').next()).filter(|tag| !tag.is_empty());
        tag.map_or_else(|| lower_first(field), str::to_owned)
    }
}

fn qualified(group: &str, name: &str) -> String {
    match name.strip_prefix("api.").map(|name| format!("core.{name}")) {
        Some(core) => core,
        None if name.contains('.') => name.to_owned(),
        None => format!("{group}.{name}"),
    }
}

fn read(file: &Path) -> Result<Package> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut package = Package::default();
    let mut holder: Option<String> = None;
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default().trim_end();
        if let Some(name) = code.strip_prefix("type ").and_then(|l| l.strip_suffix(" struct {")) {
            package.structs.entry(name.to_owned()).or_default();
            holder = Some(name.to_owned());
        } else if let Some(rest) = code.strip_prefix("type ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                package.named.insert(name.to_owned(), kind.trim_start_matches("= ").to_owned());
            }
        } else if line == "}" {
            holder = None;
        } else if let Some(fields) = holder.as_ref().and_then(|name| package.structs.get_mut(name)) {
            fields.extend(field(code));
        }
    }
    Ok(package)
}

/// A field of a struct from a line of Go.
fn field(line: &str) -> Option<Field> {
    let (code, tags) = line.split_once('`').unwrap_or((line, ""));
    let json = tags.split_once("json:\"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(tag, _)| tag);
    let mut words = code.split_whitespace();
    let name = words.next()?;
    let kind: String = words.collect::<Vec<_>>().join(" ");
    Some(Field { name: name.to_owned(), kind, tag: json.to_owned() })
}

/// `DNSPolicy` becomes `dnsPolicy`, `TTY` becomes `tty`.
fn lower_first(name: &str) -> String {
    let capitals = name.chars().take_while(char::is_ascii_uppercase).count();
    let lowered = if capitals == name.len() || capitals <= 1 { capitals } else { capitals - 1 };
    name.char_indices().map(|(i, c)| if i < lowered { c.to_ascii_lowercase() } else { c }).collect()
}
