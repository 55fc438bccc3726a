//! Audit events of what is done in process: plugins and the server's own parts leave the same trace as a client over the network.
//!
//! Called by `local`. The event tells the path that a request would have had, and no address.

use jiff::Timestamp;
use pintle_api::client::Served;
use pintle_api::{Object, Status};
use serde_json::Value;

use crate::audit::policy::Level;
use crate::audit::{Head, Pending, Record, annotating};
use crate::auth::Attributes;
use crate::handlers::Core;

/// One call's event, if the policy wants one.
#[must_use = "an event that is not told what came of the call says that it was cut short"]
pub struct Audited(Option<Pending>);

impl Audited {
    pub fn begin(core: &Core, asked: &Attributes<'_>) -> Result<Self, Status> {
        let Some(audit) = &core.audit else { return Ok(Self(None)) };
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        let head = Head { id: &id, uri: uri(asked), headers: None, peer: None, is_long: asked.verb == "watch", received: Timestamp::now() };
        audit.begin(asked, head).map(Self)
    }

    pub fn record(&self) -> Option<&Record> {
        self.0.as_ref().map(|pending| &**pending.record())
    }
    /// Runs the call's work; what admission has to say goes into its event.
    pub async fn around<W: Future + Unpin>(&self, work: W) -> W::Output {
        annotating::within(self.0.as_ref().map(|pending| pending.record().clone()), work).await
    }
    pub fn sent(&self, object: &Object) {
        self.record().into_iter().for_each(|record| record.sent(object));
    }
    pub fn sent_patch(&self, patch: &Value) {
        self.record().into_iter().for_each(|record| record.sent_patch(patch));
    }

    pub fn answered(self, code: u16) {
        self.0.into_iter().for_each(|pending| pending.complete(code, None, None));
    }
    pub fn refused(self, status: Status) -> Status {
        if let Some(pending) = self.0 {
            let body = status.to_value();
            pending.complete(status.code, Some(&body), Some(body.to_string().as_bytes()));
        }
        status
    }
    pub fn served(self, code: u16, result: Result<Served, Status>) -> Result<Served, Status> {
        match result {
            Ok(served) => {
                if let Some(pending) = self.0 {
                    let object = pending.record().wants(Level::RequestResponse).then_some(&*served.json);
                    pending.complete(code, None, object);
                }
                Ok(served)
            }
            Err(status) => Err(self.refused(status)),
        }
    }
    /// The event completes when what is returned is dropped.
    pub fn streams(self) -> Self {
        Self(self.0.map(|pending| pending.started(200)))
    }
}

fn uri(asked: &Attributes<'_>) -> String {
    let mut uri = if asked.group.is_empty() { format!("/api/{}", asked.version) } else { format!("/apis/{}/{}", asked.group, asked.version) };
    if !asked.namespace.is_empty() && asked.resource != "namespaces" {
        uri.push_str(&format!("/namespaces/{}", asked.namespace));
    }
    for part in [asked.resource, asked.name, asked.subresource] {
        if !part.is_empty() {
            uri.push('/');
            uri.push_str(part);
        }
    }
    if asked.verb == "watch" {
        uri.push_str("?watch=true");
    }
    uri
}
