//! What `-o` asks for, and the writing of it. Tables come from the server; this turns them into columns.

use std::io::Write;

use anyhow::{Result, bail};
use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::jsonpath::{Template, show};
use super::resolve::title;
use super::{tabs, yaml};

pub enum Format {
    /// The words of the verb, or the server's table.
    Human,
    Wide,
    Name,
    Json,
    Yaml,
    JsonPath(Template),
    JsonPathAsJson(Template),
    Columns {
        heads: Vec<String>,
        paths: Vec<Template>,
        with_heads: bool,
    },
}

impl Format {
    pub fn parse(output: Option<&str>) -> Result<Self> {
        let Some(output) = output else { return Ok(Self::Human) };
        let (name, argument) = output.split_once('=').unwrap_or((output, ""));
        let from_file = || std::fs::read_to_string(argument).map_err(|e| anyhow::anyhow!("reading {argument}: {e}"));
        Ok(match name {
            "" => Self::Human,
            "wide" => Self::Wide,
            "name" => Self::Name,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "jsonpath" if argument.is_empty() => bail!("template format specified but no template given"),
            "jsonpath" => Self::JsonPath(Template::parse(argument)?),
            "jsonpath-as-json" => Self::JsonPathAsJson(Template::parse(argument)?),
            "jsonpath-file" => Self::JsonPath(Template::parse(from_file()?.trim_end_matches('\n'))?),
            "custom-columns" => columns(argument)?,
            _ => bail!(
                "unable to match a printer suitable for the output format {name:?}, allowed formats are: custom-columns,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml"
            ),
        })
    }

    pub fn is_table(&self) -> bool {
        matches!(self, Self::Human | Self::Wide)
    }

    /// Several objects, or one as it is. Not for the human forms.
    pub fn print(&self, found: &[(ResourceDef, Value)], single: bool) -> Result<()> {
        let whole = || match found {
            [(_, object)] if single => object.clone(),
            _ => {
                let items: Vec<Value> = found.iter().map(|(_, o)| o.clone()).collect();
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
            }
        };
        match self {
            Self::Human | Self::Wide => {}
            Self::Name => found.iter().for_each(|(def, object)| line(&title(def, object.name()))),
            Self::Json => line(&pretty(&whole())?),
            Self::Yaml => text(&yaml::to_string(&whole())),
            Self::JsonPath(template) => text(&template.render(&whole())?),
            Self::JsonPathAsJson(template) => {
                let whole = whole();
                line(&pretty(&json!(template.find(&whole)))?);
            }
            Self::Columns { heads, paths, with_heads } => {
                let mut rows = String::new();
                if *with_heads {
                    rows.push_str(&format!("{}\n", heads.join("\t")));
                }
                for (_, object) in found {
                    let cells: Vec<String> = paths.iter().map(|path| column(path, object)).collect();
                    rows.push_str(&format!("{}\n", cells.join("\t")));
                }
                text(&tabs::align(&rows, tabs::TABLE));
            }
        }
        Ok(())
    }
}

impl Format {
    /// What is no object of the API.
    pub fn print_value(&self, value: &Value) -> Result<()> {
        match self {
            Self::Json => line(&pretty(value)?),
            Self::Yaml => text(&yaml::to_string(value)),
            Self::JsonPath(template) => text(&template.render(value)?),
            _ => bail!("allowed formats are: json,jsonpath,yaml"),
        }
        Ok(())
    }
}

fn column(path: &Template, object: &Value) -> String {
    let found: Vec<String> = path.find(object).into_iter().map(show).collect();
    if found.is_empty() { "<none>".to_owned() } else { found.join(",") }
}

fn columns(spec: &str) -> Result<Format> {
    if spec.is_empty() {
        bail!("custom-columns format specified but no custom columns given");
    }
    let (mut heads, mut paths) = (Vec::new(), Vec::new());
    for part in split_outside_brackets(spec) {
        let Some((head, path)) = part.split_once(':') else {
            bail!("unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>");
        };
        heads.push(head.to_owned());
        paths.push(Template::relaxed(path)?);
    }
    Ok(Format::Columns { heads, paths, with_heads: true })
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// How a table is to be shown.
#[derive(Clone, Debug, Default)]
pub struct TableStyle {
    pub wide: bool,
    pub no_headers: bool,
    pub show_namespace: bool,
    pub show_labels: bool,
    pub label_columns: Vec<String>,
    /// Put before each name: `pod/`.
    pub prefix: String,
}

impl TableStyle {
    /// The heading line of a server's table.
    pub fn heading(&self, table: &Value) -> String {
        let mut cells: Vec<String> = Vec::new();
        if self.show_namespace {
            cells.push("NAMESPACE".to_owned());
        }
        cells.extend(self.shown(table).map(|(_, c)| c.str_at(&["name"]).to_uppercase()));
        cells.extend(self.label_columns.iter().map(|key| key.rsplit('/').next().unwrap_or(key).to_uppercase()));
        if self.show_labels {
            cells.push("LABELS".to_owned());
        }
        format!("{}\n", cells.join("\t"))
    }

    pub fn row(&self, table: &Value, row: &Value) -> String {
        let metadata = &row["object"]["metadata"];
        let mut cells: Vec<String> = Vec::new();
        if self.show_namespace {
            cells.push(metadata.str_at(&["namespace"]).to_owned());
        }
        for (at, column) in self.shown(table) {
            let cell = one_line(&row["cells"][at]);
            let is_name = column.str_at(&["format"]) == "name" || (at == 0 && column.str_at(&["name"]) == "Name");
            cells.push(if is_name { format!("{}{cell}", self.prefix) } else { cell });
        }
        let labels = metadata.map_at(&["labels"]);
        cells.extend(self.label_columns.iter().map(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str).unwrap_or("").to_owned()));
        if self.show_labels {
            cells.push(pairs(metadata.at(&["labels"])));
        }
        format!("{}\n", cells.join("\t"))
    }

    fn shown<'t>(&self, table: &'t Value) -> impl Iterator<Item = (usize, &'t Value)> {
        let wide = self.wide;
        let columns = table.list_at(&["columnDefinitions"]).iter().enumerate();
        columns.filter(move |(_, c)| wide || c.i64_at(&["priority"]).unwrap_or(0) == 0)
    }
}

fn one_line(cell: &Value) -> String {
    let text = match cell {
        Value::Null => "<none>".to_owned(),
        other => show(other),
    };
    match text.split_once(['\n', '\r']) {
        Some((first, _)) => format!("{first}..."),
        None => text,
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn pairs(map: Option<&Value>) -> String {
    let Some(map) = map.and_then(Value::as_object).filter(|m| !m.is_empty()) else { return "<none>".to_owned() };
    map.iter().map(|(k, v)| format!("{k}={}", show(v))).collect::<Vec<_>>().join(",")
}

pub fn pretty(value: &Value) -> Result<String> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))?;
    Ok(String::from_utf8(out)?)
}

/// Standard output. A reader that went away (`| head`) ends the command quietly.
pub fn text(text: &str) {
    bytes(text.as_bytes());
}

pub fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

pub fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Leaves out what only machines read.
pub fn without_managed_fields(object: &mut Value) {
    object.remove_at(&["metadata", "managedFields"]);
}
