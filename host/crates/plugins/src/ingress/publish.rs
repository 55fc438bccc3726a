//! What follows a compilation: the table to the data plane, addresses into the served Ingresses' status, problems as events.

use std::collections::BTreeSet;
use std::sync::Arc;

use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::types::{Problem, RouteTable};
use super::{INPUTS, by_path};
use crate::controller::world::regarding;
use crate::events::{Event, PluginRecorder, Recorder, Regarding};
use crate::index::{Entry, Informer};
use crate::revision::Revision;
use crate::shared::Shared;

/// Remembers what was said, so that a problem is said once.
#[derive(Default)]
pub struct Publisher {
    told: BTreeSet<String>,
    recorder: PluginRecorder,
}

impl Publisher {
    pub async fn publish(&mut self, shared: &Shared, revision: &Revision, table: RouteTable, ingresses: &Informer) {
        let entries = ingresses.all();
        let known = by_path(&entries);
        self.tell_problems(shared, revision, &table.problems, |path| known.get(path).copied());
        let table = Arc::new(table);
        shared.routes.send_if_modified(|current| {
            let changed = **current != *table;
            if changed {
                *current = table.clone();
            }
            changed
        });
        let client = (shared.clients)(&revision.plugin);
        let wanted: Vec<Value> = shared.ingress_addresses.iter().map(|ip| json!({"ip": ip})).collect();
        for path in &table.served {
            let Some(entry) = known.get(path.as_str()) else { continue };
            let Ok(object) = serde_json::from_slice::<Value>(&entry.json) else { continue };
            if object.list_at(&["status", "loadBalancer", "ingress"]) == wanted {
                continue;
            }
            let target = Target::object(INPUTS[0].1.clone(), Some(&entry.meta.namespace), &entry.meta.name).subresource("status");
            let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": wanted}}}));
            match client.patch(&target, patch, &WriteOptions::default()).await {
                Ok(served) => ingresses.put(served),
                Err(status) => revision.log.write("warn", &format!("the status of Ingress {path}: {status}")),
            }
        }
    }

    fn tell_problems<'a>(&mut self, shared: &Shared, revision: &Revision, problems: &[Problem], find: impl Fn(&str) -> Option<&'a Arc<Entry>>) {
        let line = |p: &Problem| format!("{} {}/{} {}: {}", p.kind, p.namespace, p.name, p.reason, p.message);
        let now: BTreeSet<String> = problems.iter().map(line).collect();
        let told = std::mem::replace(&mut self.told, now);
        for problem in problems.iter().filter(|p| !told.contains(&line(p))) {
            revision.log.write("warn", &line(problem));
            let found = find(&format!("{}/{}", problem.namespace, problem.name)).filter(|_| problem.kind == "Ingress");
            let Some(regarding) = found.and_then(|e| regarding(&e.json)).or_else(|| named(problem)) else { continue };
            let event =
                Event { regarding, kind: "Warning", reason: problem.reason.clone(), action: "Compile".to_owned(), note: problem.message.clone() };
            let plugin = &revision.plugin;
            self.recorder.of(plugin, || Recorder::new((shared.clients)(plugin), plugin)).record(event);
        }
    }
}

fn named(problem: &Problem) -> Option<Regarding> {
    let (_, resource) = INPUTS.iter().find(|(kind, _)| *kind == problem.kind)?;
    Some(Regarding {
        api_version: resource.api_version(),
        kind: problem.kind.clone(),
        namespace: problem.namespace.clone(),
        name: problem.name.clone(),
        ..Regarding::default()
    })
}
