//! Values that upstream encrypted, read with the same keys: the forms are the same, whoever wrote them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_apiserver::encryption::{Sealing, open};
use pintle_store::Store as _;

use super::recorded;
use super::upstream::Upstream;

/// One kind of key for each of three resources.
fn configuration() -> String {
    let list = |resource: &str, kind: &str, bytes: usize| {
        let secret = STANDARD.encode(vec![7; bytes]);
        format!("- resources: [{resource}]\n  providers:\n  - {kind}: {{keys: [{{name: k, secret: {secret}}}]}}\n")
    };
    let lists = [list("secrets", "aesgcm", 24), list("configmaps", "aescbc", 32), list("serviceaccounts", "secretbox", 32)].concat();
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{lists}")
}

#[test]
fn what_upstream_sealed_is_read() {
    let sealing = Sealing::parse(&configuration()).unwrap();
    let text = std::fs::read_to_string(recorded("sealed")).unwrap();
    assert_eq!(text.lines().count(), 3);
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap();
        let value = STANDARD.decode(value).unwrap();
        assert!(value.starts_with(b"k8s:enc:"), "{key}");
        // Upstream's keys leave out the core group.
        let of_upstream = key.replace("/registry/core/", "/registry/");
        let plain = open(&sealing, key.as_bytes(), of_upstream.as_bytes(), value.into()).unwrap();
        assert!(plain.starts_with(b"k8s\0") && plain.windows(6).any(|part| part == b"sealed"), "{key}");
    }
}

#[tokio::test]
#[ignore = "writes down what upstream does"]
async fn record() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("encryption.yaml");
    std::fs::write(&file, configuration()).unwrap();
    let upstream = Upstream::start(dir.path(), &[format!("--encryption-provider-config={}", file.display())]).await;
    let mut admin = upstream.place.caller(&["admin", "system:masters"]).await;
    let options = pintle_store::etcd::Options { prefix: "/registry".into(), ..pintle_store::etcd::Options::new([upstream.etcd.clone()]) };
    let store = pintle_store::etcd::open(options).await.unwrap();
    let mut lines = String::new();
    for resource in ["secrets", "configmaps", "serviceaccounts"] {
        let body = r#"{"metadata": {"name": "sealed"}}"#;
        assert_eq!(admin.ask("POST", &format!("/api/v1/namespaces/default/{resource}"), "application/json", body).await.code, 201);
        let key = format!("/{resource}/default/sealed");
        let value = store.get(key.as_bytes()).await.unwrap().unwrap().value;
        lines.push_str(&format!("/registry/core/{resource}/default/sealed {}\n", STANDARD.encode(value)));
    }
    std::fs::write(recorded("sealed"), lines).unwrap();
}
