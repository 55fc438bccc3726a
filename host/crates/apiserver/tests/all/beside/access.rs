//! Who may do what, case by case: nodes and what they may write, roles and what may be granted, bootstrap tokens, impersonation,
//! certificate requests. Each line of the record is a request and upstream's answer to it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_apiserver::auth::Anonymous;
use serde_json::{Value, json};

use super::client::{Caller, Place};
use super::upstream::Upstream;
use super::{compare, pintle, recorded};

const NODES: &str = include_str!("nodes.cases");
const ROLES: &str = include_str!("roles.cases");
const TOKENS: &str = include_str!("tokens.cases");
const ACTING: &str = include_str!("acting.cases");
const REQUESTS: &str = include_str!("requests.cases");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let (server, place) = pintle(dir.path(), |config| config.anonymous = Anonymous::On).await;
    let answers = answers(&place).await;
    server.shutdown().await.unwrap();
    compare("access", &answers);
}

#[tokio::test]
#[ignore = "writes down what upstream does"]
async fn record() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(dir.path(), &["--enable-bootstrap-token-auth".to_owned()]).await;
    let answers = answers(&upstream.place).await;
    std::fs::write(recorded("access"), answers).unwrap();
}

async fn answers(place: &Place) -> String {
    let mut said = String::new();
    let mut callers: HashMap<String, Caller> = HashMap::new();
    for cases in [NODES, ROLES, TOKENS, ACTING, REQUESTS] {
        for case in cases.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            said.push_str(&answer(place, &mut callers, case).await);
        }
    }
    said
}

/// `USER METHOD URI [BODY]`, the user as `NAME[,GROUP]...[+HEADER=VALUE]...`. A line that begins with `!` sets something up and says nothing; one
/// with `?` is asked until it succeeds, for upstream's authorizers learn of changes some time after.
async fn answer(place: &Place, callers: &mut HashMap<String, Caller>, case: &str) -> String {
    let (mode, case) = match case.split_at(1) {
        (mode @ ("!" | "?"), rest) => (mode, rest.trim()),
        _ => ("", case),
    };
    let mut words = case.splitn(4, ' ');
    let (user, method, uri, body) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
    let mut parts = user.split('+');
    let names = parts.next().unwrap();
    if !callers.contains_key(names) {
        let certificate: Vec<&str> = names.split(',').filter(|name| *name != "-").collect();
        callers.insert(names.to_owned(), place.caller(&certificate).await);
    }
    let headers: Vec<(&str, &str)> = parts.map(|header| header.split_once('=').unwrap()).collect();
    let headers: Vec<(&str, String)> = headers.into_iter().map(|(name, value)| (name, value.replace('_', " "))).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = made(body);
    let content_type = match (method, body.starts_with('[')) {
        ("PATCH", true) => "application/json-patch+json",
        ("PATCH", false) => "application/merge-patch+json",
        _ => "application/json",
    };
    let mut caller = callers[names].with(&headers);
    let began = std::time::Instant::now();
    let answer = loop {
        let answer = caller.ask(method, uri, content_type, &body).await;
        if mode != "?" || answer.code < 300 {
            break answer;
        }
        assert!(began.elapsed() < super::LIMIT, "{case}: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    callers.insert(names.to_owned(), caller.with(&[]));
    if !mode.is_empty() {
        assert!(matches!(answer.code, 200 | 201 | 409), "{case}: {answer:?}");
        return String::new();
    }
    format!("{case} -> {} {}\n", answer.code, shown(&answer.body))
}

/// `@csr(NAME,ORGANIZATION,ALTERNATIVE)` in a body stands for a certificate request, `@base64(TEXT)` for what it says.
fn made(body: &str) -> String {
    let mut made = body.to_owned();
    while let Some((before, rest)) = made.split_once("@csr(") {
        let (arguments, after) = rest.split_once(')').unwrap();
        let arguments: Vec<&str> = arguments.split(',').collect();
        let names: Vec<String> = arguments[2..].iter().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, arguments[1]);
        params.distinguished_name.push(rcgen::DnType::CommonName, arguments[0]);
        let pem = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        made = format!("{before}{}{after}", STANDARD.encode(pem));
    }
    while let Some((before, rest)) = made.split_once("@base64(") {
        let (text, after) = rest.split_once(')').unwrap();
        made = format!("{before}{}{after}", STANDARD.encode(text));
    }
    made
}

/// The refusal's words, or who the server says is asking.
fn shown(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    if value["kind"] == "SelfSubjectReview" {
        let mut user = value["status"]["userInfo"].clone();
        if let Some(extra) = user.get_mut("extra").and_then(Value::as_object_mut) {
            extra.retain(|key, _| !key.ends_with("credential-id"));
        }
        if user["extra"] == json!({}) {
            user.as_object_mut().unwrap().remove("extra");
        }
        return user.to_string();
    }
    if value["kind"] != "Status" || value["status"] == "Success" {
        return String::new();
    }
    let message = value["message"].as_str().unwrap_or_default();
    // Unique identifiers differ from one run to the next.
    let words = message.split(' ').map(|word| {
        if word.len() >= 36 && word.matches('-').count() >= 4 && word.bytes().filter(u8::is_ascii_hexdigit).count() >= 32 { "*" } else { word }
    });
    words.collect::<Vec<_>>().join(" ").replace('\n', "\\n")
}
