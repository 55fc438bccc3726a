//! `plugin decisions`: what a plugin decided lately, and its part of the log as a file for `plugin replay`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::{plugins, text};
use crate::cli::print::{self, Format};
use crate::cli::session::{Session, object_path, with_query};
use crate::cli::tabs;

pub async fn list(session: &Session, name: &str, limit: usize, output: Option<&str>) -> Result<()> {
    let def = plugins(session).await?;
    let path = with_query(&object_path(def, None, name, "decisions"), &[("limit", &limit.to_string())]);
    let list = session.get(&path).await?;
    let format = Format::parse(output)?;
    if !format.is_table() {
        return format.print_value(&list);
    }
    let decisions = list.list_at(&["items"]);
    if decisions.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let mut rows = "TIME\tREGARDING\tOUTCOME\tRESULT\tREVISION\tTOOK\n".to_owned();
    for decision in decisions {
        let regarding = &decision["regarding"];
        let place = [text(regarding, &["resource"]), text(regarding, &["namespace"]), text(regarding, &["name"])];
        let place: Vec<&str> = place.into_iter().filter(|p| !p.is_empty()).collect();
        let cells = [
            text(decision, &["time"]).to_owned(),
            place.join("/"),
            text(decision, &["outcome"]).to_owned(),
            result(decision),
            decision.i64_at(&["revision"]).unwrap_or(0).to_string(),
            format!("{}µs", decision.i64_at(&["durationMicroseconds"]).unwrap_or(0)),
        ];
        rows.push_str(&format!("{}\n", cells.join("\t")));
    }
    print::text(&tabs::align(&rows, tabs::TABLE));
    Ok(())
}

fn result(decision: &Value) -> String {
    let (node, message) = (text(decision, &["scheduling", "node"]), text(decision, &["message"]));
    if !node.is_empty() {
        return node.to_owned();
    }
    if !message.is_empty() {
        return message.to_owned();
    }
    match (decision.i64_at(&["reconcile", "writeCount"]), decision.i64_at(&["routing", "table", "routes"])) {
        (Some(writes), _) => format!("{writes} writes"),
        (None, Some(routes)) => format!("{routes} routes"),
        (None, None) => "<none>".to_owned(),
    }
}

pub async fn export(session: &Session, name: &str, file: &Path) -> Result<()> {
    let def = plugins(session).await?;
    let path = with_query(&object_path(def, None, name, "decisions"), &[("export", "true")]);
    let mut body = session.stream(&path, false).await?;
    let mut out = std::fs::File::create(file).with_context(|| format!("creating {}", file.display()))?;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes += data.len();
            out.write_all(&data).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    print::line(&format!("{bytes} bytes written to {}", file.display()));
    Ok(())
}
