//! The loop that asks extensions whether they answer and what they serve. Which OpenAPI they have is the loop's beside ([`super::openapi`]):
//! one that is slow to write it answers for its resources all the same.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use pintle_api::metadata::seconds;
use pintle_api::object::ObjectExt;
use pintle_api::{Object, Reason, ResourceDef, Status};
use serde_json::{Value, json};

use super::discovery;
use crate::aggregation::{Extension, SERVICES, name_user};
use crate::auth::User;
use crate::cache::Filter;
use crate::handlers::update::Changed;
use crate::handlers::{Core, Scope, WriteOptions};
use crate::lookup::CacheLookup;
use crate::outbound::Bounds;
use crate::resources::{Resource, Table};

/// Extensions come and go without the server being told: their endpoints and their health are looked at this often.
const EVERY: Duration = Duration::from_secs(2);
/// Of one extension's answer what it serves.
const BOUNDS: Bounds = Bounds::within(Duration::from_secs(5));
/// As upstream's loops are named after their process.
pub(super) const MANAGER: &str = "kube-apiserver";

/// What became of asking: what it serves, or reason and message.
type Asked = Result<Vec<ResourceDef>, (&'static str, String)>;

/// Runs until the server ends.
pub async fn run(core: Arc<Core>) {
    let Ok(resource) = core.resource(&SERVICES) else { return };
    loop {
        let (snapshot, mut watcher) = core.cache.snapshot_and_watch(&resource.slot, Filter::everything(""));
        let services: Vec<Object> = snapshot.page(&Filter::everything(""), None, 0).items.iter().filter_map(|s| resource.parse(s).ok()).collect();
        let remote = reconcile(&core, &resource, &services).await;
        let changed = async { watcher.next().await.is_ok() };
        if remote {
            let _ = tokio::time::timeout(EVERY, changed).await;
        } else {
            changed.await;
        }
    }
}

/// True: some are served by others.
async fn reconcile(core: &Arc<Core>, resource: &Arc<Resource>, services: &[Object]) -> bool {
    let extensions = core.extensions.all();
    let asked = future::join_all(extensions.iter().map(|e| ask(core, e))).await;
    let mut foreign: Vec<ResourceDef> = asked.iter().flatten().flatten().cloned().collect();
    foreign.sort_by(|a, b| (&a.group, &a.version, &a.resource).cmp(&(&b.group, &b.version, &b.resource)));
    let answered = extensions.iter().zip(&asked).filter(|(_, asked)| asked.is_ok()).map(|(e, _)| e.name.clone()).collect();
    // At no moment is something neither shown nor silent.
    core.extensions.keep_answers(&answered);
    show(core, foreign);
    core.extensions.note_answers(answered);
    future::join_all(services.iter().map(|service| async {
        let condition = match extensions.iter().zip(&asked).find(|(e, _)| e.name == service.name()) {
            Some((_, Ok(_))) => condition(true, "Passed", "all checks passed"),
            Some((_, Err((reason, message)))) => condition(false, reason, message),
            None => condition(true, "Local", "Local APIServices are always available"),
        };
        if let Err(why) = tell(core, resource, service, &condition).await {
            tracing::warn!(service = service.name(), %why, "the state of an APIService");
        }
    }))
    .await;
    !extensions.is_empty()
}

async fn ask(core: &Core, extension: &Extension) -> Asked {
    let remote = extension.remote().map_err(|why| ("FailedDiscoveryCheck", why))?;
    let table = core.resources.load_full();
    let objects = CacheLookup { cache: &core.cache, table: &table };
    if let Err(why) = remote.resolve(&objects) {
        let reason = if why.ends_with("not found") {
            "ServiceNotFound"
        } else if why.starts_with("no service port") {
            "ServicePortError"
        } else {
            "MissingEndpoints"
        };
        return Err((reason, why));
    }
    let path = extension.root();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    name_user(&mut headers, &User { name: "system:kube-aggregator".into(), groups: vec!["system:masters".into()], ..User::default() });
    let failed = |why: String| ("FailedDiscoveryCheck", format!("failing or missing response from {path}: {why}"));
    let (code, body) = remote.get(&objects, &path, headers, BOUNDS).await.map_err(failed)?;
    if code != 200 {
        return Err(failed(format!("bad status from {path}: {code}")));
    }
    let list: Value = serde_json::from_slice(&body).map_err(|why| failed(why.to_string()))?;
    if list.str_at(&["kind"]) != "APIResourceList" {
        return Err(failed("not an APIResourceList".to_owned()));
    }
    Ok(discovery::defs_of(&extension.group, &extension.version, &list))
}

/// Makes discovery show what extensions serve.
fn show(core: &Core, foreign: Vec<ResourceDef>) {
    core.resources.rcu(|table| if table.foreign == foreign { table.clone() } else { Arc::new(Table::with_foreign(table, foreign.clone())) });
}

fn condition(available: bool, reason: &str, message: &str) -> Value {
    json!({"type": "Available", "status": if available { "True" } else { "False" }, "reason": reason, "message": message})
}

/// Writes the condition unless it stands there already; others' conditions stay.
async fn tell(core: &Core, resource: &Arc<Resource>, service: &Object, condition: &Value) -> Result<(), Status> {
    let says = |c: &Value| ["type", "status", "reason", "message"].iter().all(|key| c.get(key) == condition.get(key));
    if service.list_at(&["status", "conditions"]).iter().any(says) {
        return Ok(());
    }
    let scope = Scope {
        user: Arc::new(User::loopback()),
        resource: resource.clone(),
        namespace: String::new(),
        name: service.name().to_owned(),
        subresource: "status".to_owned(),
    };
    let change = |old: &Object| {
        let mut conditions = old.list_at(&["status", "conditions"]).to_vec();
        let place = conditions.iter().position(|c| c["type"] == "Available");
        let mut new = condition.clone();
        let since = place.map(|at| &conditions[at]).filter(|c| c["status"] == new["status"]).and_then(|c| c.get("lastTransitionTime").cloned());
        new["lastTransitionTime"] = since.unwrap_or_else(|| json!(seconds(jiff::Timestamp::now())));
        match place {
            Some(at) => conditions[at] = new,
            None => conditions.push(new),
        }
        let mut object = old.clone();
        object.set_at(&["status", "conditions"], Value::Array(conditions));
        object.remove_at(&["metadata", "resourceVersion"]);
        Ok(Changed { object, tracked: false })
    };
    let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
    match core.change(&scope, &options, &change).await {
        Err(gone) if gone.is(Reason::NotFound) => Ok(()),
        other => other.map(drop),
    }
}
