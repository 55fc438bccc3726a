//! `events`: what happened, in the order in which it did.

use std::process::ExitCode;

use anyhow::{Result, bail};
use futures::StreamExt;
use pintle_api::object::ObjectExt;
use pintle_api::table::since;
use serde_json::Value;

use super::describe::last_seen;
use super::get::lines;
use super::print::{self, Format};
use super::session::{Global, Session, collection_path, with_query};
use super::tabs;

#[derive(clap::Args, Debug)]
pub struct EventsArgs {
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// TYPE/NAME
    #[arg(long = "for")]
    pub regarding: Option<String>,
    /// Normal,Warning
    #[arg(long, value_delimiter = ',')]
    pub types: Vec<String>,
    #[arg(short, long)]
    pub watch: bool,
    #[arg(long)]
    pub no_headers: bool,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: EventsArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    if args.types.iter().any(|t| !matches!(t.as_str(), "Normal" | "Warning")) {
        bail!("valid --types are Normal or Warning");
    }
    let def = session.discovery().await?.find("events")?;
    let mut fields = Vec::new();
    if let Some(regarding) = &args.regarding {
        let Some((kind, name)) = regarding.split_once('/') else { bail!("--for must be in resource/name form") };
        let of = session.discovery().await?.find(kind)?;
        fields.extend([format!("involvedObject.kind={}", of.kind), format!("involvedObject.name={name}")]);
    }
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    let path = with_query(&collection_path(def, namespace), &[("fieldSelector", &fields.join(","))]);
    let list = session.get(&path).await?;
    let mut events: Vec<Value> = list.list_at(&["items"]).iter().filter(|e| args.wants(e)).cloned().collect();
    events.sort_by_key(|e| last_seen(e).to_owned());
    let format = Format::parse(args.output.as_deref())?;
    if !format.is_table() {
        let found: Vec<_> = events.into_iter().map(|e| (def.clone(), e)).collect();
        format.print(&found, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    if events.is_empty() && !args.watch {
        match namespace {
            Some(namespace) => eprintln!("No events found in {namespace} namespace."),
            None => eprintln!("No events found."),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let heading = format!("{}LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE\n", if args.all_namespaces { "NAMESPACE\t" } else { "" });
    let mut rows = if args.no_headers { String::new() } else { heading };
    events.iter().for_each(|e| rows.push_str(&args.row(e)));
    print::text(&tabs::align(&rows, tabs::TABLE));
    if args.watch {
        let revision = list["metadata"].str_at(&["resourceVersion"]);
        let mut changes = lines(session.stream(&with_query(&path, &[("watch", "true"), ("resourceVersion", revision)]), false).await?);
        while let Some(line) = changes.next().await {
            let event: Value = serde_json::from_slice(&line?)?;
            if matches!(event.str_at(&["type"]), "ADDED" | "MODIFIED") && args.wants(&event["object"]) {
                print::text(&tabs::align(&args.row(&event["object"]), tabs::TABLE));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl EventsArgs {
    fn wants(&self, event: &Value) -> bool {
        self.types.is_empty() || self.types.iter().any(|t| event.str_at(&["type"]) == t)
    }

    fn row(&self, event: &Value) -> String {
        let part = |name| event.str_at(&[name]);
        let object = format!("{}/{}", event.str_at(&["involvedObject", "kind"]), event.str_at(&["involvedObject", "name"]));
        let place = if self.all_namespaces { format!("{}\t", event.namespace()) } else { String::new() };
        let age = match event.i64_at(&["count"]).or(event.i64_at(&["series", "count"])) {
            Some(count @ 2..) => {
                let first = Some(event.str_at(&["firstTimestamp"])).filter(|t| !t.is_empty()).unwrap_or(event.str_at(&["eventTime"]));
                let now = jiff::Timestamp::now();
                format!("{} (x{count} over {})", since(last_seen(event), now), since(first, now))
            }
            _ => since(last_seen(event), jiff::Timestamp::now()),
        };
        format!("{place}{age}\t{}\t{}\t{object}\t{}\n", part("type"), part("reason"), part("message").trim().replace('\n', " "))
    }
}
