//! Requests as one of several users, to whichever of the two servers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pintle_apiserver::auth::{Pki, ServerNames};

use super::LIMIT;
use crate::harness;

pub const AGENT: &str = "beside/1";

/// A server and the authority of its users.
pub struct Place {
    pub address: SocketAddr,
    pub pki: Pki,
}

/// Upstream closes connections that sent wrong credentials; a caller makes another one.
pub struct Caller {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    sender: SendRequest<Full<Bytes>>,
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

pub fn names() -> ServerNames {
    ServerNames { advertise: [127, 0, 0, 1].into(), service: [10, 96, 0, 1].into(), extra: vec![] }
}

impl Place {
    /// `dir` has the authority's files.
    pub fn new(dir: &Path, address: SocketAddr) -> Self {
        Self { address, pki: Pki::load_or_create(dir, &names()).unwrap() }
    }

    /// `name` of the first is the user, the others are groups; none: no certificate.
    pub async fn caller(&self, user: &[&str]) -> Caller {
        self.try_caller(user).await.unwrap()
    }

    pub async fn try_caller(&self, user: &[&str]) -> std::io::Result<Caller> {
        let identity = user.split_first().map(|(name, groups)| self.pki.issue_client(name, groups).unwrap());
        let (address, tls) = (self.address, harness::tls(&self.pki, identity.as_ref(), &["h2"]));
        let sender = connect(address, tls.clone()).await?;
        Ok(Caller { address, tls, sender, headers: Vec::new() })
    }
}

async fn connect(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let stream = harness::connect(address, tls).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Caller {
    /// The same connection with other headers.
    pub fn with(&self, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { address: self.address, tls: self.tls.clone(), sender: self.sender.clone(), headers }
    }

    pub async fn ask(&mut self, method: &str, uri: &str, content_type: &str, body: &str) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("https://server{uri}")).header("user-agent", AGENT);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.address, self.tls.clone()).await.unwrap();
        }
        let answer = async {
            let response = self.sender.send_request(request).await.unwrap();
            let (parts, body) = response.into_parts();
            Answer { code: parts.status.as_u16(), headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
        };
        tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| panic!("{method} {uri} was not answered in time"))
    }
}
