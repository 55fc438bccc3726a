//! Numbered byte streams over one WebSocket, as exec, attach and port-forward speak them: the first byte of a message is its channel.

use anyhow::{Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pintle_api::{Reason, Status};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::session::{Refused, Session};

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;
/// Version 5 only: the byte after it names the channel that ends.
const CLOSE: u8 = 255;

pub const V4: &str = "v4.channel.k8s.io";
pub const V5: &str = "v5.channel.k8s.io";

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub struct Sender {
    sink: SplitSink<Socket, Message>,
    knows_close: bool,
}

pub struct Receiver(SplitStream<Socket>);

/// `protocols` in order of preference.
pub async fn open(session: &Session, path: &str, protocols: &str) -> Result<(Sender, Receiver)> {
    let mut key = [0u8; 16];
    key[..8].copy_from_slice(&std::process::id().to_le_bytes().repeat(2));
    key[8..].copy_from_slice(&(jiff::Timestamp::now().as_nanosecond() as u64).to_le_bytes());
    let mut headers = HeaderMap::new();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&STANDARD.encode(key))?);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocols)?);
    let refused = |status: Status| match status.reason {
        Reason::Forbidden | Reason::NotFound | Reason::Unauthorized => anyhow::Error::new(Refused { status, while_doing: String::new() }),
        _ => anyhow!("unable to upgrade connection: {}", status.message),
    };
    let upgrade = session.client.upgrade(Method::GET, path, headers).await.map_err(refused)?;
    let chosen = upgrade.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let socket = WebSocketStream::from_raw_socket(upgrade.io, Role::Client, None).await;
    let (sink, stream) = socket.split();
    Ok((Sender { sink, knows_close: chosen == V5 }, Receiver(stream)))
}

impl Sender {
    pub async fn send(&mut self, channel: u8, data: &[u8]) -> Result<()> {
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(channel);
        message.extend_from_slice(data);
        Ok(self.sink.send(Message::Binary(message.into())).await?)
    }

    /// Says that nothing more comes on a channel; false where the protocol has no word for it.
    pub async fn end(&mut self, channel: u8) -> Result<bool> {
        if self.knows_close {
            self.sink.send(Message::Binary(vec![CLOSE, channel].into())).await?;
        }
        Ok(self.knows_close)
    }

    pub async fn close(&mut self) {
        self.sink.close().await.ok();
    }
}

impl Receiver {
    /// The next piece, or `None` at the end. Empty pieces, with which streams are opened, are left out.
    pub async fn next(&mut self) -> Result<Option<(u8, Bytes)>> {
        loop {
            let message = match self.0.next().await {
                None => return Ok(None),
                Some(Ok(message)) => message,
                Some(Err(error)) => return ended(error),
            };
            let mut data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => Bytes::from(text),
                Message::Close(Some(frame)) if !frame.reason.is_empty() => bail!("{}", frame.reason),
                Message::Close(_) => return Ok(None),
                _ => continue,
            };
            if data.len() > 1 {
                let channel = data.split_to(1)[0];
                return Ok(Some((channel, data)));
            }
        }
    }
}

/// A server that goes without a farewell ended the stream all the same.
fn ended(error: tokio_tungstenite::tungstenite::Error) -> Result<Option<(u8, Bytes)>> {
    use tokio_tungstenite::tungstenite::Error;
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) => Ok(None),
        Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        other => Err(anyhow!("{other}")),
    }
}
