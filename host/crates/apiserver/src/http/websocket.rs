//! Answers over WebSocket: a body that flows one way, as frames. Logs and watches are asked for so by browsers and by
//! clients that cannot read a chunked answer.
//!
//! What the client sends is read and forgotten, but for its wish to close. Streams that flow both ways (exec, attach, port
//! forwarding) are passed on to the kubelet instead and never come here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use pintle_api::{Reason, Status};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::body::BoxError;
use super::{Body, Response};

/// Of what a client sends, which is thrown away.
const MAX_HEARD_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;
/// With which a token is sent by clients that cannot set headers; it names no protocol.
const TOKEN_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    Binary,
    /// Text that holds base64.
    Base64,
    /// Text as it is, one frame a line.
    Lines,
    /// Each frame of four bytes that say its length, and so many bytes.
    Delimited,
}

pub type Chunks = BoxStream<'static, Result<Bytes, BoxError>>;

/// A client's wish for a WebSocket, taken from its request, which is a plain one from then on.
pub struct Wish {
    upgrade: OnUpgrade,
    accept: String,
    protocols: Vec<String>,
}

impl Wish {
    /// `None`: the client asked for no WebSocket.
    pub fn take(parts: &mut Parts) -> Result<Option<Self>, Status> {
        if !super::proxy::is_upgrade(&parts.headers) || !names_websocket(&parts.headers) {
            return Ok(None);
        }
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let accept = key.ok_or_else(|| Status::bad_request("the header Sec-WebSocket-Key is missing"))?;
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or_else(|| Status::bad_request("this connection cannot be upgraded"))?;
        let protocols = protocols(&parts.headers);
        for name in [
            header::UPGRADE,
            header::CONNECTION,
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_EXTENSIONS,
            header::SEC_WEBSOCKET_PROTOCOL,
        ] {
            parts.headers.remove(name);
        }
        Ok(Some(Self { upgrade, accept, protocols }))
    }

    /// Sends bytes by the first protocol that both sides know.
    pub fn bytes(self, chunks: Chunks) -> Result<Response, Status> {
        let known = |name: &str| match name {
            "" | "binary.k8s.io" => Some(Frames::Binary),
            "base64.binary.k8s.io" => Some(Frames::Base64),
            _ => None,
        };
        let asked = if self.protocols.is_empty() { vec![String::new()] } else { self.protocols.clone() };
        let Some((protocol, frames)) = asked.iter().find_map(|name| Some((name.clone(), known(name)?))) else {
            let why =
                format!("requested protocol(s) are not supported: [{}]; supports [binary.k8s.io base64.binary.k8s.io]", self.protocols.join(" "));
            return Err(Status::new(403, Reason::Forbidden, why));
        };
        Ok(self.begin(&protocol, frames, chunks))
    }

    /// Sends each line as one text; a protocol that the client names is taken as it is.
    pub fn lines(self, chunks: Chunks) -> Response {
        let protocol = self.protocols.first().cloned().unwrap_or_default();
        self.begin(&protocol, Frames::Lines, chunks)
    }

    /// Sends each frame of a protobuf watch as one binary message, without the length before it.
    pub fn frames(self, chunks: Chunks) -> Response {
        let protocol = self.protocols.first().cloned().unwrap_or_default();
        self.begin(&protocol, Frames::Delimited, chunks)
    }

    fn begin(self, protocol: &str, frames: Frames, chunks: Chunks) -> Response {
        let mut response = Response::new(Body::Full(Bytes::new()));
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = HeaderValue::from_str(protocol).ok().filter(|p| !p.is_empty()) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        tokio::spawn(async move {
            if let Err(why) = pump(self.upgrade, frames, chunks).await {
                tracing::debug!(%why, "a WebSocket ended");
            }
        });
        response
    }
}

/// Sends until the chunks end or the client does; then closes.
async fn pump(upgrade: OnUpgrade, frames: Frames, mut chunks: Chunks) -> Result<(), BoxError> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_HEARD_BYTES)).max_frame_size(Some(MAX_HEARD_BYTES));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await?), Role::Server, Some(config)).await;
    let (mut out, mut heard) = socket.split();
    loop {
        tokio::select! {
            chunk = chunks.next() => {
                let Some(chunk) = chunk else { break };
                for message in messages(frames, &chunk?) {
                    out.feed(message).await?;
                }
                out.flush().await?;
            }
            word = heard.next() => match word {
                Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None => return Ok(()),
                Some(Err(why)) => return Err(why.into()),
                Some(Ok(_)) => {}
            },
        }
    }
    Ok(out.close().await?)
}

fn messages(frames: Frames, chunk: &Bytes) -> Vec<Message> {
    match frames {
        Frames::Binary => vec![Message::Binary(chunk.clone())],
        Frames::Base64 => vec![Message::Text(STANDARD.encode(chunk).into())],
        Frames::Delimited => {
            let mut rest = chunk.clone();
            std::iter::from_fn(|| delimited(&mut rest)).collect()
        }
        Frames::Lines => {
            chunk.split_inclusive(|b| *b == b'\n').map(|line| Message::Text(String::from_utf8_lossy(line).into_owned().into())).collect()
        }
    }
}

/// The next frame behind its length of four bytes.
fn delimited(rest: &mut Bytes) -> Option<Message> {
    let length = u32::from_be_bytes(rest.get(..LENGTH_BYTES)?.try_into().ok()?) as usize;
    if rest.len() < LENGTH_BYTES + length {
        return None;
    }
    let mut frame = rest.split_to(LENGTH_BYTES + length);
    Some(Message::Binary(frame.split_off(LENGTH_BYTES)))
}

fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|v| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("websocket")))
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|p| p.trim().to_owned()).filter(|p| !p.is_empty() && !p.starts_with(TOKEN_PREFIX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_frames() {
        let check = |frames, text: &'static str| -> Vec<String> {
            let shown = |m: Message| format!("{} {}", if m.is_text() { "text" } else { "binary" }, m.into_text().unwrap());
            messages(frames, &Bytes::from_static(text.as_bytes())).into_iter().map(shown).collect()
        };
        assert_eq!(check(Frames::Binary, "a\nb\n"), ["binary a\nb\n"]);
        assert_eq!(check(Frames::Base64, "abc"), ["text YWJj"]);
        assert_eq!(check(Frames::Delimited, "\0\0\0\u{1}a\0\0\0\u{2}bc"), ["binary a", "binary bc"]);
        assert_eq!(check(Frames::Lines, "{1}\n{2}\n"), ["text {1}\n", "text {2}\n"]);
    }

    #[test]
    fn a_token_is_no_protocol() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("base64url.bearer.authorization.k8s.io.abc, binary.k8s.io"));
        assert_eq!(protocols(&headers), ["binary.k8s.io"]);
    }
}
