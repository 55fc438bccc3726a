//! APIServices of what this server serves itself, as upstream's aggregator registers them: one for each built-in group version when the
//! server starts, one for each served version of a definition as long as it is there.
//!
//! An APIService that somebody else made, or took the label off, is left alone. They tell clients what there is; who serves a
//! request does not depend on them. The loop beside ([`super::status`]) says that they are available.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future;
use pintle_api::client::{DeleteOptions, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Object, Reason, Status};
use serde_json::json;

use super::status::MANAGER;
use crate::LocalClient;
use crate::aggregation::SERVICES;
use crate::auth::User;
use crate::cache::Filter;
use crate::handlers::Core;
use crate::resources::Resource;

const DEFINITIONS: GroupVersionResource = GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions");
/// Says whether the object is kept as it was when the server started, or always.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";
const ALWAYS: &str = "true";
/// Of groups that are not upstream's, custom ones above all.
const PRIORITY: (u16, u16) = (1000, 100);
/// Of upstream's: group, priority of the group, version, priority of the version.
const PRIORITIES: [(&str, u16, &str, u16); 21] = [
    ("", 18_000, "v1", 1),
    ("apps", 17_800, "v1", 15),
    ("events.k8s.io", 17_750, "v1", 15),
    ("authentication.k8s.io", 17_700, "v1", 15),
    ("authorization.k8s.io", 17_600, "v1", 15),
    ("autoscaling", 17_500, "v1", 15),
    ("autoscaling", 17_500, "v2", 30),
    ("batch", 17_400, "v1", 15),
    ("certificates.k8s.io", 17_300, "v1", 15),
    ("networking.k8s.io", 17_200, "v1", 15),
    ("policy", 17_100, "v1", 15),
    ("rbac.authorization.k8s.io", 17_000, "v1", 15),
    ("storage.k8s.io", 16_800, "v1", 15),
    ("apiextensions.k8s.io", 16_700, "v1", 15),
    ("admissionregistration.k8s.io", 16_700, "v1", 15),
    ("scheduling.k8s.io", 16_600, "v1", 15),
    ("coordination.k8s.io", 16_500, "v1", 15),
    ("node.k8s.io", 16_300, "v1", 15),
    ("discovery.k8s.io", 16_200, "v1", 15),
    ("resource.k8s.io", 16_200, "v1", 21),
    ("flowcontrol.apiserver.k8s.io", 16_100, "v1", 21),
];

type Wanted = BTreeMap<String, Object>;

/// Runs until the server ends.
pub async fn run(core: Arc<Core>) {
    let (Ok(services), Ok(definitions)) = (core.resource(&SERVICES), core.resource(&DEFINITIONS)) else { return };
    let client = LocalClient::new(core.clone(), User::loopback());
    settle(&client, &present(&core, &services), &built_in(&core), ON_START).await;
    loop {
        let (_, mut services_change) = core.cache.snapshot_and_watch(&services.slot, Filter::everything(""));
        let (_, mut definitions_change) = core.cache.snapshot_and_watch(&definitions.slot, Filter::everything(""));
        settle(&client, &present(&core, &services), &custom(&present(&core, &definitions)), ALWAYS).await;
        tokio::select! {
            _ = services_change.next() => {}
            _ = definitions_change.next() => {}
        }
    }
}

fn present(core: &Core, resource: &Arc<Resource>) -> Vec<Object> {
    let (snapshot, _) = core.cache.snapshot_and_watch(&resource.slot, Filter::everything(""));
    snapshot.page(&Filter::everything(""), None, 0).items.iter().filter_map(|stored| resource.parse(stored).ok()).collect()
}

fn built_in(core: &Core) -> Wanted {
    let table = core.resources.load();
    let served = table.all.iter().filter(|resource| !resource.custom).map(|resource| resource.def());
    served.map(|def| service(&def.group, &def.version, priority(&def.group, &def.version), ON_START)).collect()
}

fn priority(group: &str, version: &str) -> (u16, u16) {
    PRIORITIES.iter().find(|row| (row.0, row.2) == (group, version)).map_or(PRIORITY, |row| (row.1, row.3))
}

fn custom(definitions: &[Object]) -> Wanted {
    let served = |definition: &Object| {
        let group = definition.str_at(&["spec", "group"]).to_owned();
        let versions = definition.list_at(&["spec", "versions"]).iter().filter(|version| version.bool_at(&["served"]));
        let names: Vec<String> = versions.map(|version| version.str_at(&["name"]).to_owned()).collect();
        names.into_iter().map(move |name| service(&group, &name, PRIORITY, ALWAYS))
    };
    definitions.iter().flat_map(served).collect()
}

fn service(group: &str, version: &str, (of_group, of_version): (u16, u16), managed: &str) -> (String, Object) {
    let name = format!("{version}.{group}");
    let mut spec = json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name, "labels": {MANAGED: managed}}, "spec": spec,
    });
    (name, object)
}

/// Makes what is managed in this way as wanted.
async fn settle(client: &LocalClient, present: &[Object], wanted: &Wanted, managed: &str) {
    let label = |object: &Object| object.str_at(&["metadata", "labels", MANAGED]).to_owned();
    let is = |name: &str| present.iter().find(|object| object.name() == name);
    let gone = present.iter().filter(|object| label(object) == managed && !wanted.contains_key(object.name()));
    let deletions = gone.map(|object| async {
        let options = DeleteOptions::default();
        heed(client.delete(&Target::object(SERVICES, None, object.name()), &options).await.map(drop), object.name());
    });
    let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
    let writes = wanted.iter().map(|(name, wanted)| {
        let options = &options;
        async move {
            let written = match is(name) {
                None => client.create(&Target::collection(SERVICES, None), wanted.clone(), options).await.map(drop),
                Some(object) if label(object).is_empty() || object.get("spec") == wanted.get("spec") => Ok(()),
                Some(object) => {
                    let mut object = object.clone();
                    object.set_at(&["spec"], wanted["spec"].clone());
                    client.update(&Target::object(SERVICES, None, name), object, options).await.map(drop)
                }
            };
            heed(written, name);
        }
    });
    tokio::join!(future::join_all(deletions), future::join_all(writes));
}

/// Another server, or a user, may have been faster: then the change that follows brings the loop back.
fn heed(written: Result<(), Status>, name: &str) {
    if let Err(why) = written
        && ![Reason::AlreadyExists, Reason::NotFound, Reason::Conflict].iter().any(|reason| why.is(*reason))
    {
        tracing::warn!(service = name, %why, "registering an APIService");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_give_their_served_versions() {
        let definition = json!({"spec": {"group": "x.io", "versions": [{"name": "v1", "served": true}, {"name": "v1beta1", "served": false}]}});
        let wanted = custom(&[definition]);
        assert_eq!(wanted.keys().collect::<Vec<_>>(), ["v1.x.io"]);
        let spec = json!({"group": "x.io", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100});
        assert_eq!((&wanted["v1.x.io"]["spec"], &wanted["v1.x.io"]["metadata"]["labels"][MANAGED]), (&spec, &json!("true")));
    }

    #[test]
    fn the_core_group_has_no_name() {
        let (name, object) = service("", "v1", priority("", "v1"), ON_START);
        assert_eq!((name.as_str(), &object["spec"]), ("v1.", &json!({"version": "v1", "groupPriorityMinimum": 18_000, "versionPriority": 1})));
    }
}
