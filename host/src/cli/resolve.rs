//! From words on the command line to resources and names: `pods`, `pods,svc`, `deploy web api`, `pod/a svc/b`, `all`.

use anyhow::{Result, bail};
use pintle_api::ResourceDef;
use serde_json::Value;

use super::discovery::Discovery;
use super::files::FileArgs;
use super::session::{Session, collection_path, object_path, with_query};

/// One resource, and one object of it or all.
#[derive(Clone, Debug)]
pub struct Pick {
    pub def: ResourceDef,
    pub name: Option<String>,
}

/// Which objects of a collection.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selectors {
    /// Label selector
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Field selector
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// An object and where it lives.
pub struct Found {
    pub def: ResourceDef,
    pub object: Value,
}

impl Selectors {
    pub fn is_set(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }
    pub fn query(&self) -> [(&'static str, &str); 2] {
        [("labelSelector", self.selector.as_deref().unwrap_or("")), ("fieldSelector", self.field_selector.as_deref().unwrap_or(""))]
    }
}

impl Pick {
    pub fn path(&self, session: &Session, subresource: &str) -> String {
        object_path(&self.def, session.namespace_for(&self.def), self.name.as_deref().unwrap_or_default(), subresource)
    }
}

pub fn title(def: &ResourceDef, name: &str) -> String {
    format!("{}/{name}", singular_title(def))
}

/// `deployment.apps`.
pub fn singular_title(def: &ResourceDef) -> String {
    if def.group.is_empty() { def.singular.to_string() } else { format!("{}.{}", def.singular, def.group) }
}

/// The words after a verb. No name: the whole collection.
pub fn picks(discovery: &Discovery, words: &[String]) -> Result<Vec<Pick>> {
    if words.is_empty() {
        bail!("You must specify the type of resource to get. Use \"pintle api-resources\" for a complete list of supported resources.");
    }
    if words.iter().any(|w| w.contains('/')) {
        return words.iter().map(|word| slashed(discovery, word)).collect();
    }
    let kinds = kinds(discovery, &words[0])?;
    let mut picks = Vec::new();
    for def in kinds {
        match &words[1..] {
            [] => picks.push(Pick { def, name: None }),
            names => picks.extend(names.iter().map(|n| Pick { def: def.clone(), name: Some(n.clone()) })),
        }
    }
    Ok(picks)
}

fn slashed(discovery: &Discovery, word: &str) -> Result<Pick> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Pick { def: discovery.find(kind)?.clone(), name: Some(name.to_owned()) })
        }
        Some(_) => bail!("arguments in resource/name form may not have more than one slash"),
        None => bail!(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'pintle get resource/<resource_name>' instead of 'pintle get resource resource/<resource_name>'"
        ),
    }
}

fn kinds(discovery: &Discovery, words: &str) -> Result<Vec<ResourceDef>> {
    let mut kinds: Vec<ResourceDef> = Vec::new();
    for word in words.split(',').filter(|w| !w.is_empty()) {
        let members = discovery.category(word);
        let found = if members.is_empty() { vec![discovery.find(word)?] } else { members };
        for def in found {
            if !kinds.contains(def) {
                kinds.push(def.clone());
            }
        }
    }
    Ok(kinds)
}

/// The objects that picks and selectors name. `all` permits a collection without a selector.
pub async fn objects(session: &Session, words: &[String], selectors: &Selectors, all: bool) -> Result<Vec<Found>> {
    let picks = picks(session.discovery().await?, words)?;
    let mut found = Vec::new();
    for pick in picks {
        match &pick.name {
            Some(_) if selectors.is_set() => bail!("name cannot be provided when a selector is specified"),
            Some(name) => {
                let object = session.get_object(&pick.def, session.namespace_for(&pick.def), name).await?;
                found.push(Found { def: pick.def, object });
            }
            None if !all && !selectors.is_set() => bail!("resource(s) were provided, but no name was specified"),
            None => {
                let namespace = session.namespace_for(&pick.def).filter(|_| !selectors.all_namespaces);
                let path = with_query(&collection_path(&pick.def, namespace), &selectors.query());
                let objects = session.list(&path).await?;
                found.extend(objects.into_iter().map(|object| Found { def: pick.def.clone(), object }));
            }
        }
    }
    Ok(found)
}

/// The files' objects, or where no file is given those that words and selectors name.
pub async fn targets(session: &Session, files: &FileArgs, words: &[String], selectors: &Selectors, all: bool) -> Result<Vec<Found>> {
    if files.is_empty() { objects(session, words, selectors, all).await } else { files.found(session).await }
}

impl Found {
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
    pub fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }
    pub fn title(&self) -> String {
        title(&self.def, self.name())
    }
    pub fn path(&self, subresource: &str) -> String {
        object_path(&self.def, self.namespace(), self.name(), subresource)
    }
}
