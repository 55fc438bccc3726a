//! Single checks of a container: HTTP, TCP, gRPC health and commands. Probes repeat them, hooks run them once.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::cri::Cri;

/// What of an answer is read, in bytes: it only ends up in a message.
const MAX_ANSWER_BYTES: usize = 10 << 10;
/// Redirects followed, to the same host only.
const MAX_REDIRECTS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Healthy,
    /// Good enough, with something to tell.
    Warning(String),
    /// The check ran and says no.
    Failed(String),
    /// The check could not be made.
    Error(String),
}

pub fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => Some(*n),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {port:?}"))
}

pub async fn http(action: &HTTPGetAction, container: &Container, pod_ip: &str, agent: &str, timeout: Duration) -> Outcome {
    let port = match port_of(&action.port, container) {
        Ok(port) => port,
        Err(e) => return Outcome::Error(e),
    };
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let tls = action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https"));
    let mut path = action.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into());
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let mut headers: Vec<(String, String)> = action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
    let has = |headers: &[(String, String)], name: &str| headers.iter().any(|(k, _)| k.eq_ignore_ascii_case(name));
    if !has(&headers, "user-agent") {
        headers.push(("User-Agent".into(), agent.to_owned()));
    }
    if !has(&headers, "accept") {
        headers.push(("Accept".into(), "*/*".into()));
    }
    if !has(&headers, "host") {
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        headers.push(("Host".into(), shown));
    }
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{}:{port}{path}", if host.contains(':') { format!("[{host}]") } else { host.to_owned() });
    let work = async {
        for _ in 0..MAX_REDIRECTS {
            let (status, location, body) = request(host, port, tls, &path, &headers).await?;
            match location.filter(|_| (300..400).contains(&status)) {
                None => return Ok((status, body)),
                Some(to) => match same_host(&to, host, port, tls) {
                    Some(next) => path = next,
                    // Elsewhere: a success, with a warning, as upstream counts it.
                    None => return Ok((status, body)),
                },
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    };
    match tokio::time::timeout(timeout, work).await {
        Err(_) => Outcome::Failed(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
        Ok(Err(e)) => Outcome::Failed(format!("Get {url:?}: {e}")),
        Ok(Ok((status, _))) if (200..300).contains(&status) => Outcome::Healthy,
        Ok(Ok((status, body))) if (300..400).contains(&status) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {}", String::from_utf8_lossy(&body)))
        }
        Ok(Ok((status, _))) => Outcome::Failed(format!("HTTP probe failed with statuscode: {status}")),
    }
}

pub async fn tcp(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Healthy,
        Ok(Err(e)) => Outcome::Failed(format!("dial tcp {host}:{port}: {}", go_words(&e))),
        Err(_) => Outcome::Failed(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

pub async fn exec(cri: &Cri, id: &str, command: Vec<String>, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout + Duration::from_secs(1), cri.exec_sync(id, command, timeout)).await {
        Err(_) => Outcome::Failed(format!("command timed out after {}s", timeout.as_secs())),
        Ok(Err(e)) if e.to_string().contains("DeadlineExceeded") || e.to_string().contains("timed out") => {
            Outcome::Failed(format!("command timed out: {e}"))
        }
        Ok(Err(e)) => Outcome::Error(e.to_string()),
        Ok(Ok(out)) if out.exit_code == 0 => Outcome::Healthy,
        Ok(Ok(out)) => {
            let mut text = out.stdout;
            text.extend_from_slice(&out.stderr);
            text.truncate(MAX_ANSWER_BYTES);
            Outcome::Failed(String::from_utf8_lossy(&text).into_owned())
        }
    }
}

/// `grpc.health.v1.Health/Check`: one string in, one number out, so the two messages are written by hand.
pub async fn grpc(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let work = async {
        let stream = TcpStream::connect((host, port)).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let answer = grpc_call(&mut sender, host, port, service).await;
        driver.abort();
        answer
    };
    match tokio::time::timeout(timeout, work).await {
        Err(_) => Outcome::Failed(format!("timeout: failed to connect service {host:?}:{port} within {}s", timeout.as_secs())),
        Ok(Err(e)) => Outcome::Failed(format!("error: failed to connect service at {host}:{port}: {e}")),
        Ok(Ok(1)) => Outcome::Healthy,
        Ok(Ok(other)) => {
            Outcome::Failed(format!("service unhealthy (responded with {})", if other == 2 { "NOT_SERVING".into() } else { other.to_string() }))
        }
    }
}

type H2Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn grpc_call(sender: &mut H2Sender, host: &str, port: u16, service: &str) -> Result<u8, String> {
    let name = service.as_bytes();
    let length = u8::try_from(name.len()).ok().filter(|l| *l < 128).ok_or("service name is too long")?;
    let mut message = Vec::new();
    if length > 0 {
        message.extend([0x0a, length]);
        message.extend(name);
    }
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    body.extend(message);
    let request = http::Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let early = grpc_status(response.headers());
    let collected = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
    let late = collected.trailers().and_then(grpc_status);
    if let Some(code) = early.or(late).filter(|c| c != "0") {
        return Err(format!("rpc error: code = {code}"));
    }
    let bytes = collected.to_bytes();
    // Frame header of five bytes, then field 1 as a varint below 128; an absent field is zero, unknown.
    Ok(match bytes.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    })
}

fn grpc_status(headers: &http::HeaderMap) -> Option<String> {
    headers.get("grpc-status").and_then(|v| v.to_str().ok()).map(str::to_owned)
}

async fn request(host: &str, port: u16, tls: bool, path: &str, headers: &[(String, String)]) -> Result<(u16, Option<String>, Bytes), String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let stream = TcpStream::connect((host, port)).await.map_err(|e| format!("dial tcp {address}: {}", go_words(&e)))?;
    let mut builder = http::Request::get(path);
    for (name, value) in headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    let request = builder.header("Connection", "close").body(Full::<Bytes>::default()).map_err(|e| e.to_string())?;
    if tls {
        let stream = super::tls::connect_unverified(host, stream).await.map_err(|e| e.to_string())?;
        send(stream, request).await
    } else {
        send(stream, request).await
    }
}

async fn send<S>(stream: S, request: http::Request<Full<Bytes>>) -> Result<(u16, Option<String>, Bytes), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map(|c| c.to_bytes()).unwrap_or_default();
    driver.abort();
    Ok((status, location, body))
}

/// The path of a redirect that stays on the host; `None` if it leads elsewhere.
fn same_host(to: &str, host: &str, port: u16, tls: bool) -> Option<String> {
    if to.starts_with('/') && !to.starts_with("//") {
        return Some(to.to_owned());
    }
    let uri: http::Uri = to.parse().ok()?;
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let same =
        uri.host()?.trim_matches(['[', ']']) == host && uri.port_u16().unwrap_or(default) == port && (uri.scheme_str() == Some("https")) == tls;
    same.then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
}

fn go_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        _ => error.to_string(),
    }
}
