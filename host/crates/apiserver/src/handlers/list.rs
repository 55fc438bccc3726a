//! Lists: which revision, which page, and the token of the next one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pintle_api::{Cause, CauseKind, Reason, Status};

use super::continue_token::{ContinueToken, INCONSISTENT};
use super::own_fields;
use super::{Core, Scope};
use crate::cache::{Filter, Snapshot, Stored};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    #[default]
    Unset,
    Exact,
    NotOlderThan,
}

#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: usize,
    pub continue_token: String,
    pub resource_version: String,
    pub version_match: Match,
}

pub struct List {
    pub items: Vec<Arc<Stored>>,
    pub revision: u64,
    pub continue_token: String,
    pub remaining: Option<usize>,
}

impl Core {
    pub async fn list(&self, scope: &Scope, query: &ListQuery) -> Result<List, Status> {
        check(query)?;
        let (filter, own) = own_fields::split(scope, &query.label_selector, &query.field_selector)?;
        if let Some(own) = own {
            let snapshot = self.snapshot_for(scope, query).await?;
            let whole = ListQuery { limit: 0, ..query.clone() };
            let mut list = made_ready(scope, self.page(scope, &whole, &filter, snapshot, None, now())).await?;
            list.items.retain(|stored| own.matches(&scope.resource, stored));
            return Ok(list);
        }
        if !query.continue_token.is_empty() {
            return made_ready(scope, self.next_page(scope, query, &filter).await?).await;
        }
        let snapshot = self.snapshot_for(scope, query).await?;
        made_ready(scope, self.page(scope, query, &filter, snapshot, None, now())).await
    }

    async fn snapshot_for(&self, scope: &Scope, query: &ListQuery) -> Result<Snapshot, Status> {
        let slot = &scope.resource.slot;
        let asked = self.not_older(&query.resource_version).await.map_err(|mut status| {
            if status.code == 400 {
                status.message.insert_str(0, "invalid resource version: ");
            }
            status
        })?;
        let exact = match query.version_match {
            Match::Exact => true,
            Match::NotOlderThan => false,
            // A first page at a given revision is exact, as it always was; whole lists are not older.
            Match::Unset => query.limit > 0 && asked > 0,
        };
        if exact { self.cache.snapshot_at(slot, asked) } else { Ok(self.cache.snapshot(slot)) }
    }

    async fn next_page(&self, scope: &Scope, query: &ListQuery, filter: &Filter) -> Result<List, Status> {
        let token = ContinueToken::decode(&query.continue_token)?;
        let slot = &scope.resource.slot;
        let after = token.start.as_str();
        if token.rv == INCONSISTENT {
            self.cache.catch_up().await?;
            return Ok(self.page(scope, query, filter, self.cache.snapshot(slot), Some(after), now()));
        }
        let revision = u64::try_from(token.rv).unwrap_or(0);
        if revision > self.cache.revision() {
            // Another server gave the first page.
            self.cache.wait_for(revision).await?;
        }
        // A token is good as long as history is kept, also where the snapshot happens to live on.
        let old = now().saturating_sub(token.at) > self.cache.limits().history.as_secs();
        match self.cache.snapshot_at(slot, revision) {
            Ok(snapshot) if !old => Ok(self.page(scope, query, filter, snapshot, Some(after), token.at)),
            _ => Err(expired(&token)),
        }
    }

    fn page(&self, scope: &Scope, query: &ListQuery, filter: &Filter, snapshot: Snapshot, after: Option<&str>, begun: u64) -> List {
        let page = snapshot.page(filter, after, query.limit);
        let revision = snapshot.revision;
        let continue_token = match page.last_key {
            Some(last) => {
                self.cache.keep_snapshot(&scope.resource.slot, &snapshot);
                ContinueToken::new(revision as i64, &last, begun).encode()
            }
            None => {
                if after.is_some() {
                    self.cache.release_snapshot(&scope.resource.slot, &snapshot);
                }
                String::new()
            }
        };
        List { items: page.items, revision, continue_token, remaining: page.remaining }
    }
}

impl Match {
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" => Ok(Self::Unset),
            "Exact" => Ok(Self::Exact),
            "NotOlderThan" => Ok(Self::NotOlderThan),
            other => {
                let cause = Cause::not_supported("resourceVersionMatch", &other.into(), &["Exact", "NotOlderThan", ""]);
                Err(invalid_options(vec![cause]))
            }
        }
    }
}

/// `""` and `"0"` are 0.
pub fn parse_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let cause = Cause::invalid("resourceVersion", &text.into(), &format!("strconv.ParseUint: parsing {text:?}: invalid syntax"));
        let why = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        let mut status = Status::new(400, Reason::BadRequest, why);
        status.details_mut().causes = vec![cause];
        status
    })
}

pub fn invalid_options(causes: Vec<Cause>) -> Status {
    Status::invalid("meta.k8s.io", "ListOptions", "", causes)
}

/// Upstream's rules on which parameters go together.
fn check(query: &ListQuery) -> Result<(), Status> {
    let forbidden =
        |why: &str| Err(invalid_options(vec![Cause::new(CauseKind::FieldValueForbidden, "resourceVersionMatch", format!("Forbidden: {why}"))]));
    match query.version_match {
        Match::Unset => {}
        _ if query.resource_version.is_empty() => {
            return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        _ if !query.continue_token.is_empty() => return forbidden("resourceVersionMatch is forbidden when continue is provided"),
        Match::Exact if query.resource_version == "0" => {
            return forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        _ => {}
    }
    if !query.continue_token.is_empty() && !matches!(query.resource_version.as_str(), "" | "0") {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    Ok(())
}

async fn made_ready(scope: &Scope, list: List) -> Result<List, Status> {
    scope.resource.make_ready(list.items.iter().map(|stored| &**stored)).await?;
    Ok(list)
}

fn expired(token: &ContinueToken) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, \
         or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an \
         inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.details_mut().continue_token = ContinueToken::new(INCONSISTENT, &token.start, now()).encode();
    status
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
