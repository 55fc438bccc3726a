//! The API server through kubectl: what it refuses, and what it keeps through a crash.

use super::cluster::Server;

#[test]
fn bad_input_is_refused_with_the_field() {
    let server = Server::start();
    let create = |body: &str, more: &[&str]| server.kubectl_with_input(&[&["create", "-f", "-"], more].concat(), body).refused();
    let check = |body: &str, wanted: &str| {
        let seen = create(body, &["--validate=false"]);
        assert!(seen.contains(wanted), "wanted {wanted:?} in {seen:?}");
    };
    check(
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Upper_Case"}}"#,
        "metadata.name: Invalid value: \"Upper_Case\": a lowercase RFC 1123 subdomain",
    );
    check(r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}}"#, "spec.containers: Required value");
    check(
        r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}"#,
        "`selector` does not match template `labels`",
    );
    let strict = server
        .kubectl_with_input(
            &["create", "--validate=strict", "-f", "-"],
            r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {}}"#,
        )
        .refused();
    assert!(strict.contains("unknown field \"dat\""), "{strict}");
    let malformed = server.kubectl_with_input(&["create", "--raw", "/api/v1/namespaces/default/configmaps", "-f", "-"], "{").refused();
    assert!(malformed.contains("BadRequest") || malformed.contains("unexpected"), "{malformed}");
}

#[test]
fn a_stale_or_immutable_write_changes_nothing() {
    let server = Server::start();
    server.kubectl(&["create", "configmap", "a", "--from-literal=k=v"]).ok();
    let stale =
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", "resourceVersion": "1"}, "data": {"k": "w"}}"#;
    let seen = server.kubectl_with_input(&["replace", "-f", "-"], stale).refused();
    assert!(seen.contains("the object has been modified; please apply your changes to the latest version and try again"), "{seen}");
    server.kubectl(&["create", "deployment", "web", "--image=x"]).ok();
    let seen = server.kubectl(&["patch", "deployment", "web", "-p", r#"{"spec":{"selector":{"matchLabels":{"other":"x"}}}}"#]).refused();
    assert!(seen.contains("spec.selector") && seen.contains("field is immutable"), "{seen}");
    assert_eq!(server.kubectl(&["get", "configmap", "a", "-o", "jsonpath={.data.k}"]).ok(), "v");
}

#[test]
fn a_crash_loses_no_acknowledged_write() {
    let mut server = Server::start();
    for round in 0..3 {
        for number in 0..5 {
            server.kubectl(&["create", "configmap", &format!("c{round}-{number}")]).ok();
        }
        server.crash_and_restart();
        for number in 0..5 {
            server.kubectl(&["get", "configmap", &format!("c{round}-{number}")]).ok();
        }
    }
}

#[test]
fn a_namespace_takes_everything_with_it() {
    let server = Server::start();
    server.kubectl(&["create", "namespace", "short"]).ok();
    server.kubectl(&["create", "deployment", "web", "--image=x", "-n", "short"]).ok();
    server.kubectl(&["delete", "namespace", "short", "--timeout=60s"]).ok();
    let left = server.kubectl(&["get", "deployments,replicasets,pods,configmaps", "-n", "short", "-o", "name"]).ok();
    assert_eq!(left, "");
}
