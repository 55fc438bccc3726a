//! Revisions: a Deployment's are its ReplicaSets, those of DaemonSets and StatefulSets are ControllerRevisions.

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::cli::print::{self, Format};
use crate::cli::resolve::Found;
use crate::cli::session::{Session, collection_path, with_query};
use crate::cli::tabs;
use crate::cli::workloads::selector_text;

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

pub struct Revision {
    pub number: i64,
    pub cause: String,
    pub template: Value,
    /// The patch that brings it back, where the server keeps one.
    pub patch: Option<Value>,
    object: Value,
}

/// Oldest first.
pub async fn revisions(session: &Session, target: &Found) -> Result<Vec<Revision>> {
    let kind = target.object.kind();
    let resource = match kind {
        "Deployment" => "replicasets.apps",
        "DaemonSet" | "StatefulSet" => "controllerrevisions.apps",
        _ => bail!("no history viewer has been implemented for {:?}", target.def.kind),
    };
    let def = session.discovery().await?.find(resource)?;
    let selector = selector_text(&target.object)?;
    let owned = session.list(&with_query(&collection_path(def, target.namespace()), &[("labelSelector", &selector)])).await?;
    let is_ours = |o: &Value| o.controller_ref().is_some_and(|r| r["uid"] == target.object["metadata"]["uid"]);
    let mut found: Vec<Revision> = owned.into_iter().filter(is_ours).map(|object| revision(kind, object)).collect();
    found.sort_by_key(|r| r.number);
    Ok(found)
}

fn revision(kind: &str, object: Value) -> Revision {
    let cause = object.annotation(CAUSE).unwrap_or("<none>").to_owned();
    if kind == "Deployment" {
        let number = object.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0);
        let mut template = object["spec"]["template"].clone();
        template.remove_at(&["metadata", "labels", "pod-template-hash"]);
        return Revision { number, cause, template, patch: None, object };
    }
    let mut template = object["data"]["spec"]["template"].clone();
    template.remove_at(&["$patch"]);
    Revision { number: object.i64_at(&["revision"]).unwrap_or(0), cause, template, patch: Some(object["data"].clone()), object }
}

/// The revision with that number; for 0 the last but one.
pub fn choose(revisions: &[Revision], to: i64) -> Result<Option<&Revision>> {
    if to != 0 {
        return match revisions.iter().find(|r| r.number == to) {
            Some(found) => Ok(Some(found)),
            None => bail!("unable to find specified revision {to} in history"),
        };
    }
    if revisions.len() == 1 {
        bail!("no last revision to roll back to");
    }
    Ok(revisions.len().checked_sub(2).map(|at| &revisions[at]))
}

pub fn same_template(a: &Value, b: &Value) -> bool {
    let plain = |t: &Value| {
        let mut t = t.clone();
        t.remove_at(&["metadata", "creationTimestamp"]);
        t
    };
    plain(a) == plain(b)
}

pub async fn show(session: &Session, target: &Found, number: i64, output: Option<&str>) -> Result<()> {
    let revisions = revisions(session, target).await?;
    let format = Format::parse(output)?;
    if number == 0 {
        print::line(&format!("{} ", target.title()));
        if revisions.is_empty() {
            print::line("No rollout history found.");
            return Ok(());
        }
        let mut rows = "REVISION\tCHANGE-CAUSE\n".to_owned();
        revisions.iter().for_each(|r| rows.push_str(&format!("{}\t{}\n", r.number, r.cause)));
        print::line(tabs::align(&rows, tabs::Style { min_width: 0, padding: 2 }).trim_end_matches('\n'));
        print::line("");
        return Ok(());
    }
    let Some(found) = revisions.iter().find(|r| r.number == number) else { bail!("unable to find the specified revision") };
    if !format.is_table() {
        return format.print(&[(target.def.clone(), found.object.clone())], true);
    }
    print::line(&format!("{} with revision #{number}", target.title()));
    let mut text = String::new();
    crate::cli::describe::pod_template(&found.template, &mut text);
    print::text(&tabs::align(&text, tabs::DESCRIPTION));
    print::line("");
    Ok(())
}
