//! `messages.txt`: numbers and types of the fields of built-in kinds in the API's protobuf form.
//!
//! Read from what upstream publishes with its API modules: `generated.proto` gives numbers and types, the struct tags of `types.go`
//! tell which fields vanish when empty and which are flattened in JSON. The rows are explained at the head of the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Folders of the modules, relative to the folder that holds them (`k8s.io` in a Go module cache), and their protobuf packages.
const GROUPS: &[&str] = &[
    "admissionregistration/v1",
    "apidiscovery/v2",
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "flowcontrol/v1",
    "networking/v1",
    "node/v1",
    "policy/v1",
    "rbac/v1",
    "resource/v1",
    "scheduling/v1",
    "storage/v1",
];
const OTHERS: &[&str] = &[
    "apimachinery@VERSION/pkg/apis/meta/v1",
    "apimachinery@VERSION/pkg/apis/meta/v1beta1",
    "apimachinery@VERSION/pkg/api/resource",
    "apimachinery@VERSION/pkg/runtime",
    "apimachinery@VERSION/pkg/util/intstr",
    "apiextensions-apiserver@VERSION/pkg/apis/apiextensions/v1",
    "kube-aggregator@VERSION/pkg/apis/apiregistration/v1",
];

const HEAD: &str = "\
# Fields of built-in kinds in protobuf, as upstream's API modules publish them. Made by `schema-gen protobuf`; do not edit.
# `> message`, then its fields: number, name in JSON, type, flags.
# Types: s string, b bytes, i integer, z boolean, d double, else a message. Flags: r repeated, m map from string, o left out when empty,
# n flattened into its parent in JSON, p on the wire only when JSON has it (all other single fields always are), a always in Go's JSON, if only as null.
";

/// Messages that are lists in Go.
const LISTS: [&str; 2] = [".ExtraValue", ".Verbs"];

/// How a struct field is written in JSON, by struct and protobuf name.
#[derive(Clone, Default)]
struct Tags {
    json: String,
    omitted_when_empty: bool,
    flattened: bool,
    pointer: bool,
    /// `omitempty`, which a struct that is no pointer does not heed.
    omitempty: bool,
    omitzero: bool,
}

pub fn render(modules: &Path, version: &str) -> Result<String> {
    let mut out = String::from(HEAD);
    let folders = GROUPS.iter().map(|g| format!("api@{version}/{g}")).chain(OTHERS.iter().map(|o| o.replace("VERSION", version)));
    for folder in folders {
        let folder = modules.join(folder);
        let proto = std::fs::read_to_string(folder.join("generated.proto")).with_context(|| format!("reading {}", folder.display()))?;
        render_package(&proto, &struct_tags(&folder)?, &mut out)?;
    }
    Ok(out)
}

fn render_package(proto: &str, tags: &BTreeMap<(String, String), Tags>, out: &mut String) -> Result<()> {
    let package = proto.lines().find_map(|l| l.strip_prefix("package ")).context("a package line")?.trim_end_matches(';');
    let mut message = None;
    for line in proto.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        if let Some(name) = line.strip_prefix("message ").and_then(|l| l.strip_suffix(" {")) {
            out.push_str(&format!("> {package}.{name}\n"));
            message = Some(name.to_owned());
        } else if line == "}" {
            message = None;
        } else if let Some(message) = message.as_ref().filter(|_| line.ends_with(';')) {
            out.push_str(&render_field(package, message, line.trim_end_matches(';'), tags)?);
        }
    }
    Ok(())
}

fn render_field(package: &str, message: &str, line: &str, tags: &BTreeMap<(String, String), Tags>) -> Result<String> {
    let (left, number) = line.rsplit_once(" = ").with_context(|| format!("{message}: {line}"))?;
    let (mut flags, kind, name) = if let Some(rest) = left.strip_prefix("map<string, ") {
        let (kind, name) = rest.split_once("> ").with_context(|| format!("{message}: {line}"))?;
        ("m".to_owned(), kind, name)
    } else {
        let mut words = left.split_whitespace();
        let (Some(label), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { bail!("{message}: {line}") };
        (if label == "repeated" { "r" } else { "" }.to_owned(), kind, name)
    };
    let kind = match kind {
        "string" => "s".to_owned(),
        "bytes" => "b".to_owned(),
        "int32" | "int64" => "i".to_owned(),
        "bool" => "z".to_owned(),
        "double" => "d".to_owned(),
        other => other.strip_prefix('.').map_or_else(|| format!("{package}.{other}"), str::to_owned),
    };
    let tag = tags.get(&(message.to_owned(), name.to_owned())).cloned().unwrap_or_default();
    if tag.omitted_when_empty {
        flags.push('o');
    }
    if tag.flattened {
        flags.push('n');
    }
    // Bytes and the messages that wrap a list are slices in Go, which can be nil like a pointer.
    if tag.pointer || kind == "b" || LISTS.iter().any(|list| kind.ends_with(list)) && flags.is_empty() {
        flags.push('p');
    }
    let structure = kind.len() > 1 && !flags.contains(['r', 'm', 'p']);
    if !tag.flattened && !tag.omitzero && (!tag.omitempty || structure) {
        flags.push('a');
    }
    let json = if tag.json.is_empty() { name } else { &tag.json };
    Ok(format!("{number} {json} {kind} {flags}").trim_end().to_owned() + "\n")
}

fn struct_tags(folder: &Path) -> Result<BTreeMap<(String, String), Tags>> {
    let mut tags = BTreeMap::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "go"));
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let mut holder = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("type ").and_then(|l| l.strip_suffix(" struct {")) {
                holder = Some(name.to_owned());
            } else if line == "}" {
                holder = None;
            } else if let Some((holder, (name, tag))) = holder.as_ref().zip(field_tags(line)) {
                tags.insert((holder.clone(), name), tag);
            }
        }
    }
    Ok(tags)
}

/// The protobuf name of a struct field, and its JSON form, from a line of Go.
fn field_tags(line: &str) -> Option<(String, Tags)> {
    let (code, tag) = line.split_once('`')?;
    let part = |key: &str| tag.split_once(&format!("{key}:\""))?.1.split_once('"').map(|p| p.0);
    let field = code.split_whitespace().next()?;
    let name = part("protobuf")?.split(',').find_map(|p| p.strip_prefix("name=")).map_or_else(|| lower_first(field), str::to_owned);
    let json = part("json").unwrap_or_default();
    let mut words = json.split(',');
    let shown = words.next().unwrap_or_default().to_owned();
    let rest: Vec<&str> = words.collect();
    let pointer = code.split_whitespace().nth(1).is_some_and(|kind| kind.starts_with('*'));
    let tags = Tags {
        pointer,
        flattened: rest.contains(&"inline"),
        omitted_when_empty: (rest.contains(&"omitempty") || rest.contains(&"omitzero")) && !pointer,
        omitempty: rest.contains(&"omitempty"),
        omitzero: rest.contains(&"omitzero"),
        json: shown,
    };
    Some((name, tags))
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|c| c.to_lowercase().chain(characters).collect()).unwrap_or_default()
}
