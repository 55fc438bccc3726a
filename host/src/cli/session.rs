//! A command's connection: who asks, in which namespace, and the few request shapes that the verbs share.
//!
//! Refusals become [`Refused`], whose words are those that scripts around Kubernetes' command line look for. It retries nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use pintle_api::{Reason, ResourceDef, Status};
use pintle_client::kubeconfig::{Kubeconfig, Overrides};
use pintle_client::{Config, HttpClient, Impersonate};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::discovery::Discovery;

/// The longest answer that is read whole: a list of everything in a large cluster.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// Where `pintle up` leaves its kubeconfig unless told otherwise; the last place that is looked at.
const LOCAL_CLUSTER: &str = "/var/lib/pintle/kubeconfig";

pub const JSON: &str = "application/json";
pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Flags that every verb takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Global {
    /// Path to the kubeconfig file
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The cluster of the kubeconfig to use
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// The namespace of the request
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Address of the API server
    #[arg(short, long, global = true)]
    pub server: Option<String>,
    /// Bearer token for the API server
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Whom to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Groups to impersonate
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,
}

pub struct Session {
    pub client: HttpClient,
    pub namespace: String,
    /// The namespace was given with the command, so a manifest of another one is an error.
    pub namespace_is_explicit: bool,
    discovery: OnceCell<Discovery>,
}

/// The server said no. Shown without the `error:` in front.
#[derive(Debug)]
pub struct Refused {
    pub status: Status,
    /// What was being done: `error when creating "a.yaml"`.
    pub while_doing: String,
}

pub type Query<'a> = &'a [(&'a str, &'a str)];

impl Global {
    pub fn overrides(&self) -> Overrides {
        Overrides {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            // No flag: --user is who a role is bound to.
            user: None,
            namespace: self.namespace.clone(),
        }
    }

    /// The kubeconfig as it lies in its file or files.
    pub fn read_kubeconfig(&self) -> Result<Kubeconfig> {
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read(path),
            None => Kubeconfig::read_default(),
        };
        let config = read.context("reading the kubeconfig")?;
        if config.contexts.is_empty() && config.clusters.is_empty() && self.kubeconfig.is_none() && Path::new(LOCAL_CLUSTER).exists() {
            return Kubeconfig::read(LOCAL_CLUSTER).context("reading the kubeconfig");
        }
        Ok(config)
    }

    fn config(&self) -> Result<Config> {
        let kubeconfig = self.read_kubeconfig()?;
        let mut config = if kubeconfig.contexts.is_empty() && self.cluster.is_none() {
            match (&self.server, pintle_client::kubeconfig::in_cluster()) {
                (Some(_), _) => Config { namespace: self.namespace.clone().unwrap_or_else(|| "default".to_owned()), ..Config::default() },
                (None, Ok(config)) => config,
                (None, Err(_)) => {
                    anyhow::bail!("no cluster is configured: name a kubeconfig with --kubeconfig or $KUBECONFIG, or start a cluster with 'pintle up'")
                }
            }
        } else {
            kubeconfig.config(&self.overrides())?
        };
        if let Some(server) = &self.server {
            config.server.clone_from(server);
        }
        if let Some(namespace) = &self.namespace {
            config.namespace.clone_from(namespace);
        }
        if let Some(token) = &self.token {
            config.credentials.token = Some(token.clone());
            config.credentials.certificate = None;
        }
        if let Some(user) = &self.as_user {
            config.impersonate = Some(Impersonate { user: user.clone(), groups: self.as_group.clone(), uid: String::new() });
        }
        Ok(config)
    }
}

impl Session {
    pub fn open(global: &Global) -> Result<Self> {
        let config = global.config()?;
        let client = HttpClient::new(&config)?;
        Ok(Self { client, namespace: config.namespace, namespace_is_explicit: global.namespace.is_some(), discovery: OnceCell::new() })
    }

    pub async fn discovery(&self) -> Result<&Discovery> {
        self.discovery.get_or_try_init(|| Discovery::load(self)).await
    }

    /// A namespace for a namespaced resource, none for others.
    pub fn namespace_for(&self, def: &ResourceDef) -> Option<&str> {
        def.is_namespaced().then_some(self.namespace.as_str())
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, "", Bytes::new()).await
    }

    /// `None` where there is nothing.
    pub async fn get_optional(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if refusal(&error).is_some_and(|s| s.code == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn get_object(&self, def: &ResourceDef, namespace: Option<&str>, name: &str) -> Result<Value> {
        self.get(&object_path(def, namespace, name, "")).await
    }

    pub async fn get_table(&self, path: &str) -> Result<Value> {
        let answer = self.exchange(Method::GET, path, TABLE, "", Bytes::new()).await?;
        json(&answer)
    }

    pub async fn get_text(&self, path: &str) -> Result<String> {
        let answer = self.exchange(Method::GET, path, "*/*", "", Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, JSON, serde_json::to_vec(object)?).await
    }

    pub async fn update(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::PUT, path, JSON, serde_json::to_vec(object)?).await
    }

    pub async fn patch(&self, path: &str, kind: &'static str, patch: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, kind, serde_json::to_vec(patch)?).await
    }

    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value> {
        self.send(Method::DELETE, path, JSON, serde_json::to_vec(options)?).await
    }

    /// A request and the JSON of its answer. `content_type` is empty for one without a body.
    pub async fn send(&self, method: Method, path: &str, content_type: &'static str, body: impl Into<Bytes>) -> Result<Value> {
        json(&self.exchange(method, path, JSON, content_type, body.into()).await?)
    }

    async fn exchange(&self, method: Method, path: &str, accept: &'static str, content_type: &'static str, body: Bytes) -> Result<Bytes> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let response = self.client.request(method, path, headers, body).await.map_err(|s| self.lost(s))?;
        let response = accepted(response).await?;
        show_warnings(response.headers());
        read_body(response.into_body()).await
    }

    /// An answer without an end: a watch, a log that is followed.
    pub async fn stream(&self, path: &str, table: bool) -> Result<Incoming> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(if table { TABLE } else { "application/json, */*" }));
        let response = self.client.stream(path, headers).await.map_err(|s| self.lost(s))?;
        let response = accepted(response).await?;
        show_warnings(response.headers());
        Ok(response.into_body())
    }

    /// Objects of a collection.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut list = self.get(path).await?;
        let kind = list["kind"].as_str().unwrap_or_default().trim_end_matches("List").to_owned();
        let api_version = list["apiVersion"].clone();
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        let named = items.into_iter().map(|mut item| {
            if item["kind"].is_null() {
                item["kind"] = kind.clone().into();
                item["apiVersion"] = api_version.clone();
            }
            item
        });
        Ok(named.collect())
    }

    fn lost(&self, status: Status) -> anyhow::Error {
        if status.message.contains("Connection refused") {
            let address = self.client.server();
            let address = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
            return Refused::plain(format!("The connection to the server {address} was refused - did you specify the right host or port?"));
        }
        anyhow::anyhow!("Unable to connect to the server: {}", status.message)
    }
}

impl Refused {
    fn plain(message: String) -> anyhow::Error {
        let status = Status { code: 0, reason: Reason::Unknown, message, details: None };
        anyhow::Error::new(Self { status, while_doing: String::new() })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        if status.code == 0 {
            return f.write_str(&status.message);
        }
        let details = status.details.as_deref().cloned().unwrap_or_default();
        if status.reason == Reason::Invalid && !details.kind.is_empty() {
            write!(f, "The {} {:?} is invalid", details.kind, details.name)?;
            return match details.causes.as_slice() {
                [] => Ok(()),
                [one] => write!(f, ": {}: {}", one.field, one.message),
                many => {
                    f.write_str(": ")?;
                    many.iter().try_for_each(|c| write!(f, "\n* {}: {}", c.field, c.message))
                }
            };
        }
        match status.reason {
            Reason::Unknown => f.write_str("Error from server: ")?,
            reason => write!(f, "Error from server ({reason:?}): ")?,
        }
        if !self.while_doing.is_empty() {
            write!(f, "{}: ", self.while_doing)?;
        }
        f.write_str(&status.message)
    }
}

impl std::error::Error for Refused {}

/// The server's Status behind an error, if that is what it is.
pub fn refusal(error: &anyhow::Error) -> Option<&Status> {
    error.downcast_ref::<Refused>().map(|r| &r.status)
}

pub fn is_not_found(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|s| s.code == 404)
}

/// Says what was tried, in the place where such messages say it.
pub fn while_doing(error: anyhow::Error, what: impl fmt::Display) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(refused) => anyhow::Error::new(Refused { while_doing: what.to_string(), ..refused }),
        Err(error) => error.context(what.to_string()),
    }
}

pub fn collection_path(def: &ResourceDef, namespace: Option<&str>) -> String {
    pintle_api::client::Target::collection(def.gvr(), namespace.filter(|_| def.is_namespaced())).path()
}

pub fn object_path(def: &ResourceDef, namespace: Option<&str>, name: &str, subresource: &str) -> String {
    let mut path = format!("{}/{}", collection_path(def, namespace), encode(name));
    if !subresource.is_empty() {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

/// Adds the parameters that are not empty.
pub fn with_query(path: &str, query: Query<'_>) -> String {
    let mut whole = path.to_owned();
    let mut separator = if path.contains('?') { '&' } else { '?' };
    for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        whole.push(separator);
        whole.push_str(key);
        whole.push('=');
        whole.push_str(&encode(value));
        separator = '&';
    }
    whole
}

/// Percent-encoding of everything but letters, digits and `-._~`.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub async fn read_body(body: Incoming) -> Result<Bytes> {
    match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => anyhow::bail!("the connection was lost during the answer: {error}"),
    }
}

async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>> {
    if response.status().is_success() {
        return Ok(response);
    }
    let code = response.status().as_u16();
    let body = read_body(response.into_body()).await?;
    Err(anyhow::Error::new(Refused { status: Status::from_body(code, &body), while_doing: String::new() }))
}

fn json(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).context("the server's answer is no JSON")
}

/// `Warning: 299 - "text"`.
fn show_warnings(headers: &HeaderMap) {
    for warning in headers.get_all("warning") {
        let text = warning.to_str().unwrap_or_default();
        let Some((_, quoted)) = text.split_once('"') else { continue };
        eprintln!("Warning: {}", quoted.trim_end_matches('"').replace("\\\"", "\""));
    }
}
