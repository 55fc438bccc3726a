//! Manifests: `-f FILE`, `-f FOLDER`, `-f -`, in YAML or JSON, several documents a file. Addresses on the web are refused.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::discovery::Discovery;
use super::resolve::Found;
use super::session::Session;

/// Bytes of one manifest file.
const MAX_FILE_BYTES: u64 = 256 << 20;

#[derive(clap::Args, Clone, Debug, Default)]
pub struct FileArgs {
    /// Manifest files, folders of them, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// Look into folders of folders, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// One object of a manifest and the file that it was read from.
pub struct Manifest {
    pub source: String,
    pub object: Value,
}

impl FileArgs {
    pub fn is_empty(&self) -> bool {
        self.filename.is_empty()
    }

    /// All objects, lists taken apart.
    pub fn read(&self) -> Result<Vec<Manifest>> {
        if self.is_empty() {
            bail!("must specify one of -f and -k");
        }
        let mut manifests = Vec::new();
        for path in &self.filename {
            let text = path.to_string_lossy();
            if text.starts_with("http://") || text.starts_with("https://") {
                bail!("{text}: download the manifest first, addresses are not read");
            }
            if text == "-" {
                let mut input = String::new();
                std::io::stdin().lock().take(MAX_FILE_BYTES).read_to_string(&mut input)?;
                parse_into("STDIN", &input, &mut manifests)?;
                continue;
            }
            let found = files(path, self.recursive)?;
            if found.is_empty() {
                bail!("the path {text:?} cannot be accessed: no manifest in it");
            }
            for file in found {
                let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                parse_into(&file.to_string_lossy(), &text, &mut manifests)?;
            }
        }
        if manifests.is_empty() {
            bail!("no objects passed to apply");
        }
        Ok(manifests)
    }

    /// The objects with the resources that serve them, each in the namespace where it belongs.
    pub async fn resolved(&self, session: &Session) -> Result<Vec<(String, Found)>> {
        let manifests = self.read()?;
        let discovery = session.discovery().await?;
        manifests.into_iter().map(|m| Ok((m.source.clone(), place(session, discovery, m)?))).collect()
    }

    /// The same, whichever files they are from.
    pub async fn found(&self, session: &Session) -> Result<Vec<Found>> {
        Ok(self.resolved(session).await?.into_iter().map(|(_, found)| found).collect())
    }

    /// The objects as the server has them.
    pub async fn live(&self, session: &Session) -> Result<Vec<Found>> {
        let mut live = Vec::new();
        for found in self.found(session).await? {
            let object = session.get(&found.path("")).await?;
            live.push(Found { def: found.def, object });
        }
        Ok(live)
    }
}

/// Finds the resource and settles the namespace.
pub fn place(session: &Session, discovery: &Discovery, manifest: Manifest) -> Result<Found> {
    let Manifest { source, mut object } = manifest;
    let def = discovery.for_object(&object).with_context(|| {
        let kind = object.kind().to_owned();
        format!("resource mapping not found for name: {:?} namespace: {:?} from {source:?}, kind {kind:?}", object.name(), object.namespace())
    })?;
    settle_namespace(session, def, &mut object)?;
    Ok(Found { def: def.clone(), object })
}

pub fn settle_namespace(session: &Session, def: &ResourceDef, object: &mut Value) -> Result<()> {
    if !def.is_namespaced() {
        return Ok(());
    }
    let own = object.namespace().to_owned();
    if own.is_empty() {
        object.set_at(&["metadata", "namespace"], session.namespace.clone().into());
    } else if session.namespace_is_explicit && own != session.namespace {
        bail!(
            "the namespace from the provided object {own:?} does not match the namespace {:?}. You must pass '--namespace={own}' to perform this operation.",
            session.namespace
        );
    }
    Ok(())
}

fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).map_err(|_| anyhow::anyhow!("the path {:?} does not exist", path.display().to_string()))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let is_manifest = entry.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() && recursive {
            found.extend(files(&entry, true)?);
        } else if entry.is_file() && is_manifest {
            found.push(entry);
        }
    }
    Ok(found)
}

fn parse_into(source: &str, text: &str, out: &mut Vec<Manifest>) -> Result<()> {
    for object in parse(text).with_context(|| format!("error parsing {source}"))? {
        let is_list = object.kind().ends_with("List") && object["items"].is_array();
        if is_list {
            let items = object["items"].as_array().cloned().unwrap_or_default();
            out.extend(items.into_iter().map(|object| Manifest { source: source.to_owned(), object }));
        } else {
            out.push(Manifest { source: source.to_owned(), object });
        }
    }
    Ok(())
}

/// The documents of a text. Empty ones are skipped.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    if text.trim_start().starts_with('{') {
        let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        if let Ok(objects) = documents.collect::<serde_json::Result<Vec<Value>>>() {
            return Ok(objects);
        }
    }
    let mut objects = Vec::new();
    for document in documents(text) {
        let is_empty = document.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
        if is_empty {
            continue;
        }
        let value: Value = serde_saphyr::from_str(&document).map_err(|e| anyhow::anyhow!("error converting YAML to JSON: {e}"))?;
        match value {
            Value::Null => {}
            Value::Object(_) => objects.push(value),
            _ => bail!("a manifest's document is no object"),
        }
    }
    Ok(objects)
}

/// A line that begins with `---` ends a document.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("---") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn several_documents() {
        let text = "# c\n---\na: 1\n---\n\n--- # x\nb: \"2\"\nt: |\n  x\n  y\n";
        assert_eq!(parse(text).unwrap(), vec![json!({"a": 1}), json!({"b": "2", "t": "x\ny\n"})]);
        assert_eq!(parse("{\"a\":1}\n{\"b\":2}").unwrap().len(), 2);
        assert!(parse("- 1\n").is_err());
    }
}
