//! `plugin apply`: a component's file becomes a Plugin object. A `plugin.json` beside the file says what the plugin is called, its
//! world, and what it must be granted; flags win over it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wit_component::DecodedWasm;

use super::{World, live, plugins};
use crate::cli::difference;
use crate::cli::print;
use crate::cli::session::{JSON, Session, collection_path, object_path, with_query};
use crate::cli::yaml;

/// What the API takes inside an object; what is larger goes gzipped.
const MAX_INLINE_BYTES: usize = 1 << 20;
/// Writes that are tried again when somebody else, mostly the host with its status, was faster.
const CONFLICTS: usize = 5;

#[derive(clap::Args, Clone, Debug)]
pub struct ApplyArgs {
    /// A component (.wasm), or the folder of a plugin's project with the component that `plugin build` left there; `https://...` or
    /// `oci://REGISTRY/REPOSITORY:TAG` for one that the server fetches
    #[arg(default_value = ".")]
    pub file: PathBuf,
    /// The Plugin object's name; the file's when not given
    #[arg(long)]
    name: Option<String>,
    /// Read off the component when not given
    #[arg(long)]
    world: Option<World>,
    /// sha256:HEX of the component; for https
    #[arg(long)]
    digest: Option<String>,
    /// NAMESPACE/NAME of a Secret with the registry's user and password; for oci
    #[arg(long, value_name = "SECRET")]
    pull_secret: Option<String>,
    /// A file that the component gets as its configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// VERB[,VERB...]:RESOURCE[.GROUP][/SUBRESOURCE][,RESOURCE...]; * for any, without GROUP the core group: *:*.* is everything
    #[arg(long, value_name = "RULE")]
    grant: Vec<String>,
    /// Whose pods a scheduler places; several after commas
    #[arg(long, value_delimiter = ',')]
    scheduler_name: Vec<String>,
    /// A scheduler that refuses and scores nodes beside the one that places the pods of its scheduler name
    #[arg(long)]
    extender: bool,
    /// What a scheduler's scores are multiplied by where several components have a say, 1 to 1000
    #[arg(long)]
    weight: Option<u32>,
    /// Pods are decided without this extender while it cannot answer
    #[arg(long, requires = "extender")]
    ignorable: bool,
    /// The component lies already in the host's DATA-DIR/plugins/components: only name it, for it is too large for an object
    #[arg(long)]
    on_host: bool,
    /// How long to wait until it serves
    #[arg(long, default_value = "60s")]
    timeout: String,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    pub stage: super::stages::StageArgs,
}

pub async fn run(session: &Session, args: ApplyArgs) -> Result<()> {
    let (name, spec) = args.plugin()?;
    if let Some(candidate) = args.stage.candidate(session, &spec)? {
        let timeout = (!args.no_wait).then_some(args.timeout.as_str());
        return super::stages::apply(session, &name, candidate, timeout).await;
    }
    let def = plugins(session).await?;
    let path = object_path(def, None, &name, "");
    for attempt in 1.. {
        let mut before = None;
        let (written, verb) = match session.get_optional(&path).await? {
            None => (session.create(&collection_path(def, None), &object(&name, spec.clone())).await, "created"),
            Some(mut live) => {
                before = Some(live["spec"].clone());
                live["spec"] = onto(&live["spec"], &spec);
                (session.send(http::Method::PUT, &path, JSON, serde_json::to_vec(&live)?).await, "configured")
            }
        };
        match written {
            Ok(_) if args.no_wait => {
                print::line(&format!("plugin.pintle.dev/{name} {verb}"));
                return Ok(());
            }
            Ok(written) => {
                let serving = live::until_serving(session, &written, &args.timeout).await;
                if let (Err(_), Some(before)) = (&serving, before) {
                    put_back(session, &path, before).await?;
                }
                live::report(&serving?, verb);
                return Ok(());
            }
            Err(error) if attempt < CONFLICTS && crate::cli::session::refusal(&error).is_some_and(|s| s.code == 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn object(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": name}, "spec": spec})
}

/// A refused revision leaves the old one live, but under the new spec, whose grants or configuration may be what was refused.
async fn put_back(session: &Session, path: &str, spec: Value) -> Result<()> {
    if let Some(mut live) = session.get_optional(path).await? {
        live["spec"] = spec;
        session.send(http::Method::PUT, path, JSON, serde_json::to_vec(&live)?).await.context("putting the old spec back")?;
        eprintln!("the plugin's spec is as it was before");
    }
    Ok(())
}

/// The spec to write over a live one: what the new one does not speak of (grants, limits, whose scheduler) stays.
fn onto(live: &Value, new: &Value) -> Value {
    let mut spec = live.clone();
    spec.remove_at(&["digest"]);
    spec.remove_at(&["candidate"]);
    spec.remove_at(&["paused"]);
    // A signature is of certain bytes; the key stays.
    spec.remove_at(&["verify", "signature"]);
    for (key, value) in new.as_object().into_iter().flatten() {
        if key == "verify" {
            spec.set_at(&["verify", "signature"], value["signature"].clone());
        } else {
            spec[key] = value.clone();
        }
    }
    spec
}

pub async fn diff(session: &Session, args: ApplyArgs) -> Result<ExitCode> {
    let (name, spec) = args.plugin()?;
    ensure!(args.remote()?.is_none(), "diff needs the component itself: pull it first");
    let def = plugins(session).await?;
    let (path, dry) = (object_path(def, None, &name, ""), [("dryRun", "All")]);
    let live = session.get_optional(&path).await?;
    // As the server would have it, with its defaults.
    let after = match &live {
        None => session.create(&with_query(&collection_path(def, None), &dry), &object(&name, spec)).await?,
        Some(live) => {
            let mut after = live.clone();
            after["spec"] = onto(&live["spec"], &spec);
            after.remove_at(&["metadata", "resourceVersion"]);
            session.update(&with_query(&path, &dry), &after).await?
        }
    };
    let shown = |plugin: &Value, digest: &str| {
        let mut plugin = plugin.clone();
        live::leave_out_bytes(&mut plugin);
        plugin["spec"]["source"] = digest.into();
        yaml::to_string(&plugin["spec"])
    };
    let before = live.map_or_else(String::new, |live| shown(&live, live.str_at(&["status", "activeDigest"])));
    let differs = difference::show(&format!("Plugin.{name}"), &before, &shown(&after, &sha256(&args.bytes()?)));
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl ApplyArgs {
    /// The same for another file.
    pub fn with_file(&self, file: PathBuf) -> Self {
        Self { file, ..self.clone() }
    }

    /// Name and spec of the Plugin.
    fn plugin(&self) -> Result<(String, Value)> {
        let (name, mut spec, manifest) = match self.remote()? {
            Some(source) => {
                let name = self.name.clone().context("--name must say what the Plugin is called")?;
                let world = self.world.context("--world must say which world the component is of")?.name();
                let mut spec = json!({"world": world, "source": source});
                if let Some(digest) = &self.digest {
                    spec["digest"] = digest.clone().into();
                }
                (name, spec, json!({}))
            }
            None => self.local()?,
        };
        if let Some(config) = &self.config {
            spec["config"] = std::fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?.into();
        } else if manifest["config"].is_string() {
            spec["config"] = manifest["config"].clone();
        }
        if !self.grant.is_empty() {
            spec["grants"] = self.grant.iter().map(|g| grant(g)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        } else if manifest["grants"].as_array().is_some_and(|g| !g.is_empty()) {
            spec["grants"] = manifest["grants"].clone();
        }
        let (first, others) = self.scheduler_names();
        for (flag, field) in
            [(first, "schedulerName"), (others, "schedulerNames"), (self.profile(), "profile"), (None, "limits"), (None, "admission")]
        {
            if let Some(value) = flag.or_else(|| manifest.get(field).cloned()) {
                spec[field] = value;
            }
        }
        Ok((name, spec))
    }

    /// The first and the others, which take an earlier list away where there are none; nothing without the flag.
    fn scheduler_names(&self) -> (Option<Value>, Option<Value>) {
        let (first, others) = self.scheduler_name.split_first().unzip();
        (first.cloned().map(Value::from), others.map(|names| json!(names)))
    }

    /// A scheduler's part in its profile, where the flags say it.
    fn profile(&self) -> Option<Value> {
        let mut profile = json!({});
        if self.extender {
            profile["role"] = "Extender".into();
        }
        if let Some(weight) = self.weight {
            profile["weight"] = weight.into();
        }
        if self.ignorable {
            profile["ignorable"] = true.into();
        }
        (profile != json!({})).then_some(profile)
    }

    /// The source, where the server is to fetch the component itself.
    fn remote(&self) -> Result<Option<Value>> {
        let text = self.file.to_string_lossy();
        if let Some(reference) = text.strip_prefix("oci://") {
            let mut source = json!({"reference": reference});
            if let Some(secret) = &self.pull_secret {
                let (namespace, name) = secret.split_once('/').with_context(|| format!("--pull-secret {secret:?} must be NAMESPACE/NAME"))?;
                source["pullSecret"] = json!({"namespace": namespace, "name": name});
            }
            return Ok(Some(json!({"oci": source})));
        }
        if text.starts_with("https://") {
            ensure!(self.digest.is_some(), "--digest must say which bytes are meant");
            return Ok(Some(json!({"https": {"url": text}})));
        }
        Ok(None)
    }

    /// Name and spec of a component on this machine, and its manifest. A signature beside it goes along.
    fn local(&self) -> Result<(String, Value, Value)> {
        let file = self.component()?;
        let manifest = manifest(&file)?;
        let bytes = self.bytes()?;
        let world = match (self.world, manifest.str_at(&["world"])) {
            (Some(world), _) => world.name().to_owned(),
            (None, "") => world_of(&bytes)?.name().to_owned(),
            (None, world) => world.to_owned(),
        };
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
        let name = self.name.clone().or_else(|| Some(manifest.str_at(&["name"]).to_owned()).filter(|n| !n.is_empty())).unwrap_or(stem);
        let source = if self.on_host {
            json!({"file": file.file_name().unwrap_or_default().to_string_lossy()})
        } else {
            json!({"inline": inline(&bytes).with_context(|| file.display().to_string())?})
        };
        let mut spec = json!({"world": world, "source": source});
        if let Ok(signature) = std::fs::read_to_string(super::registry::signature_file(&file)) {
            spec["verify"] = json!({"signature": signature.trim()});
        }
        Ok((name, spec, manifest))
    }

    /// The file itself; in a folder the only component.
    fn component(&self) -> Result<PathBuf> {
        if !self.file.is_dir() {
            return Ok(self.file.clone());
        }
        let entries = std::fs::read_dir(&self.file)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()?;
        let mut found = entries.into_iter().filter(|p| p.extension().is_some_and(|e| e == "wasm"));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => bail!("there is no component in {}: run 'pintle plugin build' first", self.file.display()),
            (Some(_), Some(_)) => bail!("there are several components in {}: name one", self.file.display()),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let file = self.component()?;
        std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
    }
}

/// As it stands in the object.
fn inline(bytes: &[u8]) -> Result<String> {
    if bytes.len() <= MAX_INLINE_BYTES {
        return Ok(STANDARD.encode(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    let packed = encoder.finish()?;
    if packed.len() > MAX_INLINE_BYTES {
        bail!(
            "has {} bytes gzipped, and an object holds at most {MAX_INLINE_BYTES}: push it to a registry and apply oci://..., or copy it to the server's \
             DATA-DIR/plugins/components and say --on-host",
            packed.len()
        );
    }
    Ok(STANDARD.encode(packed))
}

/// `plugin.json` beside the component; empty when there is none.
fn manifest(component: &Path) -> Result<Value> {
    let path = component.with_file_name("plugin.json");
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Each world has an export that no other has.
fn world_of(bytes: &[u8]) -> Result<World> {
    let decoded = wit_component::decode(bytes).map_err(|error| anyhow!("not a component: {error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else { bail!("a WIT package, not a component") };
    let exports = |name: &str| resolve.worlds[world].exports.keys().any(|key| resolve.name_world_key(key) == name);
    match () {
        () if exports("schedule") => Ok(World::Scheduler),
        () if exports("reconcile") => Ok(World::Controller),
        () if exports("compile") => Ok(World::Ingress),
        () if exports("admit") => Ok(World::Admission),
        () => bail!("the component is of none of the worlds admission, controller, ingress, scheduler"),
    }
}

/// `get,list:pods,deployments.apps/status`: a rule for each group.
fn grant(text: &str) -> Result<Vec<Value>> {
    let (verbs, resources) = text.split_once(':').ok_or_else(|| anyhow!("grant {text:?} must be VERBS:RESOURCES"))?;
    let verbs: Vec<&str> = verbs.split(',').collect();
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for resource in resources.split(',') {
        let (whole, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
        let (name, group) = whole.split_once('.').unwrap_or((whole, ""));
        let name = subresource.map_or(name.to_owned(), |s| format!("{name}/{s}"));
        match groups.iter_mut().find(|(g, _)| g == group) {
            Some((_, names)) => names.push(name),
            None => groups.push((group.to_owned(), vec![name])),
        }
    }
    Ok(groups.into_iter().map(|(group, names)| json!({"verbs": verbs, "apiGroups": [group], "resources": names})).collect())
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants() {
        let rules = grant("get,list:pods,deployments.apps/status").unwrap();
        let rule = |group: &str, resource: &str| json!({"verbs": ["get", "list"], "apiGroups": [group], "resources": [resource]});
        assert_eq!(rules, [rule("", "pods"), rule("apps", "deployments/status")]);
        assert!(grant("pods").is_err());
    }
}
