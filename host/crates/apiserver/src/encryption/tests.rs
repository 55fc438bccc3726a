//! Keys and configurations, without a store's file. `tests/encryption.rs` has the whole server.

use expect_test::{Expect, expect};

use super::provider::Kind;
use super::*;

#[test]
fn what_is_sealed_is_read_by_its_own_key_alone() {
    let plain = br#"{"kind":"Secret","data":{"password":"aHVudGVyMg=="}}"#;
    for (kind, size) in [
        (Kind::AesGcm, 16),
        (Kind::AesGcm, 24),
        (Kind::AesGcm, 32),
        (Kind::AesCbc, 16),
        (Kind::AesCbc, 24),
        (Kind::AesCbc, 32),
        (Kind::SecretBox, 32),
    ] {
        let of = |name: &str, byte: u8| Provider::new(kind, name, &vec![byte; size]).unwrap();
        let (one, same_name) = (of("one", 1), of("one", 2));
        let sealed = one.seal(b"/registry/core/secrets/a/b", plain).unwrap();
        assert!(sealed.starts_with(format!("k8s:enc:{}:v1:one:", kind.name()).as_bytes()));
        assert!(!sealed.windows(8).any(|part| plain.windows(8).any(|other| part == other)), "{kind:?}");
        assert_ne!(sealed, one.seal(b"/registry/core/secrets/a/b", plain).unwrap(), "never the same twice");
        assert_eq!(one.open(b"/registry/core/secrets/a/b", &sealed).as_deref(), Some(plain.as_slice()), "{kind:?}");
        assert!(one.reads(&sealed) && !of("two", 1).reads(&sealed) && !Provider::identity().reads(&sealed));
        assert_ne!(same_name.open(b"/registry/core/secrets/a/b", &sealed).as_deref(), Some(plain.as_slice()), "another key");
        // aesgcm ties a value to its place; the others cannot.
        assert_eq!(one.open(b"/registry/core/secrets/a/other", &sealed).is_none(), kind == Kind::AesGcm);
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_ne!(one.open(b"/registry/core/secrets/a/b", &changed).as_deref(), Some(plain.as_slice()), "{kind:?}");
        for length in 0..sealed.len() {
            assert!(one.open(b"/registry/core/secrets/a/b", &sealed[..length]).is_none_or(|opened| opened != plain), "cut at {length}");
        }
    }
}

fn with(resources: &str) -> String {
    format!("{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{resources}]}}")
}

#[test]
fn the_first_list_that_names_a_resource_counts() {
    let lists = "{resources: [events], providers: [identity: {}]},
        {resources: [secrets, pandas.bears.example], providers: [{secretbox: {keys: [{name: k1, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}}, identity: {}]},
        {resources: ['*.apps'], providers: [aescbc: {keys: [{name: k2, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}]},
        {resources: ['*.'], providers: [identity: {}]}";
    let sealing = Sealing::parse(&with(lists)).unwrap();
    let of = |group: &str, resource: &str| {
        sealing.of(group, resource).map(|providers| providers.iter().map(|p| p.reads(b"k8s:enc:secretbox:v1:k1:x")).collect::<Vec<_>>())
    };
    assert_eq!(of("", "secrets"), Some(vec![true, false]));
    assert_eq!(of("bears.example", "pandas"), Some(vec![true, false]));
    assert_eq!(of("", "events"), Some(vec![false]));
    assert_eq!(of("apps", "deployments"), Some(vec![false]));
    assert_eq!(of("", "configmaps"), Some(vec![false]));
    assert_eq!(of("batch", "jobs"), None);
    assert!(providers(&sealing, b"/registry/core/secrets/default/a").is_some() && providers(&sealing, b"/registry/batch/jobs/a/b").is_none());
}

#[test]
fn a_configuration_that_cannot_work_is_refused_in_upstreams_words() {
    let refused = |text: &str, expected: Expect| expected.assert_eq(&Sealing::parse(text).map(drop).unwrap_err().to_string());
    let of = |resources: &str, providers: &str| with(&format!("{{resources: [{resources}], providers: [{providers}]}}"));
    refused(&with(""), expect!["invalid encryption provider configuration: resources: Required value: at least one resources is required"]);
    refused(
        "{apiVersion: v2, kind: EncryptionConfiguration}",
        expect!["error decoding encryption provider configuration: got unexpected config type: v2, Kind=EncryptionConfiguration"],
    );
    refused(
        &of("", ""),
        expect![
            "invalid encryption provider configuration: [resources[0].resources: Required value: at least one resources[0].resources is required, resources[0].providers: Required value: at least one resources[0].providers is required]"
        ],
    );
    refused(
        &of("secrets, secrets", "identity: {}"),
        expect![[
            r#"invalid encryption provider configuration: resources[0].resources: Invalid value: ["secrets","secrets"]: the same resource cannot be specified multiple times"#
        ]],
    );
    refused(
        &of("secrets, '*.'", "identity: {}"),
        expect![[
            r#"invalid encryption provider configuration: resources[0].resources: Invalid value: ["secrets","*."]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"#
        ]],
    );
    refused(
        &of("Secrets, '*', events.events.k8s.io, secrets.*", "identity: {}"),
        expect![[
            r#"invalid encryption provider configuration: [resources[0].resources: Invalid value: ["Secrets","*","events.events.k8s.io","secrets.*"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked, resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters, resources[0].resources[1]: Invalid value: "*": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources, resources[0].resources[2]: Invalid value: "events.events.k8s.io": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file, resources[0].resources[3]: Invalid value: "secrets.*": encrypting the same resource across groups is not supported]"#
        ]],
    );
    refused(
        &of("secrets", "{}"),
        expect![
            "invalid encryption provider configuration: resources[0].providers[0]: Invalid value: {}: provider does not contain any of the expected providers: AESGCM, AESCBC, Secretbox, Identity"
        ],
    );
    refused(
        &of("secrets", "{identity: {}, aesgcm: {keys: []}}"),
        expect![
            "invalid encryption provider configuration: resources[0].providers[0]: Invalid value: {}: more than one provider specified in a single element, should split into different list elements"
        ],
    );
    refused(
        &of("secrets", "{aesgcm: {keys: []}}"),
        expect!["invalid encryption provider configuration: resources[0].providers[0].aesgcm.keys: Required value: at least one keys is required"],
    );
    refused(
        &of("secrets", "{aesgcm: {keys: [{name: '', secret: AAAA}]}}"),
        expect![[
            r#"invalid encryption provider configuration: [resources[0].providers[0].aesgcm.keys[0].name: Required value: key.name is a mandatory field for a key, resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 3, expected one of [16 24 32]]"#
        ]],
    );
    refused(
        &of("secrets", "{secretbox: {keys: [{name: a, secret: '?'}, {name: b}]}}"),
        expect![[
            r#"invalid encryption provider configuration: [resources[0].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded, resources[0].providers[0].secretbox.keys[1].secret: Required value: key.secret is a mandatory field for a key]"#
        ]],
    );
    refused(
        &of("secrets", "{kms: {apiVersion: v2, name: a}}"),
        expect![[
            r#"invalid encryption provider configuration: resources[0].providers[0].kms: Invalid value: "kms": KMS providers are not served here: use aesgcm, secretbox or aescbc"#
        ]],
    );
    refused(
        &of("secrets", "{aesgmc: {}}"),
        expect![
            "error decoding encryption provider configuration: unknown field `aesgmc`, expected one of `aesgcm`, `aescbc`, `secretbox`, `identity`, `kms`"
        ],
    );
}
