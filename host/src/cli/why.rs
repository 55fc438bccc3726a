//! `why`: who decided about an object, when, and on what grounds. The server keeps what plugins decided lately; this turns it into words.

mod text;

use std::process::ExitCode;

use anyhow::{Result, bail};
use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::print::{self, Format};
use super::resolve::picks;
use super::session::{Global, Session, with_query};

const PATH: &str = "/apis/pintle.dev/v1alpha1";

#[derive(clap::Args, Debug)]
pub struct WhyArgs {
    /// TYPE/NAME, or TYPE NAME
    #[arg(required = true)]
    pub object: Vec<String>,
    /// Every node with its reasons and scores
    #[arg(long)]
    pub nodes: bool,
    /// Decisions of each kind, the newest first
    #[arg(long, default_value_t = 3)]
    pub last: usize,
    /// json or yaml
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: WhyArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let found = picks(session.discovery().await?, &args.object)?;
    let [pick] = found.as_slice() else { bail!("one object at a time") };
    let Some(name) = &pick.name else { bail!("resource(s) were provided, but no name was specified") };
    let decisions = decisions(&session, &pick.def, name, args.nodes).await?;
    let format = Format::parse(args.output.as_deref())?;
    if !format.is_table() {
        let list = json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "DecisionList", "metadata": {}, "items": decisions});
        format.print_value(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let object = session.get_object(&pick.def, session.namespace_for(&pick.def), name).await.ok();
    if decisions.is_empty() {
        match &object {
            Some(object) => print::text(&text::nobody(&pick.def, object)),
            None => bail!("no decision about {}/{name} is on record, and there is no such object", pick.def.singular),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let title = title(&pick.def, session.namespace_for(&pick.def), name);
    print::text(&text::tell(&title, &qualified(&pick.def), name, &decisions, args.last, args.nodes));
    Ok(ExitCode::SUCCESS)
}

async fn decisions(session: &Session, def: &ResourceDef, name: &str, nodes: bool) -> Result<Vec<Value>> {
    let place = match session.namespace_for(def) {
        Some(namespace) => format!("{PATH}/namespaces/{namespace}/decisions"),
        None => format!("{PATH}/decisions"),
    };
    let selector = format!("regarding.resource={},regarding.name={name}", qualified(def));
    let path = with_query(&place, &[("fieldSelector", &selector), ("explain", if nodes { "nodes" } else { "true" })]);
    let mut list = session.get(&path).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

fn qualified(def: &ResourceDef) -> String {
    if def.group.is_empty() { def.resource.to_string() } else { format!("{}.{}", def.resource, def.group) }
}

fn title(def: &ResourceDef, namespace: Option<&str>, name: &str) -> String {
    let place = namespace.map(|n| format!("{n}/")).unwrap_or_default();
    format!("{} {place}{name}", def.kind)
}

fn str_of<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    value.str_at(path)
}
