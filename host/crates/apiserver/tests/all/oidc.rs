//! Tokens of another issuer, which serves its discovery document and keys over TLS, and a whole server that is asked with them.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use pintle_apiserver::Server;
use pintle_apiserver::auth::oidc::config::{Configuration, Flags};
use pintle_apiserver::auth::{Pki, ServerNames};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness;

/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Keys by their name.
struct Issuer {
    url: String,
    authority: String,
    keys: Mutex<HashMap<&'static str, Key>>,
    asked: AtomicUsize,
    _dir: tempfile::TempDir,
}

struct Key {
    algorithm: Algorithm,
    signing: EncodingKey,
    public: Value,
}

impl Key {
    fn elliptic(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let point = pair.der_bytes();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        let public = json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256", "x": x, "y": y});
        Self { algorithm: Algorithm::ES256, signing: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(), public }
    }

    /// Made by openssl, for this takes seconds in unoptimised Rust.
    fn rsa(id: &str) -> Self {
        let openssl = |args: &[&str], input: &str| {
            use std::io::Write as _;
            let mut command = Command::new("openssl");
            let command =
                command.args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        };
        let pem = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "");
        let modulus = openssl(&["rsa", "-modulus", "-noout"], &pem);
        let modulus = modulus.trim().strip_prefix("Modulus=").unwrap().as_bytes();
        let bytes: Vec<u8> = modulus.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        let public = json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": URL_SAFE_NO_PAD.encode(bytes), "e": "AQAB"});
        Self { algorithm: Algorithm::RS256, signing: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), public }
    }
}

impl Issuer {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let names = ServerNames { advertise: [127, 0, 0, 1].into(), service: [127, 0, 0, 1].into(), extra: vec![] };
        let pki = Pki::load_or_create(dir.path(), &names).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let issuer = Arc::new(Self { url, authority: pki.ca_pem().to_owned(), keys: Mutex::default(), asked: AtomicUsize::new(0), _dir: dir });
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki.server_config().unwrap()));
        let serving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, issuer) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let answer = issuer.answer(request.uri().path());
                        async move { Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(answer.to_string())))) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        issuer
    }

    fn answer(&self, path: &str) -> Value {
        match path {
            "/.well-known/openid-configuration" => json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)}),
            "/keys" => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                let strange = json!({"kty": "of the future", "kid": "strange"});
                let keys = self.keys.lock().unwrap();
                json!({"keys": keys.values().map(|key| key.public.clone()).chain([strange]).collect::<Vec<_>>()})
            }
            _ => json!({}),
        }
    }

    /// A good token for ann with these claims in it.
    fn token(&self, key: &str, claims: Value) -> String {
        let mut all = json!({"iss": self.url, "aud": "pintle", "sub": "ann", "exp": jiff::Timestamp::now().as_second() + 600});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let keys = self.keys.lock().unwrap();
        let header = Header { kid: Some(key.to_owned()), ..Header::new(keys[key].algorithm) };
        encode(&header, &all, &keys[key].signing).unwrap()
    }
}

struct Fixture {
    server: Server,
    _dir: tempfile::TempDir,
}

async fn fixture(issuers: Vec<pintle_apiserver::auth::oidc::config::Jwt>) -> Fixture {
    let (server, _dir) = harness::start(|config| config.oidc = issuers.into_iter().map(Arc::new).collect()).await;
    Fixture { server, _dir }
}

impl Fixture {
    /// Who the server says the token's bearer is, or the code.
    async fn who(&self, token: &str) -> Result<Value, u16> {
        let tls = harness::tls(self.server.pki(), None, &[]);
        let stream = harness::connect(self.server.address(), tls).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let review = r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#;
        let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header("host", "x");
        let request = request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
        let answer = tokio::time::timeout(LIMIT, sender.send_request(request.body(Full::new(Bytes::from(review))).unwrap())).await.unwrap().unwrap();
        if answer.status() != 201 {
            return Err(answer.status().as_u16());
        }
        let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        Ok(body["status"]["userInfo"].clone())
    }
}

fn flags(issuer: &Issuer, dir: &std::path::Path) -> Flags {
    let ca = dir.join("issuer.crt");
    std::fs::write(&ca, &issuer.authority).unwrap();
    Flags { issuer_url: issuer.url.clone(), client_id: "pintle".into(), ca_file: Some(ca), ..Flags::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_say_whom_a_token_names() {
    let issuer = Issuer::start().await;
    let dir = tempfile::tempdir().unwrap();
    issuer.keys.lock().unwrap().extend([("one", Key::rsa("one")), ("curve", Key::elliptic("curve"))]);
    let flags = Flags {
        groups_claim: "roles".into(),
        groups_prefix: "oidc:".into(),
        required_claims: vec!["team=blue".into()],
        ..flags(&issuer, dir.path())
    };
    let f = fixture(vec![flags.read().unwrap()]).await;
    let blue = |more: Value| {
        let mut claims = json!({"team": "blue"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let ann = f.who(&issuer.token("one", blue(json!({"roles": ["dev", "ops"], "jti": "7"})))).await.unwrap();
    let id = json!({"authentication.kubernetes.io/credential-id": ["JTI=7"]});
    assert_eq!(ann, json!({"username": format!("{}#ann", issuer.url), "groups": ["oidc:dev", "oidc:ops", "system:authenticated"], "extra": id}));
    let one_group = f.who(&issuer.token("one", blue(json!({"roles": "dev"})))).await.unwrap();
    assert_eq!(one_group["groups"], json!(["oidc:dev", "system:authenticated"]));
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "keys are fetched once");

    let now = jiff::Timestamp::now().as_second();
    for (wrong, claims) in [
        ("expired", blue(json!({"exp": now - 1}))),
        ("without an end", blue(json!({"exp": null}))),
        ("not yet good", blue(json!({"nbf": now + 1000}))),
        ("for somebody else", blue(json!({"aud": ["other"]}))),
        ("without the required claim", json!({})),
        ("with another value of it", json!({"team": "red"})),
        ("with groups that are none", blue(json!({"roles": {"a": 1}}))),
        ("without the user's name", blue(json!({"sub": null}))),
        ("with a number for a name", blue(json!({"sub": 7}))),
        ("of another issuer", blue(json!({"iss": "https://elsewhere"}))),
    ] {
        assert_eq!(f.who(&issuer.token("one", claims)).await, Err(401), "{wrong}");
    }
    assert!(f.who(&issuer.token("one", blue(json!({"aud": ["other", "pintle"], "nbf": now + 60})))).await.is_ok());
    // The default is RS256 alone.
    assert_eq!(f.who(&issuer.token("curve", blue(json!({})))).await, Err(401));
    // A signature by a key that the issuer has, under another one's name; none at all; the public key taken for a shared secret.
    let good = issuer.token("one", blue(json!({})));
    let (signed, _) = good.rsplit_once('.').unwrap();
    assert_eq!(f.who(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 256]))).await, Err(401));
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), signed.split_once('.').unwrap().1);
    assert_eq!(f.who(&unsigned).await, Err(401));
    let shared = EncodingKey::from_secret(issuer.keys.lock().unwrap()["one"].public["n"].as_str().unwrap().as_bytes());
    let claims = blue(json!({"iss": issuer.url, "aud": "pintle", "sub": "ann", "exp": now + 600}));
    let forged = encode(&Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) }, &claims, &shared).unwrap();
    assert_eq!(f.who(&forged).await, Err(401));
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let issuer = Issuer::start().await;
    let dir = tempfile::tempdir().unwrap();
    issuer.keys.lock().unwrap().insert("old", Key::elliptic("old"));
    let flags = Flags { username_claim: "email".into(), signing_algs: vec!["ES256".into()], ..flags(&issuer, dir.path()) };
    let f = fixture(vec![flags.read().unwrap()]).await;
    let mail = |verified: Value| json!({"email": "ann@example.com", "email_verified": verified});
    let name = |answer: Result<Value, u16>| answer.map(|user| user["username"].clone());
    assert_eq!(name(f.who(&issuer.token("old", mail(json!(true)))).await), Ok(json!("ann@example.com")));
    assert_eq!(name(f.who(&issuer.token("old", mail(Value::Null))).await), Ok(json!("ann@example.com")));
    assert_eq!(f.who(&issuer.token("old", mail(json!(false)))).await, Err(401));

    issuer.keys.lock().unwrap().insert("new", Key::elliptic("new"));
    let began = std::time::Instant::now();
    // The issuer is not asked at every try.
    while f.who(&issuer.token("new", mail(json!(true)))).await.is_err() {
        assert!(began.elapsed() < LIMIT, "the new key did not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let asked = issuer.asked.load(Ordering::Relaxed);
    assert!(asked <= 3, "asked {asked} times");
    // Names that nobody has do not make it ask again and again.
    let stranger = Key::elliptic("none");
    let claims = json!({"iss": issuer.url, "aud": "pintle", "email": "x", "exp": jiff::Timestamp::now().as_second() + 600});
    for n in 0..50 {
        let header = Header { kid: Some(format!("none-{n}")), ..Header::new(Algorithm::ES256) };
        assert_eq!(f.who(&encode(&header, &claims, &stranger.signing).unwrap()).await, Err(401));
    }
    assert!(issuer.asked.load(Ordering::Relaxed) <= asked + 2, "asked {} times", issuer.asked.load(Ordering::Relaxed));
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_maps_claims_by_expressions() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    issuer.keys.lock().unwrap().insert("one", Key::elliptic("one"));
    other.keys.lock().unwrap().insert("one", Key::elliptic("one"));
    let text = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [
            {
                "issuer": {"url": issuer.url, "certificateAuthority": issuer.authority, "audiences": ["pintle", "second"], "audienceMatchPolicy": "MatchAny"},
                "claimValidationRules": [
                    {"claim": "hd", "requiredValue": "example.com"},
                    {"expression": "claims.exp - claims.iat <= 86400", "message": "total token lifetime must not exceed 24 hours"},
                ],
                "claimMappings": {
                    "username": {"expression": "claims.sub + ':' + claims.tenant"},
                    "groups": {"expression": "claims.roles.split(',')"},
                    "uid": {"claim": "oid"},
                    "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}, {"key": "example.com/none", "valueExpression": "''"}],
                },
                "userValidationRules": [
                    {"expression": "!user.username.startsWith('system:')", "message": "username cannot use reserved system: prefix"},
                    {"expression": "user.groups.all(group, !group.startsWith('system:'))", "message": "groups cannot use reserved system: prefix"},
                ],
            },
            {
                "issuer": {"url": other.url, "certificateAuthority": other.authority, "audiences": ["pintle"]},
                "claimMappings": {"username": {"claim": "sub", "prefix": "other:"}},
            },
        ],
    });
    let f = fixture(Configuration::parse(&text.to_string()).unwrap().issuers).await;
    let now = jiff::Timestamp::now().as_second();
    let good = json!({"hd": "example.com", "iat": now, "tenant": "t1", "roles": "dev,ops", "oid": "u-1"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        issuer.token("one", claims)
    };
    let expected = json!({
        "username": "ann:t1", "uid": "u-1", "groups": ["dev", "ops", "system:authenticated"], "extra": {"example.com/tenant": ["t1"]},
    });
    assert_eq!(f.who(&issuer.token("one", good.clone())).await, Ok(expected));
    assert!(f.who(&with("aud", json!("second"))).await.is_ok());
    assert_eq!(f.who(&with("hd", json!("example.org"))).await, Err(401));
    assert_eq!(f.who(&with("iat", json!(now - 100_000))).await, Err(401));
    assert_eq!(f.who(&with("tenant", Value::Null)).await, Err(401), "an expression over what is not there");
    assert_eq!(f.who(&with("sub", json!("system:admin"))).await, Err(401));
    assert_eq!(f.who(&with("roles", json!("dev,system:masters"))).await, Err(401));
    assert_eq!(f.who(&other.token("one", json!({}))).await.map(|user| user["username"].clone()), Ok(json!("other:ann")));
    // One issuer's key does not sign for another.
    let crossed = other.token("one", json!({"iss": issuer.url, "hd": "example.com", "iat": now, "tenant": "t1", "roles": "a", "oid": "u"}));
    assert_eq!(f.who(&crossed).await, Err(401));
    f.server.shutdown().await.unwrap();
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let refused = |jwt: Value| {
        let text = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]});
        Configuration::parse(&text.to_string()).map(drop).unwrap_err().to_string()
    };
    let of = |url: &str, audiences: Value, username: Value| json!({"issuer": {"url": url, "audiences": audiences}, "claimMappings": {"username": username}});
    let sub = || json!({"claim": "sub", "prefix": ""});
    for (jwt, why) in [
        (of("http://a", json!(["a"]), sub()), "jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https"),
        (of("https://a", json!([]), sub()), "jwt[0].issuer.audiences: Required value"),
        (
            of("https://a", json!(["a", "b"]), sub()),
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
        ),
        (of("https://a", json!(["a"]), json!({"claim": "sub"})), "jwt[0].claimMappings.username.prefix: Required value"),
        (of("https://a", json!(["a"]), json!({})), "jwt[0].claimMappings.username: Required value: claim or expression is required"),
        (
            of("https://a", json!(["a"]), json!({"expression": "claims."})),
            "jwt[0].claimMappings.username.expression: Invalid value: \"claims.\": compilation failed",
        ),
        (of("https://a", json!(["a"]), json!({"expression": "claims.email"})), "claims.email_verified must be used in"),
        (of("https://a", json!(["a"]), json!({"claim": "a", "prefix": "", "expression": "claims.a"})), "claim and expression can't both be set"),
    ] {
        assert!(refused(jwt).contains(why), "{why}");
    }
    assert!(Flags { client_id: "a".into(), ..Flags::default() }.read().is_err());
    assert!(Flags { issuer_url: "https://a".into(), client_id: "a".into(), signing_algs: vec!["HS256".into()], ..Flags::default() }.read().is_err());
}
