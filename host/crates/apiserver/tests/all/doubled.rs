//! Members that stand twice in a body, and what is said of them under each `fieldValidation`.

use bytes::Bytes;
use expect_test::expect;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::harness;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn ask(sender: &mut SendRequest<Full<Bytes>>, method: &str, path: &str, media: &str, body: &str) -> String {
    let request = http::Request::builder().method(method).uri(path).header("host", "x").header("content-type", media);
    sender.ready().await.unwrap();
    let answer = sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()).await.unwrap();
    let warnings: Vec<_> = answer.headers().get_all("warning").iter().map(|warning| warning.to_str().unwrap().to_owned()).collect();
    let code = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    format!("{code} {} {warnings:?}", body["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn all_are_told_to_who_is_strict_and_none_where_nobody_asks() {
    let (server, _dir) = harness::start(|_| {}).await;
    let (mut sender, connection) = handshake(TokioIo::new(harness::connect_as_admin(&server, &[]).await)).await.unwrap();
    tokio::spawn(connection);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: a\ndata: {b: x, b: y}\ndata: {c: z}\n";
    let json = r#"{"apiVersion":"v1","kind":"ConfigMap","x":1,"metadata":{"name":"a","name":"a"},"data":{"b":"x","b":"y"},"a":1}"#;
    let mut told = Vec::new();
    for validation in ["Strict", "Warn", "Ignore"] {
        let query = format!("dryRun=All&fieldValidation={validation}");
        for (media, body) in [("application/yaml", yaml), ("application/json", json)] {
            told.push(ask(&mut sender, "POST", &format!("{CONFIG_MAPS}?{query}"), media, body).await);
        }
        let applied = format!("{CONFIG_MAPS}/a?{query}&fieldManager=m");
        for body in [yaml, r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","name":"a"}}"#] {
            told.push(ask(&mut sender, "PATCH", &applied, "application/apply-patch+yaml", body).await);
        }
    }
    expect![[r#"
        400 ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:
          line 5: key "name" already set in map
          line 6: key "b" already set in map
          line 7: key "data" already set in map []
        400 ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "x", duplicate field "metadata.name", duplicate field "data.b", unknown field "a" []
        400 error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:
          line 5: key "name" already set in map
          line 6: key "b" already set in map
          line 7: key "data" already set in map []
        400 error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:
          line 1: key "name" already set in map []
        201  []
        201  ["299 - \"unknown field \\\"x\\\"\"", "299 - \"duplicate field \\\"metadata.name\\\"\"", "299 - \"duplicate field \\\"data.b\\\"\"", "299 - \"unknown field \\\"a\\\"\""]
        201  []
        201  []
        201  []
        201  []
        201  []
        201  []"#]].assert_eq(&told.join("\n"));
}
