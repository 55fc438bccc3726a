//! Pieces that every description is made of: fields at levels, labels, annotations, tolerations, times. Columns are tabs.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::cli::jsonpath::show;

/// The longest annotation that is shown whole, key included.
const MAX_ANNOTATION: usize = 140;
const HIDDEN_ANNOTATIONS: &[&str] = &["kubectl.kubernetes.io/last-applied-configuration"];

/// A description under way. Levels are two spaces each.
#[derive(Default)]
pub struct Text(pub String);

impl Text {
    pub fn line(&mut self, level: usize, text: &str) {
        self.0.push_str(&"  ".repeat(level));
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// `Name:` and a value in the next column.
    pub fn field(&mut self, level: usize, name: &str, value: impl std::fmt::Display) {
        self.line(level, &format!("{name}:\t{value}"));
    }

    /// Only when there is a value.
    pub fn some(&mut self, level: usize, name: &str, value: &Value) {
        if !value.is_null() && value.as_str() != Some("") {
            self.field(level, name, show(value));
        }
    }

    pub fn head(&mut self, object: &Value) {
        self.field(0, "Name", object.name());
        self.field(0, "Namespace", object.namespace());
    }

    pub fn labels(&mut self, object: &Value) {
        self.pairs("Labels", "=", object.at(&["metadata", "labels"]));
    }

    pub fn labels_and_annotations(&mut self, object: &Value) {
        self.labels(object);
        self.annotations("Annotations", object.at(&["metadata", "annotations"]));
    }

    /// One pair a line, below each other.
    pub fn pairs(&mut self, title: &str, sign: &str, map: Option<&Value>) {
        let pairs: Vec<String> = map.and_then(Value::as_object).into_iter().flatten().map(|(k, v)| format!("{k}{sign}{}", show(v))).collect();
        self.column(title, &pairs);
    }

    pub fn column(&mut self, title: &str, lines: &[String]) {
        let indent: String = title.chars().take_while(|c| *c == ' ').collect();
        match lines {
            [] => self.line(0, &format!("{title}:\t<none>")),
            [first, rest @ ..] => {
                self.line(0, &format!("{title}:\t{first}"));
                rest.iter().for_each(|l| self.line(0, &format!("{indent}\t{l}")));
            }
        }
    }

    pub fn annotations(&mut self, title: &str, map: Option<&Value>) {
        let mut lines = Vec::new();
        for (key, value) in map.and_then(Value::as_object).into_iter().flatten().filter(|(k, _)| !HIDDEN_ANNOTATIONS.contains(&k.as_str())) {
            let value = show(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 > MAX_ANNOTATION || value.contains('\n') {
                lines.push(format!("{key}:"));
                lines.extend(value.split('\n').map(|l| format!("  {}", shortened(l, MAX_ANNOTATION - 2))));
            } else {
                lines.push(format!("{key}: {value}"));
            }
        }
        match lines.as_slice() {
            [] => self.line(0, &format!("{title}:\t<none>")),
            [first, rest @ ..] => {
                self.line(0, &format!("{title}:\t{first}"));
                rest.iter().for_each(|l| self.line(0, &format!("\t{l}")));
            }
        }
    }

    pub fn tolerations(&mut self, title: &str, tolerations: &[Value]) {
        let mut sorted: Vec<&Value> = tolerations.iter().collect();
        sorted.sort_by_key(|t| t.str_at(&["key"]).to_owned());
        let lines: Vec<String> = sorted.into_iter().map(toleration).collect();
        self.column(title, &lines);
    }

    pub fn controlled_by(&mut self, object: &Value) {
        if let Some(owner) = object.controller_ref() {
            self.field(0, "Controlled By", format!("{}/{}", owner.str_at(&["kind"]), owner.str_at(&["name"])));
        }
    }

    /// Type, status and reason of each condition.
    pub fn conditions(&mut self, object: &Value) {
        let conditions = object.list_at(&["status", "conditions"]);
        if conditions.is_empty() {
            return;
        }
        self.line(0, "Conditions:");
        self.line(1, "Type\tStatus\tReason");
        self.line(1, "----\t------\t------");
        for condition in conditions {
            let part = |name| condition.str_at(&[name]);
            self.line(1, &format!("{} \t{}\t{}", part("type"), part("status"), part("reason")));
        }
    }
}

fn toleration(toleration: &Value) -> String {
    let part = |name| toleration.str_at(&[name]);
    let mut text = part("key").to_owned();
    if !part("value").is_empty() {
        text.push_str(&format!("={}", part("value")));
    }
    if !part("effect").is_empty() {
        text.push_str(&format!(":{}", part("effect")));
    }
    if part("operator") == "Exists" && part("value").is_empty() {
        text.push_str(if text.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = toleration.i64_at(&["tolerationSeconds"]) {
        text.push_str(&format!(" for {seconds}s"));
    }
    text
}

fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit { text.to_owned() } else { format!("{}...", &text[..text.floor_char_boundary(limit)]) }
}

/// `Mon, 02 Jan 2006 15:04:05 +0000`.
pub fn long_time(time: &str) -> String {
    time.parse::<jiff::Timestamp>().map_or_else(|_| time.to_owned(), |t| t.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string())
}

pub fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A list's texts with commas.
pub fn joined(list: &[Value], separator: &str) -> String {
    list.iter().map(show).collect::<Vec<_>>().join(separator)
}
