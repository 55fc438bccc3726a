//! Watches: where they begin, initial events, bookmarks and their end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use pintle_api::{Cause, Status};
use rand::Rng as _;
use serde_json::json;
use tokio::time::{Instant, Sleep};

use super::list::{Match, invalid_options};
use super::own_fields::{self, OwnFields};
use super::{Core, Scope};
use crate::cache::{Event, Kind, Stored, Watcher};
use crate::resources::Resource;

/// Between bookmarks of a watch that asked for them.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after this long, or up to twice as long, so that not all end at once.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// The longest that a client may ask for: added to a clock it must not overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bookmark this long before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Initial objects are joined into one buffer of about this size.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, Default)]
pub struct WatchQuery {
    pub label_selector: String,
    pub field_selector: String,
    pub resource_version: String,
    pub version_match: Match,
    pub send_initial_events: Option<bool>,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
}

/// What a watch has to say next.
pub enum Said {
    Event(Kind, Arc<Event>),
    /// One of the initial objects.
    Initial(Arc<Stored>),
    /// The initial objects were all sent.
    Synced(u64),
    Bookmark(u64),
}

/// A running watch, over any wire.
pub struct Watch {
    pub resource: Arc<Resource>,
    own: Option<OwnFields>,
    watcher: Watcher,
    initial: VecDeque<Arc<Stored>>,
    ready: VecDeque<(Kind, Arc<Event>)>,
    synced: Option<u64>,
    next_bookmark: Option<Instant>,
    end: Instant,
    /// Rings at the next bookmark or the end. Kept, because setting a timer for each event costs more than finding the event.
    alarm: Pin<Box<Sleep>>,
    /// The newest revision told.
    told: u64,
    /// An error was said, which is the last thing that a watch says.
    over: bool,
}

impl Core {
    pub async fn watch(&self, scope: &Scope, query: &WatchQuery) -> Result<Watch, Status> {
        check(query)?;
        let slot = &scope.resource.slot;
        let (filter, own) = own_fields::split(scope, &query.label_selector, &query.field_selector)?;
        let asked = self.not_older(&query.resource_version).await?;
        let initial = query.send_initial_events.unwrap_or(asked == 0);
        let (mut objects, watcher, synced) = if initial {
            let (snapshot, watcher) = self.cache.snapshot_and_watch(slot, filter.clone());
            let revision = snapshot.revision;
            (snapshot.page(&filter, None, 0).items, watcher, Some(revision))
        } else if asked == 0 {
            // Explicitly without initial events, from now on.
            let (_, watcher) = self.cache.snapshot_and_watch(slot, filter);
            (Vec::new(), watcher, None)
        } else {
            (Vec::new(), self.cache.watch(slot, filter, asked)?, None)
        };
        scope.resource.make_ready(objects.iter().map(|stored| &**stored)).await?;
        if let Some(own) = &own {
            objects.retain(|stored| own.matches(&scope.resource, stored));
        }
        let now = Instant::now();
        let spread = || DEFAULT_TIMEOUT.mul_f64(1.0 + rand::rng().random::<f64>());
        let end = now + query.timeout.unwrap_or_else(spread).min(MAX_TIMEOUT);
        let next_bookmark = if query.bookmarks { bookmark_after(now, end) } else { None };
        Ok(Watch {
            resource: scope.resource.clone(),
            own,
            watcher,
            initial: objects.into(),
            ready: VecDeque::new(),
            // The end of the initial events is told only to those who asked for them by name.
            synced: synced.filter(|_| query.send_initial_events == Some(true) && query.bookmarks),
            next_bookmark,
            end,
            alarm: Box::pin(tokio::time::sleep_until(next_bookmark.unwrap_or(end).min(end))),
            told: asked,
            over: false,
        })
    }
}

impl Watch {
    /// The next thing to tell. `None`: the time is over. An error is the last.
    pub async fn next(&mut self) -> Option<Result<Said, Status>> {
        loop {
            let said = self.next_said().await?;
            if self.resource.conversion.is_none() {
                return Some(said);
            }
            let Ok(Said::Event(kind, event)) = said else { return Some(said) };
            match self.converted(kind, event).await {
                Ok(None) => {}
                Ok(Some(said)) => return Some(Ok(said)),
                Err(why) => return Some(Err(why)),
            }
        }
    }

    /// The event as the version that is watched has it, made ready. `None`: it is not for this watch.
    async fn converted(&self, kind: Kind, event: Arc<Event>) -> Result<Option<Said>, Status> {
        let kind = match &self.own {
            None => kind,
            Some(own) => {
                let states: Vec<&Stored> = [&event.object, &event.previous].into_iter().flatten().map(|stored| &**stored).collect();
                self.resource.make_ready_in_turn(&states).await?;
                match own.seen(&self.resource, kind, &event) {
                    None => return Ok(None),
                    Some(kind) => kind,
                }
            }
        };
        let state: Vec<&Stored> = event.state(kind).map(|stored| &**stored).into_iter().collect();
        self.resource.make_ready_in_turn(&state).await?;
        Ok(Some(Said::Event(kind, event)))
    }

    async fn next_said(&mut self) -> Option<Result<Said, Status>> {
        if self.over {
            return None;
        }
        if let Some(stored) = self.initial.pop_front() {
            return Some(Ok(Said::Initial(stored)));
        }
        if let Some(revision) = self.synced.take() {
            self.told = revision;
            return Some(Ok(Said::Synced(revision)));
        }
        loop {
            if let Some((kind, event)) = self.ready.pop_front() {
                self.told = event.revision;
                return Some(Ok(Said::Event(kind, event)));
            }
            tokio::select! {
                biased;
                batch = self.watcher.next() => match batch {
                    Ok(batch) => self.ready.extend(batch.events),
                    Err(why) => return Some(Err(why)),
                },
                () = &mut self.alarm => {
                    if let Some(revision) = self.rang()? {
                        return Some(Ok(Said::Bookmark(revision)));
                    }
                }
            }
        }
    }

    /// Sets the alarm anew. The revision to tell in a bookmark, if any; `None` of all: the time is over.
    fn rang(&mut self) -> Option<Option<u64>> {
        let now = Instant::now();
        if now >= self.end {
            return None;
        }
        self.next_bookmark = bookmark_after(now, self.end);
        self.alarm.as_mut().reset(self.next_bookmark.unwrap_or(self.end).min(self.end));
        let due = self.watcher.caught_up_to().filter(|r| *r >= self.told && *r > 0);
        self.told = due.unwrap_or(self.told);
        Some(due)
    }

    /// The next piece of the body: one event's own bytes, or many objects or events joined.
    pub async fn next_chunk(&mut self) -> Option<Bytes> {
        let chunk = if self.tells_lines() { self.next_lines().await? } else { self.next_line().await? };
        Some(chunk.unwrap_or_else(|why| {
            self.over = true;
            format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", why.to_value()).into()
        }))
    }

    /// Whether the log's next events are told as the cache has them, so that watchers may share their lines.
    fn tells_lines(&self) -> bool {
        let told_first = self.initial.is_empty() && self.synced.is_none() && self.ready.is_empty();
        told_first && !self.over && !self.resource.converts && self.resource.conversion.is_none()
    }

    async fn next_lines(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            tokio::select! {
                biased;
                lines = self.watcher.next_lines() => return Some(lines.map(|lines| {
                    self.told = lines.revision;
                    lines.bytes
                })),
                () = &mut self.alarm => {
                    if let Some(revision) = self.rang()? {
                        return Some(Ok(self.bookmark(revision, false)));
                    }
                }
            }
        }
    }

    async fn next_line(&mut self) -> Option<Result<Bytes, Status>> {
        let said = self.next().await?;
        Some(match said {
            Ok(Said::Initial(first)) => self.initial_chunk(first),
            Ok(said) => self.line(said),
            Err(why) => Err(why),
        })
    }

    fn initial_chunk(&mut self, first: Arc<Stored>) -> Result<Bytes, Status> {
        let mut out = BytesMut::new();
        let mut next = Some(first);
        while let Some(stored) = next {
            let line = self.line(Said::Initial(stored))?;
            if out.is_empty() && line.len() >= CHUNK_BYTES {
                return Ok(line);
            }
            out.put_slice(&line);
            next = if out.len() < CHUNK_BYTES { self.initial.pop_front() } else { None };
        }
        Ok(out.freeze())
    }

    fn line(&self, said: Said) -> Result<Bytes, Status> {
        let (object, kind) = match said {
            Said::Event(kind, event) if !self.resource.converts => return Ok(event.line(kind)),
            Said::Event(kind, event) => (self.resource.wire_of(&event, kind)?, kind),
            Said::Initial(stored) if !self.resource.converts => return Ok(stored.line(Kind::Added)),
            Said::Initial(stored) => (self.resource.wire(&stored)?, Kind::Added),
            Said::Synced(revision) => return Ok(self.bookmark(revision, true)),
            Said::Bookmark(revision) => return Ok(self.bookmark(revision, false)),
        };
        let mut out = BytesMut::with_capacity(object.len() + 32);
        out.put_slice(kind.line_start());
        out.put_slice(&object);
        out.put_slice(b"}\n");
        Ok(out.freeze())
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.resource.def().kind, "apiVersion": self.resource.api_version, "metadata": metadata});
        format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n").into()
    }
}

/// Every minute, and shortly before the end.
fn bookmark_after(now: Instant, end: Instant) -> Option<Instant> {
    let last = end - BOOKMARK_BEFORE_END.min(end - now);
    (now < last).then(|| last.min(now + BOOKMARK_EVERY))
}

fn check(query: &WatchQuery) -> Result<(), Status> {
    let forbidden = |field: &str, why: &str| Err(invalid_options(vec![Cause::forbidden(field, why)]));
    match (query.send_initial_events, query.version_match) {
        (None, Match::Unset) | (Some(_), Match::NotOlderThan) => Ok(()),
        (None, _) => forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        (Some(_), Match::Unset) => forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (Some(_), Match::Exact) => {
            let cause = Cause::not_supported("resourceVersionMatch", &json!("Exact"), &["NotOlderThan"]);
            Err(invalid_options(vec![cause]))
        }
    }
}
