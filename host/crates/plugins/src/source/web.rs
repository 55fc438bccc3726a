//! Downloads over HTTPS, with a limit on everything: time, size, redirects. No cookies, no proxies of the environment.

use std::sync::Once;
use std::time::Duration;

use base64::Engine;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

/// Until a connection stands.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// For one download as a whole: 64 MiB over a slow line.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_REDIRECTS: usize = 5;

/// How to reach one server.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM certificates of authorities that count besides the system's.
    pub authorities: Vec<u8>,
    /// Plain HTTP is allowed.
    pub plain_http: bool,
}

impl Trust {
    /// `ca_bundle`: base64 of PEM, as webhooks have it; may be empty.
    pub fn of(ca_bundle: &str, plain_http: bool) -> Result<Self, String> {
        let authorities = base64::engine::general_purpose::STANDARD.decode(ca_bundle).map_err(|e| format!("caBundle: {e}"))?;
        Ok(Self { authorities, plain_http })
    }
}

/// The process's cryptography; whoever is first chooses, and all choose ring.
pub fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

pub fn client(trust: &Trust) -> Result<Client, String> {
    set_up();
    let mut builder = Client::builder()
        .https_only(!trust.plain_http)
        .redirect(Policy::limited(MAX_REDIRECTS))
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")));
    if !trust.authorities.is_empty() {
        let certificates = reqwest::Certificate::from_pem_bundle(&trust.authorities).map_err(|e| format!("caBundle: {e}"))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| told(&e))
}

/// The body of a 200; `None` for 404.
pub async fn get(request: reqwest::RequestBuilder, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
    let mut response = request.send().await.map_err(|e| told(&e))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        status => return Err(format!("{} answers {status}", response.url())),
    }
    let too_large = || format!("has more than the {max_bytes} bytes that are read");
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| told(&e))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// With the causes, which reqwest leaves out of its own words.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}
