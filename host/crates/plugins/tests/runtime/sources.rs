//! Components from web servers and registries, pinned and signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pintle_api::GroupVersionResource;
use pintle_plugins::source::oci::{Login, Registry, config_of};
use pintle_plugins::source::signature::{PublicKey, sign};
use pintle_plugins::source::web::Trust;
use serde_json::{Value, json};
use sha2::Digest;

use crate::cluster::Cluster;
use crate::guests;
use crate::harness::{Bench, controller_spec, inline, start_manager_with};
use crate::servers::{Page, TestRegistry, Web};

const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");
/// Of one key; `OTHER_PRIVATE` is another's.
const PRIVATE: &str = include_str!("../../src/source/testdata/key.pem");
const PUBLIC: &str = include_str!("../../src/source/testdata/key.pub");
const OTHER_PRIVATE: &str = include_str!("testdata/other.pem");

fn spec(source: Value) -> Value {
    let mut spec = controller_spec(&[]);
    spec["source"] = source;
    spec
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

fn open(reference: &str, login: Option<Login>) -> Registry {
    Registry::open(reference, &Trust::default(), login).expect("a registry")
}

/// Pushes under the reference; the manifest's digest.
async fn push(reference: &str, login: Option<Login>, bytes: &[u8]) -> String {
    let config = config_of(bytes, &[], &["reconcile".to_owned()], "2026-01-01T00:00:00Z");
    open(reference, login).push(bytes.to_vec(), &config).await.expect("pushed")
}

/// A component that differs from the probe and does the same.
fn variant() -> Vec<u8> {
    // A custom section "x" of one byte.
    [guests::controller(), &[0, 3, 1, b'x', 0]].concat()
}

async fn live(bench: &Bench, name: &str) -> Value {
    bench.condition(name, "Ready", "True", "Live").await;
    bench.plugin(name)["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_resolved_once_and_a_restart_needs_no_registry() {
    let registry = TestRegistry::start(None);
    let reference = registry.reference("policies/probe:v1");
    let manifest = push(&reference, None, guests::controller()).await;
    let bench = Bench::start(Vec::new());
    bench.apply("probe", spec(json!({"oci": {"reference": reference}})));
    let status = live(&bench, "probe").await;
    let pinned = registry.reference(&format!("policies/probe@{manifest}"));
    assert_eq!(status["source"], json!({"reference": reference, "resolved": pinned, "digest": digest(guests::controller())}));
    assert_eq!(status["activeDigest"], digest(guests::controller()));
    bench.ask("a", "count");
    bench.answer("a").await;
    // The tag moves: what runs stays what it was.
    let moved = push(&reference, None, &variant()).await;
    assert_ne!(moved, manifest);
    let mut again = spec(json!({"oci": {"reference": reference}}));
    again["config"] = "second".into();
    bench.apply("probe", again);
    bench.eventually(|| (bench.plugin("probe")["status"]["activeRevision"] == 2).then_some(())).await.expect("revision 2");
    assert_eq!(bench.plugin("probe")["status"]["activeDigest"], digest(guests::controller()));
    // By digest the new one is had.
    bench.apply("probe", spec(json!({"oci": {"reference": registry.reference(&format!("policies/probe@{moved}"))}})));
    let active = || (bench.plugin("probe")["status"]["activeDigest"] == digest(&variant())).then_some(());
    bench.eventually(active).await.expect("the new one");
    let Bench { cluster, handle, folder } = bench;
    handle.shutdown().await;
    drop(registry);
    let handle = start_manager_with(&cluster, folder.path(), Vec::new(), Vec::new());
    let bench = Bench { cluster, handle, folder };
    bench.ask("b", "config");
    assert_eq!(bench.answer("b").await, "", "it runs without its registry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_who_it_is_gets_the_pull_secret() {
    let registry = TestRegistry::start(Some(("jane", "secret")));
    let reference = registry.reference("probe:v1");
    let login = Login { user: "jane".to_owned(), password: "secret".to_owned() };
    push(&reference, Some(login), guests::controller()).await;
    let bench = Bench::start(Vec::new());
    bench.apply("anonymous", spec(json!({"oci": {"reference": reference}})));
    let why = bench.condition("anonymous", "Loaded", "False", "SourceUnavailable").await;
    assert!(why.contains(&reference) && !why.contains("secret"), "{why}");
    let secret = |name: &str, password: &str| {
        let config = json!({"auths": {registry.address.to_string(): {"username": "jane", "password": password}}});
        let data = json!({".dockerconfigjson": STANDARD.encode(config.to_string())});
        bench.cluster.put(&SECRETS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n"}, "data": data}));
    };
    secret("good", "secret");
    secret("bad", "wrong");
    let with = |name: &str| spec(json!({"oci": {"reference": reference, "pullSecret": {"namespace": "n", "name": name}}}));
    bench.apply("good", with("good"));
    live(&bench, "good").await;
    bench.apply("bad", with("bad"));
    bench.condition("bad", "Loaded", "False", "SourceUnavailable").await;
    bench.apply("none", with("none"));
    let why = bench.condition("none", "Loaded", "False", "SourceUnavailable").await;
    assert!(why.contains("the pull secret n/none cannot be read"), "{why}");
    bench.apply("missing", spec(json!({"oci": {"reference": registry.reference("nothing:v1")}})));
    bench.condition("missing", "Loaded", "False", "SourceUnavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_spec_asks_for_a_signature_in_the_registry() {
    let registry = TestRegistry::start(None);
    let bench = Bench::start(Vec::new());
    let verified = |reference: &str| {
        let mut spec = spec(json!({"oci": {"reference": reference}}));
        spec["verify"] = json!({"publicKey": PUBLIC});
        spec
    };
    let unsigned = registry.reference("probe:unsigned");
    let manifest = push(&unsigned, None, guests::controller()).await;
    bench.apply("unsigned", verified(&unsigned));
    let why = bench.condition("unsigned", "Loaded", "False", "NotVerified").await;
    assert!(why.contains(&format!("has no signature, none for {manifest} in its registry")), "{why}");
    open(&unsigned, None).sign(&manifest, OTHER_PRIVATE).await.expect("signed");
    bench.apply("other", verified(&unsigned));
    let why = bench.condition("other", "Loaded", "False", "NotVerified").await;
    assert!(why.contains("none of its 1 signatures is of the key sha256:"), "{why}");
    open(&unsigned, None).sign(&manifest, PRIVATE).await.expect("signed");
    bench.apply("signed", verified(&unsigned));
    live(&bench, "signed").await;
    let mut broken = verified(&unsigned);
    broken["verify"]["publicKey"] = "no key".into();
    bench.apply("broken", broken);
    bench.condition("broken", "Loaded", "False", "BadConfiguration").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_signatures_takes_nothing_without() {
    let (folder, cluster) = (tempfile::tempdir().expect("a folder"), Cluster::new());
    let key = PublicKey::parse(PUBLIC).expect("a key");
    let handle = start_manager_with(&cluster, folder.path(), Vec::new(), vec![key]);
    let bench = Bench { cluster, handle, folder };
    let bytes = guests::controller();
    bench.apply("inline", spec(inline(bytes)));
    bench.condition("inline", "Loaded", "False", "NotVerified").await;
    let mut signed = spec(inline(bytes));
    signed["verify"] = json!({"signature": sign(PRIVATE, &variant()).expect("signed")});
    bench.apply("of-another", signed.clone());
    bench.condition("of-another", "Loaded", "False", "NotVerified").await;
    // A file with its signature beside it, and a web server's.
    let other = variant();
    let components = bench.folder.path().join("plugins/components");
    std::fs::write(components.join("p.wasm"), &other).expect("writable");
    bench.apply("file", spec(json!({"file": "p.wasm"})));
    bench.condition("file", "Loaded", "False", "NotVerified").await;
    std::fs::write(components.join("p.wasm.sig"), sign(PRIVATE, &other).expect("signed")).expect("writable");
    bench.apply("signed-file", spec(json!({"file": "p.wasm"})));
    live(&bench, "signed-file").await;
    let web = Web::start().await;
    web.put("/p.wasm", Page::File(bytes.to_vec()));
    web.put("/p.wasm.sig", Page::File(sign(PRIVATE, bytes).expect("signed").into_bytes()));
    let mut https = spec(json!({"https": {"url": web.url("/p.wasm"), "caBundle": web.ca_bundle}}));
    https["digest"] = digest(bytes).into();
    bench.apply("https", https);
    live(&bench, "https").await;
    // These bytes are known to be signed now, wherever they come from.
    bench.apply("known", spec(inline(bytes)));
    live(&bench, "known").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_is_asked_for_these_bytes_and_no_more() {
    let web = Web::start().await;
    let bytes = guests::controller();
    web.put("/good", Page::File(bytes.to_vec()));
    web.put("/moved", Page::Moved(web.url("/good")));
    web.put("/down", Page::Moved(format!("http://{}/good", web.address)));
    web.put("/endless", Page::Endless);
    let bench = Bench::start(Vec::new());
    let apply = |name: &str, url: String, wanted: &str, bundle: &str| {
        let mut spec = spec(json!({"https": {"url": url, "caBundle": bundle}}));
        spec["digest"] = wanted.into();
        bench.apply(name, spec);
    };
    let (right, wrong) = (digest(bytes), digest(b"something else"));
    let refused = [
        ("unpinned", web.url("/good"), "", "SourceUnavailable", "spec.digest must say which bytes are meant"),
        ("other", web.url("/good"), wrong.as_str(), "DigestMismatch", "its digest is"),
        ("gone", web.url("/gone"), &right, "SourceUnavailable", "is not there"),
        ("endless", web.url("/endless"), &right, "SourceUnavailable", "more than the 67108864 bytes"),
        ("plain", format!("http://{}/good", web.address), &right, "SourceUnavailable", "http"),
        ("down", web.url("/down"), &right, "SourceUnavailable", "http"),
    ];
    for (name, url, wanted, reason, words) in refused {
        apply(name, url, wanted, &web.ca_bundle);
        let why = bench.condition(name, "Loaded", "False", reason).await;
        assert!(why.contains(words), "{name}: {why}");
    }
    apply("stranger", web.url("/good"), &right, "");
    let why = bench.condition("stranger", "Loaded", "False", "SourceUnavailable").await;
    assert!(why.to_lowercase().contains("certificate"), "{why}");
    apply("moved", web.url("/moved"), &right, &web.ca_bundle);
    assert_eq!(live(&bench, "moved").await["activeDigest"], right);
}
