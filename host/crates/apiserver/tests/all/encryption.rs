//! Secrets at rest: what lies in the store, and how its keys are exchanged, with a whole server over a file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource};
use pintle_apiserver::auth::User;
use pintle_apiserver::{Config, Server};
use pintle_store::Store;
use serde_json::{Value, json};

const PLAIN: &str = "a-password-that-nobody-may-read";
const KEY: &[u8] = b"/registry/core/secrets/default/s";
/// The file is looked at each second.
const LIMIT: Duration = Duration::from_secs(30);

/// Keys by name: the provider's kind and a byte of which the key is made.
fn configuration(dir: &Path, providers: &[(&str, &str, u8)]) {
    use base64::Engine as _;
    let of = |(kind, name, byte): &(&str, &str, u8)| match *kind {
        "identity" => json!({"identity": {}}),
        kind => json!({kind: {"keys": [{"name": name, "secret": base64::engine::general_purpose::STANDARD.encode([*byte; 32])}]}}),
    };
    let providers: Vec<Value> = providers.iter().map(of).collect();
    let lists = json!([{"resources": ["secrets", "things.example.com"], "providers": providers}]);
    let text = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": lists}).to_string();
    // In one step, so that half a file is never read.
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("encryption.yaml")).unwrap();
}

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir, "127.0.0.1:0".parse().unwrap());
    config.encryption.file = Some(dir.join("encryption.yaml"));
    config.encryption.reload = true;
    config
}

fn secret(name: &str) -> Target {
    Target::object(GroupVersionResource::constant("", "v1", "secrets"), Some("default"), name)
}

/// What lies in the file of a server that does not run.
async fn raw(dir: &Path, key: &[u8]) -> Vec<u8> {
    let store = pintle_store::embedded::open(dir.join("store.redb"), Default::default()).unwrap();
    let value = store.get(key).await.unwrap().unwrap().value.to_vec();
    store.close().await.unwrap();
    value
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LIMIT, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_sealed_and_their_key_is_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    // A cluster that was not encrypted before.
    let server = Server::start(Config { encryption: Default::default(), ..config(path) }).await.unwrap();
    let admin: Arc<dyn Client> = Arc::new(server.local_client(User::loopback()));
    let made = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": PLAIN}});
    admin.create(&Target::collection(secret("").resource, Some("default")), made, &WriteOptions::default()).await.unwrap();
    drop(admin);
    server.shutdown().await.unwrap();
    let before = raw(path, KEY).await;
    assert!(before.starts_with(b"{") && contains(&before, &base64_of(PLAIN)));

    // With a key in front of it nothing is written by itself; an update that changes nothing is enough.
    configuration(path, &[("aesgcm", "one", 1), ("identity", "", 0)]);
    let server = Server::start(config(path)).await.unwrap();
    let admin: Arc<dyn Client> = Arc::new(server.local_client(User::loopback()));
    let mut watch = admin.watch(&Target::collection(secret("").resource, Some("default")), &Default::default()).await.unwrap();
    let present = admin.get(&secret("s")).await.unwrap();
    let rewritten = admin.patch(&secret("s"), Patch::Merge(json!({})), &WriteOptions::default()).await.unwrap();
    assert!(rewritten.revision > present.revision, "it was written again");
    let again = admin.patch(&secret("s"), Patch::Merge(json!({})), &WriteOptions::default()).await.unwrap();
    assert_eq!(again.revision, rewritten.revision, "and once only");
    assert_eq!(password(&*admin).await, PLAIN);
    let stored = server.core().cache.store().clone();
    let sealed = snapshot(&*stored).await;
    assert!(sealed.starts_with(b"k8s:enc:aesgcm:v1:one:") && !contains(&sealed, &base64_of(PLAIN)));
    // Watchers see plain objects, before and after.
    let seen = tokio::time::timeout(LIMIT, async {
        loop {
            if let pintle_api::client::WatchEvent::Modified(served) = watch.next().await.unwrap().unwrap() {
                return served.parse().unwrap();
            }
        }
    });
    assert_eq!(seen.await.unwrap().str_at(&["data", "password"]), base64_of(PLAIN));

    // A new key in front while the server runs.
    configuration(path, &[("secretbox", "two", 2), ("aesgcm", "one", 1)]);
    until("the second key", async || stored.is_stale(KEY).await.unwrap()).await;
    // The old one cannot go while something is written with it.
    configuration(path, &[("secretbox", "two", 2)]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stored.get(KEY).await.unwrap().unwrap().value.first(), Some(&b'{'), "what the first key wrote is still read");
    admin.patch(&secret("s"), Patch::Merge(json!({})), &WriteOptions::default()).await.unwrap();
    assert!(snapshot(&*stored).await.starts_with(b"k8s:enc:secretbox:v1:two:"));
    drop((admin, stored, watch));
    server.shutdown().await.unwrap();

    // Without the old key it starts, and reads.
    let server = Server::start(config(path)).await.unwrap();
    assert_eq!(password(&server.local_client(User::loopback())).await, PLAIN);
    server.shutdown().await.unwrap();
    assert!(!contains(&raw(path, KEY).await, &base64_of(PLAIN)));

    // With the wrong one it does not start.
    configuration(path, &[("aesgcm", "one", 1)]);
    let refused = Server::start(config(path)).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found"), "{refused}");
    // The store of the start that failed closes when its last user ends.
    let mut refused = String::new();
    until("the store's file", async || {
        refused = Server::start(Config { encryption: Default::default(), ..config(path) }).await.map(drop).unwrap_err().to_string();
        !refused.contains("in use")
    })
    .await;
    assert!(refused.contains("is encrypted, and there is no encryption configuration"), "{refused}");
}

async fn password(client: &dyn Client) -> String {
    use base64::Engine as _;
    let object = client.get(&secret("s")).await.unwrap().parse().unwrap();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(object.str_at(&["data", "password"])).unwrap()).unwrap()
}

/// The value as a backup has it: below the layer.
async fn snapshot(store: &dyn Store) -> Vec<u8> {
    let mut pages = store.snapshot().await.unwrap().pages;
    while let Some(page) = pages.next().await {
        if let Some(entry) = page.unwrap().into_iter().find(|entry| entry.key == KEY) {
            return entry.value.to_vec();
        }
    }
    panic!("the secret is not in the snapshot");
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
