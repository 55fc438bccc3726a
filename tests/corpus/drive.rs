//! Sends the corpus to a server and collects its answers.
//!
//! Every case is a dry run, so none sees another's effect; only the bases of updates and the setup are written. The server must be
//! fresh, and nothing else may write to it: no controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use pintle_client::{HttpClient, kubeconfig::Kubeconfig};
use serde_json::{Value, json};

use super::answer::Answer;
use super::cases::{Case, Edit, Sheet, Verb};
use super::{Result, edit};

pub const NAMESPACE: &str = "validation";
/// Requests under way at a time.
const AT_ONCE: usize = 8;
const SERVED_WITHIN: Duration = Duration::from_secs(30);
const TRIES: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub type Answers = BTreeMap<String, Answer>;

pub struct Server {
    client: HttpClient,
}

pub struct Reply {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Server {
    /// Connects, and makes the namespace and the service account that namespaced cases need.
    pub async fn open(kubeconfig: &Path) -> Result<Self> {
        let until = Instant::now() + SERVED_WITHIN;
        let client = loop {
            let client = Kubeconfig::load(kubeconfig).and_then(|config| HttpClient::new(&config));
            match client {
                Ok(client) if client.request(Method::GET, "/readyz", HeaderMap::new(), "").await.is_ok_and(|a| a.status() == 200) => break client,
                _ if Instant::now() > until => return Err("the server is not ready in time".into()),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        let server = Self { client };
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let made = server.send(Method::POST, "/api/v1/namespaces", "application/json", space.to_string()).await?;
        if made.code != 201 {
            return Err(format!("the corpus wants a fresh server: {}", made.body).into());
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        server.send(Method::POST, &format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), "application/json", account.to_string()).await?;
        Ok(server)
    }

    pub async fn answers(&self, sheet: &Sheet) -> Result<Answers> {
        for setup in &sheet.setup {
            let made = self.create(&setup.path, &setup.object).await?;
            if made.code != 201 {
                return Err(format!("setup in {}: {}", setup.path, made.body).into());
            }
        }
        self.wait_until_served(&sheet.path).await?;
        let cases = sheet.all_cases()?;
        let needed: BTreeSet<&str> = cases.iter().filter(|c| c.verb != Verb::Create || !c.subresource.is_empty()).map(|c| c.base.as_str()).collect();
        for base in needed {
            let object = sheet.bases.get(base).ok_or_else(|| format!("no base {base:?}"))?;
            self.make_base(&sheet.path, object).await?;
        }
        let asked =
            cases.iter().map(|case| async move { Ok((case.id.clone(), self.answer(sheet, case).await.map_err(|e| format!("{}: {e}", case.id))?)) });
        let answers: Vec<Result<_>> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().collect()
    }

    async fn make_base(&self, path: &str, object: &Value) -> Result<()> {
        let made = self.create(path, object).await?;
        if made.code != 201 {
            // Its cases are all answered with 404 then, and differ: a base that only one of the servers takes is a finding too.
            eprintln!("{path}: the base {} is refused: {}", object["metadata"]["name"], made.body["message"]);
            return Ok(());
        }
        if let Some(status) = object.get("status") {
            self.set_status(&format!("{path}/{}", object["metadata"]["name"].as_str().unwrap_or_default()), status).await?;
        }
        Ok(())
    }

    /// The server's own bookkeeping may have written in between: then once more, on what is there now.
    async fn set_status(&self, place: &str, status: &Value) -> Result<()> {
        let mut last = Value::Null;
        for _ in 0..TRIES {
            let mut object = self.send(Method::GET, place, "", String::new()).await?.body;
            object["status"] = status.clone();
            let set = self.send(Method::PUT, &format!("{place}/status"), "application/json", object.to_string()).await?;
            if set.code == 200 {
                return Ok(());
            }
            last = set.body["message"].clone();
        }
        eprintln!("{place}: {last}");
        Ok(())
    }

    pub async fn create(&self, path: &str, object: &Value) -> Result<Reply> {
        self.send(Method::POST, path, "application/json", object.to_string()).await
    }

    pub async fn wait_until_served(&self, path: &str) -> Result<()> {
        let until = Instant::now() + SERVED_WITHIN;
        while matches!(self.send(Method::GET, path, "", String::new()).await?.code, 404 | 503) {
            if Instant::now() > until {
                return Err(format!("{path} is not served").into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// The server's own bookkeeping may have written between a reading and the request that was made of it: then once more.
    async fn answer(&self, sheet: &Sheet, case: &Case) -> Result<Answer> {
        let mut reply = self.reply(sheet, case).await?;
        for _ in 1..TRIES {
            if case.body.is_some() || reply.body["reason"] != "Conflict" {
                break;
            }
            reply = self.reply(sheet, case).await?;
        }
        Ok(Answer::read(reply.code, &reply.body, reply.warnings))
    }

    async fn reply(&self, sheet: &Sheet, case: &Case) -> Result<Reply> {
        let base = sheet.bases.get(&case.base).ok_or_else(|| format!("no base {:?}", case.base))?;
        let name = base["metadata"]["name"].as_str().unwrap_or_default();
        let one = format!("{}/{name}", sheet.path);
        let below = |place: &str| if case.subresource.is_empty() { place.to_owned() } else { format!("{place}/{}", case.subresource) };
        let (method, place) = match case.verb {
            Verb::Create if case.subresource.is_empty() => (Method::POST, sheet.path.clone()),
            Verb::Create => (Method::POST, below(&one)),
            Verb::Update => (Method::PUT, below(&one)),
            Verb::Patch => (Method::PATCH, below(&one)),
            Verb::Delete => (Method::DELETE, one.clone()),
        };
        let body = match &case.body {
            Some(body) => body.clone(),
            None => {
                let mut object = match case.verb {
                    Verb::Create => base.clone(),
                    // A scale has a body of its own, everything else the object's.
                    _ if case.subresource == "scale" => self.send(Method::GET, &below(&one), "", String::new()).await?.body,
                    _ => self.send(Method::GET, &one, "", String::new()).await?.body,
                };
                for change in &case.edits {
                    match change {
                        Edit::Set(pointer, value) => edit::set(&mut object, pointer, value)?,
                        Edit::Drop(pointer) => edit::drop(&mut object, pointer)?,
                    }
                }
                object.to_string()
            }
        };
        let query = if case.query.is_empty() { String::new() } else { format!("&{}", case.query) };
        self.send(method, &format!("{place}?dryRun=All{query}"), &case.content_type, body).await
    }

    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: String) -> Result<Reply> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        if !content_type.is_empty() {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_str(content_type)?);
        }
        let answer = self.client.request(method, path, headers, body).await?;
        let code = answer.status().as_u16();
        let warnings = answer.headers().get_all(http::header::WARNING).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
        let bytes = answer.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Ok(Reply { code, body, warnings })
    }
}
