//! The loop that asks extensions where their OpenAPI documents (v3) are, so that the index of this server's shows them; the documents are
//! passed on like any request.
//!
//! Of what an extension says, the document of its own group version is taken and nothing else. One that fails to say it keeps the place that
//! it named before, if it did; an extension that has none is served without. That is no fault of the APIService. An extension that does not
//! answer for its resources ([`super::status`]) is left out, and asked again when it does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use http_body_util::Full;
use pintle_api::object::ObjectExt;
use pintle_api::{Reason, ResourceDef, Status};
use serde_json::Value;
use tokio::time::Instant;

use crate::aggregation::{Extension, SERVICES};
use crate::auth::User;
use crate::cache::Filter;
use crate::handlers::Core;
use crate::lookup::CacheLookup;
use crate::outbound::Bounds;
use crate::resources::Table;

/// How often it is looked whether one is to be asked.
const EVERY: Duration = Duration::from_secs(2);
/// A document may change while the resources stay.
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// An extension may write its documents when it is asked for the first time. Of the index of all that upstream serves there are 20 KiB.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), bytes: 1 << 20 };
const INDEX: &str = "/openapi/v3";
const MAX_URL_BYTES: usize = 1 << 10;

/// What one extension said.
struct Known {
    extension: Arc<Extension>,
    /// What it served then: with other resources it has another document.
    resources: Vec<ResourceDef>,
    asked: Instant,
    /// `None`: it has no document.
    url: Option<String>,
}

/// By the name of the APIService.
type AllKnown = HashMap<String, Known>;

/// Runs until the server ends.
pub async fn run(core: Arc<Core>) {
    let Ok(resource) = core.resource(&SERVICES) else { return };
    let mut known = AllKnown::new();
    loop {
        let (_, mut watcher) = core.cache.snapshot_and_watch(&resource.slot, Filter::everything(""));
        let extensions = core.extensions.answering();
        known.retain(|name, _| extensions.iter().any(|e| e.name == *name));
        // What is gone does not wait for what is slow.
        show(&core, &known);
        learn(&core, &extensions, &mut known).await;
        show(&core, &known);
        let changed = async { watcher.next().await.is_ok() };
        match core.extensions.are_none() {
            true => drop(changed.await),
            false => drop(tokio::time::timeout(EVERY, changed).await),
        }
    }
}

/// Asks those whose document may be another one by now.
async fn learn(core: &Core, extensions: &[Arc<Extension>], known: &mut AllKnown) {
    let (table, now) = (core.resources.load_full(), Instant::now());
    let due = extensions.iter().filter_map(|extension| {
        let served = table.foreign.iter().filter(|def| def.group == extension.group && def.version == extension.version);
        let resources: Vec<ResourceDef> = served.cloned().collect();
        let is_due = known.get(&extension.name).is_none_or(|known| known.is_due(extension, &resources, now));
        is_due.then_some((extension, resources))
    });
    let objects = CacheLookup { cache: &core.cache, table: &table };
    let asked = due.map(|(extension, resources)| {
        let objects = &objects;
        async move { (extension, resources, ask(objects, extension).await) }
    });
    for (extension, resources, answer) in future::join_all(asked).await {
        let before = known.remove(&extension.name).filter(|before| before.extension.is_like(extension));
        let url = answer.unwrap_or_else(|why| {
            tracing::debug!(service = extension.name, %why, "the OpenAPI of an extension");
            before.and_then(|before| before.url)
        });
        known.insert(extension.name.clone(), Known { extension: extension.clone(), resources, asked: now, url });
    }
}

impl Known {
    fn is_due(&self, extension: &Extension, resources: &[ResourceDef], now: Instant) -> bool {
        now.duration_since(self.asked) >= ASKED_EVERY || self.resources != resources || !self.extension.is_like(extension)
    }
}

/// Where the extension's document is; `None`: it has none.
async fn ask(objects: &CacheLookup<'_>, extension: &Extension) -> Result<Option<String>, Status> {
    let request = http::Request::get(INDEX).body(Full::default()).map_err(Status::internal)?;
    let user = User { name: "system:aggregator".into(), ..User::default() };
    match extension.ask(objects, &user, request, BOUNDS).await {
        Ok(index) => Ok(url_in(&serde_json::from_slice(&index).map_err(Status::internal)?, &extension.root())),
        Err(status) if status.is(Reason::NotFound) || status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

/// From an index. Clients follow the URL with their credentials: it names the document and, perhaps, a hash, or it is not taken.
fn url_in(index: &Value, root: &str) -> Option<String> {
    let told = index.at(&["paths", root.trim_start_matches('/')])?.str_at(&["serverRelativeURL"]);
    let path = format!("{INDEX}{root}");
    let is_query = |rest: &str| rest.is_empty() || rest.starts_with('?');
    let fits = told.len() <= MAX_URL_BYTES && told.strip_prefix(&path).is_some_and(is_query);
    Some(if fits { told.to_owned() } else { path })
}

/// Makes the index show these documents.
fn show(core: &Core, known: &AllKnown) {
    let place = |known: &Known| Some((known.extension.root().trim_start_matches('/').to_owned(), known.url.clone()?));
    let documents: BTreeMap<String, String> = known.values().filter_map(place).collect();
    core.resources.rcu(|table| match table.foreign_openapi == documents {
        true => table.clone(),
        false => Arc::new(Table::with_foreign_openapi(table, documents.clone())),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_leads_to_the_document_and_nowhere_else() {
        let root = "/apis/x.io/v1";
        let told = |url: &str| url_in(&json!({"paths": {"apis/x.io/v1": {"serverRelativeURL": url}, "apis/apps/v1": {}}}), root);
        let bare = Some("/openapi/v3/apis/x.io/v1".to_owned());
        assert_eq!(told("/openapi/v3/apis/x.io/v1?hash=A1"), Some("/openapi/v3/apis/x.io/v1?hash=A1".to_owned()));
        assert_eq!(told("/openapi/v3/apis/x.io/v1"), bare);
        for other in ["https://elsewhere/openapi/v3/apis/x.io/v1", "/openapi/v3/apis/x.io/v1/../../../../api/v1/secrets", "/api/v1/secrets", ""] {
            assert_eq!(told(other), bare, "{other}");
        }
        assert_eq!(told(&format!("/openapi/v3/apis/x.io/v1?hash={}", "A".repeat(MAX_URL_BYTES))), bare);
        assert_eq!(url_in(&json!({"paths": {"apis/x.io/v2": {}}}), root), None);
        assert_eq!(url_in(&json!([]), root), None);
    }
}
