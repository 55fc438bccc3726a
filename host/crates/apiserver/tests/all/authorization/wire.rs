//! Callers over HTTPS, each with a connection of its own.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pintle_apiserver::Server;
use pintle_apiserver::auth::pki::Identity;
use serde_json::Value;

use super::LIMIT;
use super::endpoints::{Asked, Endpoint};
use crate::harness;

pub struct Caller(SendRequest<Full<Bytes>>);

#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Of a refusal.
    pub message: String,
}

impl Caller {
    pub async fn anonymous(server: &Server) -> Self {
        Self::connect(server, None).await
    }
    /// By a certificate for this name, in no group.
    pub async fn user(server: &Server, name: &str) -> Self {
        Self::connect(server, Some(server.pki().issue_client(name, &[]).unwrap())).await
    }

    async fn connect(server: &Server, identity: Option<Identity>) -> Self {
        let tls = harness::tls(server.pki(), identity.as_ref(), &["h2"]);
        let stream = harness::connect(server.address(), tls).await.unwrap();
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn ask(&mut self, endpoint: &Endpoint) -> Answer {
        let streams = matches!(&endpoint.asked, Asked::Resource { verb, .. } if verb == "watch");
        self.send(endpoint.method, &endpoint.uri, streams).await
    }
    pub async fn get(&mut self, uri: &str) -> Answer {
        self.send("GET", uri, false).await
    }

    /// A stream's answer is its head: the rest of it does not end.
    async fn send(&mut self, method: &str, uri: &str, streams: bool) -> Answer {
        let request = http::Request::builder().method(method).uri(format!("https://server{uri}")).body(Full::new(Bytes::new())).unwrap();
        let answer = async {
            let response = self.0.send_request(request).await.unwrap();
            let code = response.status().as_u16();
            if streams && code == 200 {
                return Answer { code, message: String::new() };
            }
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let status: Value = serde_json::from_slice(&body).unwrap_or_default();
            Answer { code, message: status["message"].as_str().unwrap_or_default().to_owned() }
        };
        tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| panic!("{method} {uri} was not answered in time"))
    }
}
