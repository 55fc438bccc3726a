//! A cluster in memory for native tests of controllers: objects in, actions out.
//!
//! It keeps objects and counts revisions, answers conflicts and owner look-ups as the host does, and writes down what was done. It
//! has no defaults, no validation and no other controllers: what a test does not put in is not there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::controller::{
    Api, ApiError, Controller, DeleteOptions, EventType, Failure, Key, Owner, PatchType, Query, Relation, Resource, Result, Summary,
};
use crate::selector::Selector;
use crate::{Env, Level};

pub use crate::admission_testing::admit;

type Place = (Resource, String, String);

#[derive(Default)]
pub struct FakeCluster {
    objects: RefCell<BTreeMap<Place, Value>>,
    revision: Cell<u64>,
    /// Seconds since 1970; tests move it.
    now_seconds: Cell<i64>,
    actions: RefCell<Vec<String>>,
    config: RefCell<String>,
    /// The next writes of this kind (`create pods`) fail with the error.
    refusals: RefCell<Vec<(String, ApiError)>>,
}

impl FakeCluster {
    pub fn new() -> Self {
        let cluster = Self::default();
        cluster.now_seconds.set(1_700_000_000);
        cluster
    }

    /// Puts an object in as the API server would hold it, with a uid and a revision. Nothing is noted.
    pub fn add(&self, resource: Resource, mut object: Value) -> Value {
        let (namespace, name) = names(&object);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{name}"));
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!(rfc3339(self.now_seconds.get()));
        }
        self.stamp(&mut object);
        self.objects.borrow_mut().insert((resource, namespace, name), object.clone());
        object
    }

    pub fn remove(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.objects.borrow_mut().remove(&(resource, namespace.to_owned(), name.to_owned()))
    }

    pub fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.objects.borrow().get(&(resource, namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn all(&self, resource: Resource) -> Vec<Value> {
        self.objects.borrow().iter().filter(|(place, _)| place.0 == resource).map(|(_, o)| o.clone()).collect()
    }

    /// Changes a stored object in place, as another actor would.
    pub fn change(&self, resource: Resource, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let place = (resource, namespace.to_owned(), name.to_owned());
        let mut objects = self.objects.borrow_mut();
        let object = objects.get_mut(&place).expect("the object is there");
        change(object);
        self.stamp(object);
    }

    pub fn pass_seconds(&self, seconds: i64) {
        self.now_seconds.set(self.now_seconds.get() + seconds);
    }

    pub fn now_rfc3339(&self) -> String {
        rfc3339(self.now_seconds.get())
    }

    pub fn set_config(&self, config: &str) {
        *self.config.borrow_mut() = config.to_owned();
    }

    /// The next write of that kind, such as `create pods`, fails so.
    pub fn refuse(&self, action: &str, error: ApiError) {
        self.refusals.borrow_mut().push((action.to_owned(), error));
    }

    /// What was done since the last call, one line a write or event.
    pub fn take_actions(&self) -> String {
        self.actions.take().join("\n")
    }

    /// Reconciles a key once.
    pub fn reconcile<C: Controller>(
        &self,
        controller: &mut C,
        namespace: &str,
        name: &str,
    ) -> std::result::Result<Option<std::time::Duration>, Failure> {
        controller.reconcile(self, &Key { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The keys of a change of an object of the watch, as the host would have them: it passes on what the watch
    /// [reads](crate::controller::Watch::reading), and does not ask where that stays the same.
    ///
    /// # Panics
    ///
    /// Where the whole of the object leads to other keys: the watch reads less than `route` looks at.
    pub fn route<C: Controller>(&self, controller: &mut C, index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let watch = &C::watches()[index];
        let (was, is) = (before.map(|object| watch.part(object)), after.map(|object| watch.part(object)));
        let is_controlled = |object: Option<&Value>| object.is_some_and(|object| controller_of(object).is_some());
        let comes_or_goes = matches!(watch.relation, Relation::Claimed(_)) && is_controlled(before) != is_controlled(after);
        if !watch.reads.is_empty() && was == is && !comes_or_goes {
            return Vec::new();
        }
        let keys = controller.route(self, index, was.as_ref(), is.as_ref());
        if !watch.reads.is_empty() {
            assert_eq!(controller.route(self, index, before, after), keys, "watch {index} reads less than is looked at");
        }
        keys
    }

    fn stamp(&self, object: &mut Value) {
        self.revision.set(self.revision.get() + 1);
        object["metadata"]["resourceVersion"] = json!(self.revision.get().to_string());
    }

    fn note(&self, verb: &str, resource: Resource, rest: &str) -> Result<()> {
        let action = format!("{verb} {}", resource.name);
        let mut refusals = self.refusals.borrow_mut();
        if let Some(place) = refusals.iter().position(|r| r.0 == action) {
            return Err(refusals.remove(place).1);
        }
        self.actions.borrow_mut().push(format!("{action} {rest}").trim_end().to_owned());
        Ok(())
    }

    fn write(&self, verb: &str, resource: Resource, namespace: &str, name: &str, object: &Value, only_status: bool) -> Result<Value> {
        let place = (resource, namespace.to_owned(), name.to_owned());
        let current = self.objects.borrow().get(&place).cloned().ok_or_else(|| not_found(resource, name))?;
        let sent = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !sent.is_empty() && sent != current["metadata"]["resourceVersion"] {
            return Err(ApiError::Conflict(format!("{} {name:?} has been modified", resource.name)));
        }
        self.note(verb, resource, &format!("{namespace}/{name}"))?;
        let mut next = if only_status { current } else { object.clone() };
        if only_status {
            next["status"] = object["status"].clone();
        }
        self.stamp(&mut next);
        self.objects.borrow_mut().insert(place, next.clone());
        Ok(next)
    }

    fn make_applied(&self, resource: Resource, namespace: &str, name: &str, body: &Value) -> Result<Value> {
        if !body["metadata"]["uid"].is_null() {
            return Err(ApiError::Conflict("the uid differs".to_owned()));
        }
        self.note("patch", resource, &format!("{namespace}/{name} {body}"))?;
        let mut object = body.clone();
        object["metadata"]["name"] = json!(name);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        Ok(self.add(resource, object))
    }

    fn select(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>> {
        let selector = Selector::parse(&query.label_selector).ok_or_else(|| ApiError::Invalid("unable to parse the selector".to_owned()))?;
        let objects = self.objects.borrow();
        let found = objects.iter().filter(|((kind, namespace, _), object)| {
            *kind == resource
                && (query.namespace.is_empty() || query.namespace == namespace)
                && (query.owner_uid.is_empty() || controller_of(object).is_some_and(|o| o.uid == query.owner_uid))
                && selector.matches(object["metadata"].get("labels"))
                && fields_match(object, &query.field_selector)
        });
        Ok(found.map(|(_, object)| object.clone()).collect())
    }
}

impl Env for FakeCluster {
    fn now_nanoseconds(&self) -> u64 {
        u64::try_from(self.now_seconds.get()).unwrap_or(0) * 1_000_000_000
    }
    /// Counts up, so that names differ and tests repeat.
    fn random(&self, count: u32) -> Vec<u8> {
        self.revision.set(self.revision.get() + 1);
        let seed = self.revision.get();
        (0..u64::from(count)).map(|i| (seed.wrapping_mul(31).wrapping_add(i * 7)) as u8).collect()
    }
    fn log(&self, _level: Level, _message: &str) {}
    fn config(&self) -> String {
        self.config.borrow().clone()
    }
}

impl Api for FakeCluster {
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value> {
        self.object(resource, namespace, name).ok_or_else(|| not_found(resource, name))
    }
    fn get_live(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value> {
        self.get(resource, namespace, name)
    }
    fn list(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>> {
        self.select(resource, query)
    }
    fn list_summaries(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Summary>> {
        Ok(self.select(resource, query)?.iter().map(summary).collect())
    }
    fn create(&self, resource: Resource, namespace: &str, object: &Value) -> Result<Value> {
        let mut object = object.clone();
        if object["metadata"]["name"].is_null() {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
            object["metadata"]["name"] = json!(format!("{prefix}{}", self.revision.get() + 1));
        }
        let (_, name) = names(&object);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if self.object(resource, namespace, &name).is_some() {
            return Err(ApiError::AlreadyExists(format!("{} {name:?} already exists", resource.name)));
        }
        self.note("create", resource, &format!("{namespace}/{name}"))?;
        object["metadata"]["uid"] = Value::Null;
        Ok(self.add(resource, object))
    }
    fn create_sub(&self, resource: Resource, namespace: &str, name: &str, subresource: &str, _object: &Value) -> Result<Value> {
        self.note(&format!("create {subresource} of"), resource, &format!("{namespace}/{name}"))?;
        if subresource == "eviction" {
            self.remove(resource, namespace, name);
        }
        Ok(json!({}))
    }
    fn update(&self, resource: Resource, namespace: &str, name: &str, object: &Value) -> Result<Value> {
        self.write("update", resource, namespace, name, object, false)
    }
    fn update_status(&self, resource: Resource, namespace: &str, name: &str, object: &Value) -> Result<Value> {
        self.write("status", resource, namespace, name, object, true)
    }
    /// Merge semantics for every kind of patch, and `$deleteFromPrimitiveList`: enough for what controllers send. An apply makes what is not there.
    fn patch(&self, resource: Resource, namespace: &str, name: &str, subresource: &str, kind: PatchType, body: &Value) -> Result<Value> {
        if kind == PatchType::Apply && subresource.is_empty() && self.object(resource, namespace, name).is_none() {
            return self.make_applied(resource, namespace, name, body);
        }
        let mut next = self.get(resource, namespace, name)?;
        let uid = &body["metadata"]["uid"];
        if !uid.is_null() && *uid != next["metadata"]["uid"] {
            return Err(ApiError::Conflict("the uid differs".to_owned()));
        }
        merge(&mut next, body);
        let verb = if subresource.is_empty() { "patch".to_owned() } else { format!("patch {subresource} of") };
        let shown = body.to_string();
        self.note(&verb, resource, &format!("{namespace}/{name} {shown}"))?;
        self.stamp(&mut next);
        let place = (resource, namespace.to_owned(), name.to_owned());
        if is_over(&next) {
            self.objects.borrow_mut().remove(&place);
        } else {
            self.objects.borrow_mut().insert(place, next.clone());
        }
        Ok(next)
    }
    fn delete(&self, resource: Resource, namespace: &str, name: &str, options: &DeleteOptions<'_>) -> Result<()> {
        let current = self.get(resource, namespace, name)?;
        if !options.uid.is_empty() && current["metadata"]["uid"] != options.uid {
            return Err(ApiError::Conflict("the uid differs".to_owned()));
        }
        self.note("delete", resource, &format!("{namespace}/{name}"))?;
        if current["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()) {
            let now = self.now_rfc3339();
            self.change(resource, namespace, name, |object| object["metadata"]["deletionTimestamp"] = json!(now));
        } else {
            self.remove(resource, namespace, name);
        }
        Ok(())
    }
    fn event(&self, _resource: Resource, _namespace: &str, name: &str, kind: EventType, reason: &str, message: &str) {
        self.actions.borrow_mut().push(format!("event {name} {kind:?} {reason}: {message}"));
    }
}

/// Terms such as `spec.nodeName=a`, all of which must hold.
fn fields_match(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|t| !t.is_empty()).all(|term| {
        let (path, wanted) = term.split_once('=').unwrap_or((term, ""));
        let found = path.split('.').fold(object, |value, key| &value[key]);
        found.as_str().unwrap_or_default() == wanted
    })
}

/// Deleted, and no finalizer keeps it.
fn is_over(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
}

fn names(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn not_found(resource: Resource, name: &str) -> ApiError {
    ApiError::NotFound(format!("{} {name:?} not found", resource.name))
}

fn controller_of(object: &Value) -> Option<Owner> {
    let owner = object["metadata"]["ownerReferences"].as_array()?.iter().find(|o| o["controller"] == true)?;
    let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
    Some(Owner { api_version: text("apiVersion"), kind: text("kind"), name: text("name"), uid: text("uid") })
}

fn summary(object: &Value) -> Summary {
    let (namespace, name) = names(object);
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    Summary {
        namespace,
        name,
        uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        revision: object["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok()).unwrap_or(0),
        labels: labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect(),
        controller: controller_of(object),
        created: 0,
        deleting: !object["metadata"]["deletionTimestamp"].is_null(),
        phase: object["status"]["phase"].as_str().unwrap_or_default().to_owned(),
        ready: conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
        node: object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(list) = target[list].as_array_mut() {
                list.retain(|item| !gone.contains(item));
            }
        } else if value.is_null() {
            target.as_object_mut().expect("made an object above").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// Seconds since 1970 as `2023-11-14T22:13:20Z` (Howard Hinnant's civil-from-days).
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: Resource = Resource { group: "", version: "v1", name: "configmaps" };

    #[test]
    fn an_apply_makes_what_is_not_there_and_merges_into_what_is() {
        let cluster = FakeCluster::new();
        let apply = |body: Value| cluster.patch(MAPS, "n", "a", "", PatchType::Apply, &body);
        let made = apply(json!({"data": {"x": "1"}})).unwrap();
        assert_eq!((&made["metadata"]["name"], &made["metadata"]["namespace"]), (&json!("a"), &json!("n")));
        apply(json!({"data": {"y": "2"}})).unwrap();
        assert_eq!(cluster.object(MAPS, "n", "a").unwrap()["data"], json!({"x": "1", "y": "2"}));
        let elsewhere = json!({"metadata": {"uid": "another"}});
        assert!(matches!(cluster.patch(MAPS, "n", "b", "", PatchType::Apply, &elsewhere), Err(ApiError::Conflict(_))));
        assert!(matches!(cluster.patch(MAPS, "n", "b", "", PatchType::Merge, &json!({})), Err(ApiError::NotFound(_))));
        assert!(matches!(cluster.patch(MAPS, "n", "b", "status", PatchType::Apply, &json!({})), Err(ApiError::NotFound(_))));
    }
}
