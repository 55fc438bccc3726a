//! Kinds with little of their own to tell, and the form for all others: every field under its name in words.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::text::{Text, joined, or_none};
use crate::cli::jsonpath::show;
use crate::cli::session::{Session, collection_path};

const SKIPPED: &[&str] = &[".metadata.managedFields", ".metadata.name", ".metadata.namespace", ".metadata.labels", ".metadata.annotations"];
const ACRONYMS: &[&str] = &["API", "URL", "UID", "GUID"];

pub fn any(object: &Value, text: &mut Text) {
    text.head(object);
    text.labels_and_annotations(object);
    fields(object, 0, "", text);
}

pub fn config_map(object: &Value, text: &mut Text) {
    text.head(object);
    text.labels_and_annotations(object);
    text.line(0, "\nData\n====");
    for (key, value) in object.map_at(&["data"]).into_iter().flatten() {
        text.line(0, &format!("{key}:\n----\n{}\n", show(value)));
    }
    text.line(0, "\nBinaryData\n====");
    for (key, value) in object.map_at(&["binaryData"]).into_iter().flatten() {
        text.line(0, &format!("{key}: {} bytes", decoded_length(value)));
    }
    text.line(0, "");
}

pub fn secret(object: &Value, text: &mut Text) {
    text.head(object);
    text.labels_and_annotations(object);
    text.line(0, &format!("\nType:\t{}", object.str_at(&["type"])));
    text.line(0, "\nData\n====");
    for (key, value) in object.map_at(&["data"]).into_iter().flatten() {
        text.field(0, key, format!("{} bytes", decoded_length(value)));
    }
}

fn decoded_length(value: &Value) -> usize {
    STANDARD.decode(value.as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len())
}

pub async fn namespace(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    text.field(0, "Name", object.name());
    text.labels_and_annotations(object);
    text.field(0, "Status", object.str_at(&["status", "phase"]));
    let discovery = session.discovery().await?;
    let quotas = session.list(&collection_path(discovery.find("resourcequotas")?, Some(object.name()))).await?;
    if quotas.is_empty() {
        text.line(0, "\nNo resource quota.");
    } else {
        text.line(0, "\nResource Quotas");
        for quota in &quotas {
            text.line(1, &format!("Name:\t{}", quota.name()));
            text.line(1, "Resource\tUsed\tHard");
            text.line(1, "--------\t---\t---");
            for (name, hard) in quota.map_at(&["status", "hard"]).into_iter().flatten() {
                text.line(1, &format!("{name}\t{}\t{}", quota.at(&["status", "used", name]).map_or("0".to_owned(), show), show(hard)));
            }
        }
    }
    let ranges = session.list(&collection_path(discovery.find("limitranges")?, Some(object.name()))).await?;
    if ranges.is_empty() {
        text.line(0, "\nNo LimitRange resource.");
    }
    for range in &ranges {
        text.line(0, &format!("\nLimitRange {}:", range.name()));
        fields(&range["spec"], 1, ".spec", text);
    }
    Ok(())
}

pub fn service_account(object: &Value, text: &mut Text) {
    text.head(object);
    text.labels_and_annotations(object);
    let secrets: Vec<&str> = object.list_at(&["imagePullSecrets"]).iter().map(|s| s.str_at(&["name"])).collect();
    text.field(0, "Image pull secrets", or_none(secrets.first().copied().unwrap_or_default()));
    secrets.iter().skip(1).for_each(|s| text.line(0, &format!("                   \t{s}")));
}

pub fn claim(object: &Value, text: &mut Text) {
    let (spec, status) = (&object["spec"], &object["status"]);
    text.head(object);
    text.field(0, "StorageClass", spec.str_at(&["storageClassName"]));
    text.field(0, "Status", if object.is_being_deleted() { "Terminating" } else { status.str_at(&["phase"]) });
    text.field(0, "Volume", spec.str_at(&["volumeName"]));
    text.labels_and_annotations(object);
    text.field(0, "Finalizers", format!("[{}]", joined(object.list_at(&["metadata", "finalizers"]), " ")));
    let bound = !spec.str_at(&["volumeName"]).is_empty();
    text.field(0, "Capacity", if bound { show(&status["capacity"]["storage"]) } else { String::new() });
    text.field(0, "Access Modes", if bound { joined(status.list_at(&["accessModes"]), ",") } else { String::new() });
    text.some(0, "VolumeMode", &spec["volumeMode"]);
}

pub fn role(object: &Value, text: &mut Text) {
    text.field(0, "Name", object.name());
    text.labels_and_annotations(object);
    text.line(0, "PolicyRule:");
    text.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    text.line(1, "---------\t-----------------\t--------------\t-----");
    for rule in object.list_at(&["rules"]) {
        let list = |field| format!("[{}]", joined(rule.list_at(&[field]), " "));
        let tail = format!("{}\t{}\t{}", list("nonResourceURLs"), list("resourceNames"), list("verbs"));
        let groups = rule.list_at(&["apiGroups"]);
        let resources = rule.list_at(&["resources"]);
        if resources.is_empty() {
            text.line(1, &format!("\t{tail}"));
        }
        for group in groups {
            for resource in resources {
                let name = match group.as_str() {
                    Some("") | None => show(resource),
                    Some(group) => format!("{}.{group}", show(resource)),
                };
                text.line(1, &format!("{name}\t{tail}"));
            }
        }
    }
}

pub fn binding(object: &Value, text: &mut Text) {
    text.field(0, "Name", object.name());
    text.labels_and_annotations(object);
    text.line(0, "Role:");
    text.field(1, "Kind", object.str_at(&["roleRef", "kind"]));
    text.field(1, "Name", object.str_at(&["roleRef", "name"]));
    text.line(0, "Subjects:");
    text.line(1, "Kind\tName\tNamespace");
    text.line(1, "----\t----\t---------");
    for subject in object.list_at(&["subjects"]) {
        let part = |name| subject.str_at(&[name]);
        text.line(1, &format!("{}\t{}\t{}", part("kind"), part("name"), part("namespace")));
    }
}

fn fields(object: &Value, level: usize, path: &str, text: &mut Text) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        let title = in_words(name);
        match value {
            Value::Object(_) => {
                text.line(level, &format!("{title}:"));
                fields(value, level + 1, &path, text);
            }
            Value::Array(list) => {
                text.line(level, &format!("{title}:"));
                for item in list {
                    if item.is_object() { fields(item, level + 1, &path, text) } else { text.line(level + 1, &show(item)) }
                }
            }
            Value::Null => text.field(level, &title, "<nil>"),
            scalar => text.field(level, &title, show(scalar)),
        }
    }
}

/// `resourceVersion` is `Resource Version`.
fn in_words(name: &str) -> String {
    if !name.chars().all(|c| c.is_alphabetic() || c == '-') {
        return name.to_owned();
    }
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        let begins = c.is_uppercase() && at > 0 && (chars[at - 1].is_lowercase() || chars.get(at + 1).is_some_and(|n| n.is_lowercase()));
        if begins || *c == '-' || (at > 0 && chars[at - 1] == '-') {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(*c);
        }
    }
    let titled = words.into_iter().filter(|w| !w.is_empty()).map(|word| {
        if ACRONYMS.contains(&word.to_uppercase().as_str()) {
            return word.to_uppercase();
        }
        let mut letters = word.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    });
    titled.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn names_in_words() {
        let cases = [("resourceVersion", "Resource Version"), ("apiVersion", "API Version"), ("uid", "UID"), ("a.b", "a.b"), ("podIP", "Pod IP")];
        for (name, words) in cases {
            assert_eq!(in_words(name), words);
        }
    }
}
