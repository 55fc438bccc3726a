//! What an admission policy may ask of the host: reads of the cluster, as the plugin, within its grants.
//!
//! The API server authorizes each read as well. Nothing is watched for a policy: it reads from the server's own cache, in process,
//! and so sees what was written a moment ago; a shadow hears what the live revision heard ([`super::witness`]). Nothing can be written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::client::{Client, ListOptions, Served, Target};
use pintle_api::{GroupVersionResource, Reason, Status};
use pintle_plugin_bindings::admission::pintle::admission::objects::{self, Query, ReadError};
use pintle_plugin_bindings::admission::pintle::admission::types;
use pintle_plugin_bindings::common::types::{ResourceId, Summary};

use super::witness::{Reply, Witness, query as asked, question};
use crate::controller::world::{gvr, summary};
use crate::grants::{PolicyRule, allows};
use crate::guest::HostState;
use crate::index::Entry;

/// A read that takes longer is given up; the policy sees `unavailable`.
const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Objects that a page of a list holds.
const PAGE: u64 = 500;
/// Bytes of all objects of one list. A policy that wants more asks for summaries, or by a selector.
const MAX_LIST_BYTES: usize = 64 << 20;

pub struct AdmissionWorld {
    pub plugin: Arc<str>,
    pub client: Arc<dyn Client>,
    pub grants: Arc<[PolicyRule]>,
    pub witness: Witness,
}

type Answer<T> = Result<T, ReadError>;
type State = HostState<AdmissionWorld>;

impl types::Host for State {}

impl objects::Host for State {
    async fn get(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<Vec<u8>> {
        let asked = question("get", &resource, &[&namespace, &name]);
        if let Some(Reply::Object(known)) = self.world.witness.recall(&asked) {
            return known;
        }
        let answer = self.object(resource, namespace, name).await;
        self.world.witness.note(asked, || Reply::Object(answer.clone()));
        answer
    }

    async fn list(&mut self, query: Query) -> Answer<Vec<Vec<u8>>> {
        let asked = asked("list", &query);
        if let Some(Reply::Objects(known)) = self.world.witness.recall(&asked) {
            return known;
        }
        let mut objects = Vec::new();
        let answer = self.each(query, |served| objects.push(served.json.to_vec())).await.map(|()| objects);
        self.world.witness.note(asked, || Reply::Objects(answer.clone()));
        answer
    }

    async fn list_summaries(&mut self, query: Query) -> Answer<Vec<Summary>> {
        let asked = asked("summaries", &query);
        if let Some(Reply::Summaries(known)) = self.world.witness.recall(&asked) {
            return known;
        }
        let mut summaries = Vec::new();
        let answer = self.each(query, |served| summaries.extend(Entry::parse(served).map(|entry| summary(&entry)))).await.map(|()| summaries);
        self.world.witness.note(asked, || Reply::Summaries(answer.clone()));
        answer
    }
}

impl State {
    async fn object(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<Vec<u8>> {
        let resource = gvr(resource);
        self.world.require("get", &resource, &name)?;
        let target = Target { name: Some(name), ..collection(resource, namespace) };
        let client = self.world.client.clone();
        Ok(self.timed(client.get(&target)).await?.json.to_vec())
    }

    async fn each(&mut self, query: Query, mut take: impl FnMut(Served)) -> Answer<()> {
        let resource = gvr(query.resource);
        self.world.require("list", &resource, "")?;
        let target = collection(resource, query.namespace);
        let mut options =
            ListOptions { label_selector: query.label_selector, field_selector: query.field_selector, limit: PAGE, ..ListOptions::default() };
        let client = self.world.client.clone();
        let mut bytes = 0;
        loop {
            let listed = self.timed(client.list(&target, &options)).await?;
            bytes += listed.items.iter().map(|o| o.json.len()).sum::<usize>();
            if bytes > MAX_LIST_BYTES {
                return Err(ReadError::Invalid(format!("the list has more than {} MiB; use a selector", MAX_LIST_BYTES >> 20)));
            }
            listed.items.into_iter().for_each(&mut take);
            if listed.continue_token.is_empty() {
                return Ok(());
            }
            options.continue_token = listed.continue_token;
        }
    }

    /// Waits for the API within its time, which is not counted as the guest's.
    async fn timed<T>(&mut self, call: impl Future<Output = Result<T, Status>>) -> Answer<T> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(API_TIMEOUT, call).await;
        self.credit(begun);
        match outcome {
            Ok(answer) => answer.map_err(refusal),
            Err(_) => Err(ReadError::Unavailable(format!("the API did not answer within {} s", API_TIMEOUT.as_secs()))),
        }
    }
}

impl AdmissionWorld {
    fn require(&self, verb: &str, resource: &GroupVersionResource, name: &str) -> Answer<()> {
        if allows(&self.grants, verb, resource, "", name) {
            return Ok(());
        }
        Err(ReadError::Forbidden(format!("{resource} is forbidden: the plugin {:?} is not granted {verb}", self.plugin)))
    }
}

fn collection(resource: GroupVersionResource, namespace: String) -> Target {
    Target { resource, namespace: Some(namespace).filter(|n| !n.is_empty()), name: None, subresource: None }
}

fn refusal(status: Status) -> ReadError {
    match status.reason {
        Reason::NotFound => ReadError::NotFound(status.message),
        Reason::Forbidden | Reason::Unauthorized => ReadError::Forbidden(status.message),
        Reason::Invalid | Reason::BadRequest => ReadError::Invalid(status.message),
        _ => ReadError::Unavailable(status.message),
    }
}
