//! Exec, attach and port-forward: the runtime gives a URL, and the caller's upgraded connection is passed through to
//! it byte for byte, whatever the protocol inside.

use std::time::Duration;

use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_cri::v1::{AttachRequest, ExecRequest};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::{Answer, Server, flag, full, text};

/// Longest wait for the runtime's answer to an upgrade, in seconds.
const UPGRADE_SECONDS: u64 = 30;
/// Longest run of a command whose output is returned at once, in seconds.
const RUN_SECONDS: u64 = 120;

type Query = [(String, String)];

pub async fn exec(server: &Server, query: &Query, namespace: &str, pod: &str, container: &str, request: Request<Incoming>) -> Answer {
    let id = match running(server, namespace, pod, container) {
        Ok(id) => id,
        Err(why) => return text(StatusCode::NOT_FOUND, &why),
    };
    let command: Vec<String> = query.iter().filter(|(k, _)| k == "command").map(|(_, v)| v.clone()).collect();
    let (stdin, stdout, stderr, tty) = streams(query);
    let url = server.context.cri.exec_url(ExecRequest { container_id: id, cmd: command, tty, stdin, stdout, stderr }).await;
    pass_to(url.map_err(|e| e.to_string()), request).await
}

pub async fn attach(server: &Server, query: &Query, namespace: &str, pod: &str, container: &str, request: Request<Incoming>) -> Answer {
    let id = match running(server, namespace, pod, container) {
        Ok(id) => id,
        Err(why) => return text(StatusCode::NOT_FOUND, &why),
    };
    let (stdin, stdout, stderr, tty) = streams(query);
    let url = server.context.cri.attach_url(AttachRequest { container_id: id, stdin, tty, stdout, stderr }).await;
    pass_to(url.map_err(|e| e.to_string()), request).await
}

pub async fn port_forward(server: &Server, namespace: &str, pod: &str, request: Request<Incoming>) -> Answer {
    let Some(state) = server.table.find(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, &format!("pod {pod:?} not found"));
    };
    let Some(sandbox) = state.sandbox_id() else {
        return text(StatusCode::BAD_REQUEST, "pod has no sandbox yet");
    };
    let query = super::request_query(&request);
    let named = query.iter().filter(|(k, _)| k == "port" || k == "ports");
    let ports = named.flat_map(|(_, v)| v.split(',').filter_map(|p| p.parse().ok()).collect::<Vec<i32>>()).collect();
    let url = server.context.cri.port_forward_url(sandbox, ports).await;
    pass_to(url.map_err(|e| e.to_string()), request).await
}

pub async fn run(server: &Server, query: &Query, namespace: &str, pod: &str, container: &str) -> Answer {
    let id = match running(server, namespace, pod, container) {
        Ok(id) => id,
        Err(why) => return text(StatusCode::NOT_FOUND, &why),
    };
    let command = query.iter().filter(|(k, _)| k == "cmd").flat_map(|(_, v)| v.split(' ').map(str::to_owned)).collect();
    match server.context.cri.exec_sync(&id, command, Duration::from_secs(RUN_SECONDS)).await {
        Ok(out) => Response::new(full([out.stdout, out.stderr].concat())),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn running(server: &Server, namespace: &str, pod: &str, container: &str) -> Result<String, String> {
    let state = server.table.find(namespace, pod).ok_or_else(|| format!("pod {pod:?} not found"))?;
    let c = state.container(container).and_then(|c| c.running_id());
    c.map(str::to_owned).ok_or_else(|| format!("container not found ({container:?})"))
}

/// stdin, stdout, stderr, tty: by the kubelet's names and by the API's.
fn streams(query: &Query) -> (bool, bool, bool, bool) {
    let any = |a: &str, b: &str| flag(query, a) || flag(query, b);
    let tty = flag(query, "tty");
    // A terminal has one output.
    (any("input", "stdin"), any("output", "stdout"), any("error", "stderr") && !tty, tty)
}

async fn pass_to(url: Result<String, String>, request: Request<Incoming>) -> Answer {
    let uri = match url.and_then(|u| u.parse::<Uri>().map_err(|e| e.to_string())) {
        Ok(uri) => uri,
        Err(message) => return text(StatusCode::INTERNAL_SERVER_ERROR, &message),
    };
    match tokio::time::timeout(Duration::from_secs(UPGRADE_SECONDS), splice(&uri, request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(message)) => text(StatusCode::BAD_GATEWAY, &message),
        Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "the runtime did not answer the upgrade"),
    }
}

/// Repeats the request to the runtime; if it upgrades, both connections become one.
async fn splice(uri: &Uri, mut request: Request<Incoming>) -> Result<Answer, String> {
    let failed = |e: &dyn std::fmt::Display| format!("error dialing the runtime's streaming server: {e}");
    let authority = uri.authority().ok_or("the runtime's URL has no host")?.to_string();
    let stream = TcpStream::connect(&authority).await.map_err(|e| failed(&e))?;
    stream.set_nodelay(true).ok();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tokio::spawn(connection.with_upgrades());
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut onward = Request::builder().method(request.method()).uri(path).body(Empty::<bytes::Bytes>::new()).map_err(|e| e.to_string())?;
    *onward.headers_mut() = request.headers().clone();
    onward.headers_mut().remove(http::header::CONTENT_LENGTH);
    onward.headers_mut().remove(http::header::TRANSFER_ENCODING);
    if let Ok(host) = authority.parse() {
        onward.headers_mut().insert(http::header::HOST, host);
    }
    let mut answer = sender.send_request(onward).await.map_err(|e| failed(&e))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed()));
    }
    let (theirs, ours) = (hyper::upgrade::on(&mut answer), hyper::upgrade::on(&mut request));
    let mut reply = Response::new(full(Vec::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = answer.headers().clone();
    tokio::spawn(async move {
        let (Ok(theirs), Ok(ours)) = tokio::join!(theirs, ours) else { return };
        copy_bidirectional(&mut TokioIo::new(theirs), &mut TokioIo::new(ours)).await.ok();
    });
    Ok(reply)
}
