//! Clients that write, read and watch through servers that come and go, and keep account of what they were told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pintle_api::client::{ListOptions, Served, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::object::ObjectExt as _;
use pintle_api::{Client as _, GroupVersionResource, Reason, Status};
use pintle_client::HttpClient;
use serde_json::{Value, json};

const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const NAMESPACE: &str = "default";
/// Before a failed call is made again, at another server.
const RETRY: Duration = Duration::from_millis(50);
/// Longer than any leader's election and any server's start.
const PATIENCE: Duration = Duration::from_secs(90);

/// The servers' clients; a server that was started again has a new one.
pub struct Front {
    clients: RwLock<Vec<HttpClient>>,
    next: AtomicUsize,
}

impl Front {
    pub fn new(clients: Vec<HttpClient>) -> Arc<Self> {
        Arc::new(Self { clients: RwLock::new(clients), next: AtomicUsize::new(0) })
    }
    pub fn replace(&self, n: usize, client: HttpClient) {
        self.clients.write().expect("nobody panicked")[n] = client;
    }
    /// Another one each time, as behind a load balancer.
    fn any(&self) -> HttpClient {
        let clients = self.clients.read().expect("nobody panicked");
        clients[self.next.fetch_add(1, Ordering::Relaxed) % clients.len()].clone()
    }

    /// The present state, from whichever server answers. `None`: there is no such object.
    async fn get(&self, target: &Target) -> Option<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.any().get(target).await {
                Ok(served) => return Some(served.parse().expect("JSON")),
                Err(none) if none.is(Reason::NotFound) => return None,
                Err(why) => assert!(Instant::now() < end, "no server answers: {why}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// What a writer knows to be there.
#[derive(Debug, Default)]
pub struct Account {
    pub counted: u64,
    pub made: Vec<String>,
    /// Calls that failed and were looked after.
    pub failures: usize,
}

/// Counts in one object and makes one object a step, until told to stop. Each step reads through another server what was
/// acknowledged before, and finds nothing older.
pub async fn write(front: Arc<Front>, name: String, stop: Arc<AtomicBool>) -> Account {
    let mut account = Account::default();
    make(&front, &name, "0", &mut account).await;
    while !stop.load(Ordering::Relaxed) {
        count(&front, &name, &mut account).await;
        let made = format!("{name}-{}", account.counted);
        make(&front, &made, "made", &mut account).await;
        account.made.push(made);
    }
    account
}

async fn make(front: &Front, name: &str, value: &str, account: &mut Account) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"load": "yes"}}, "data": {"n": value}});
    let target = Target::collection(CONFIG_MAPS, Some(NAMESPACE));
    let end = Instant::now() + PATIENCE;
    loop {
        match front.any().create(&target, object.clone(), &WriteOptions::default()).await {
            Ok(_) => return,
            // The try before this one did it: the name is this writer's alone.
            Err(there) if there.is(Reason::AlreadyExists) && account.failures > 0 => return,
            Err(why) => failed(why, end, account).await,
        }
    }
}

async fn count(front: &Front, name: &str, account: &mut Account) {
    let target = Target::object(CONFIG_MAPS, Some(NAMESPACE), name);
    let wanted = account.counted + 1;
    let end = Instant::now() + PATIENCE;
    loop {
        let mut object = front.get(&target).await.unwrap_or_else(|| panic!("{name} is lost"));
        let found: u64 = object.str_at(&["data", "n"]).parse().expect("a number");
        assert!(
            found == account.counted || (found == wanted && account.failures > 0),
            "{name}: {} was acknowledged, {found} is there",
            account.counted
        );
        if found == wanted {
            break;
        }
        object.set_at(&["data", "n"], json!(wanted.to_string()));
        match front.any().update(&target, object, &WriteOptions::default()).await {
            Ok(_) => break,
            Err(why) => failed(why, end, account).await,
        }
    }
    account.counted = wanted;
}

/// The usual retry: what the server could not do, did not answer, or found changed.
async fn failed(why: Status, end: Instant, account: &mut Account) {
    assert!(why.code >= 500 || why.code == 429 || why.is(Reason::Conflict), "not to be retried: {why}");
    assert!(Instant::now() < end, "no server writes: {why}");
    account.failures += 1;
    tokio::time::sleep(RETRY).await;
}

/// What one watcher was told.
#[derive(Debug, Default)]
pub struct Seen {
    pub counted: HashMap<String, u64>,
    pub events: usize,
    /// Times that it went on after its connection broke, and times that it had to list again.
    pub resumed: usize,
    pub relisted: usize,
    revision: u64,
}

/// Follows the writers' objects over any server until it has seen `until` of them all, and asserts that nothing was left out or
/// came twice.
pub async fn watch(front: Arc<Front>, stop: Arc<AtomicBool>) -> Seen {
    let target = Target::collection(CONFIG_MAPS, Some(NAMESPACE));
    let mut seen = Seen::default();
    let mut from = None;
    while !stop.load(Ordering::Relaxed) {
        let options = WatchOptions { label_selector: "load=yes".into(), from_revision: from, ..WatchOptions::default() };
        let Ok(mut events) = front.any().watch(&target, &options).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let resumed = from.is_some();
        seen.resumed += usize::from(resumed);
        while let Ok(Some(event)) = tokio::time::timeout(RETRY * 20, events.next()).await {
            match event {
                Ok(event) => seen.take(event, resumed, &mut from),
                Err(old) if old.code == 410 => {
                    seen.relisted += 1;
                    from = None;
                    break;
                }
                Err(_) => break,
            }
        }
    }
    seen
}

impl Seen {
    fn take(&mut self, event: WatchEvent, mut told_changes_only: bool, from: &mut Option<u64>) {
        let (served, added) = match event {
            WatchEvent::Added(served) => (served, true),
            WatchEvent::Modified(served) => (served, false),
            WatchEvent::Deleted(served) => panic!("nobody deletes: {}", String::from_utf8_lossy(&served.json)),
            WatchEvent::Synced { revision } => {
                (self.revision, *from) = (revision, Some(revision));
                return;
            }
            WatchEvent::Bookmark { revision } => {
                *from = from.map(|f| f.max(revision));
                return;
            }
        };
        told_changes_only |= from.is_some();
        self.events += 1;
        let object = served.parse().expect("JSON");
        let Ok(n) = object.str_at(&["data", "n"]).parse::<u64>() else {
            return self.moved_on(&served, told_changes_only, from);
        };
        let before = self.counted.insert(object.name().to_owned(), n);
        if told_changes_only {
            let expected = if added { None } else { Some(n - 1) };
            assert_eq!(before, expected, "{} was told as {n} (added: {added})", object.name());
        }
        self.moved_on(&served, told_changes_only, from);
    }

    fn moved_on(&mut self, served: &Served, told_changes_only: bool, from: &mut Option<u64>) {
        if told_changes_only {
            assert!(served.revision > self.revision, "{} came after {}", served.revision, self.revision);
            (self.revision, *from) = (served.revision, Some(served.revision));
        }
    }
}

/// Every object of the writers, by name, from one server.
pub async fn everything(client: &HttpClient) -> HashMap<String, Value> {
    let options = ListOptions { label_selector: "load=yes".into(), ..ListOptions::default() };
    let listed = client.list(&Target::collection(CONFIG_MAPS, Some(NAMESPACE)), &options).await.expect("a list");
    listed.items.iter().map(|served| served.parse().expect("JSON")).map(|object: Value| (object.name().to_owned(), object)).collect()
}
