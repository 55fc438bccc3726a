//! Questions about names outside the cluster, passed to the machine's own resolvers: those in /etc/resolv.conf, in their order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

const FILE: &str = "/etc/resolv.conf";
/// The file is looked at again after this long.
const REREAD: Duration = Duration::from_secs(10);
/// How long one resolver may take; a pod's own resolver asks again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Resolvers that are tried.
const MOST_RESOLVERS: usize = 3;
/// Questions under way at once; more are refused.
const MOST_QUESTIONS: usize = 512;
/// The longest UDP answer, in bytes: what EDNS lets a client ask for.
const UDP_BYTES: usize = 65_535;

pub struct Forwarder {
    /// Addresses that lead back here.
    own: Vec<IpAddr>,
    seen: Mutex<Seen>,
    seats: Semaphore,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    modified: Option<SystemTime>,
    resolvers: Arc<Vec<SocketAddr>>,
}

impl Forwarder {
    pub fn new(own: Vec<IpAddr>) -> Self {
        Self { own, seen: Mutex::default(), seats: Semaphore::new(MOST_QUESTIONS) }
    }

    /// Passes a question on as it came. `None`: nobody answered.
    pub async fn ask(&self, question: &[u8], over_tcp: bool) -> Option<Message> {
        let _seat = self.seats.try_acquire().ok()?;
        let mut question = question.to_vec();
        let id: [u8; 2] = rand::random();
        question.get_mut(..2)?.copy_from_slice(&id);
        for resolver in self.resolvers().iter() {
            let answer = async { if over_tcp { ask_tcp(*resolver, &question).await } else { ask_udp(*resolver, &question).await } };
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(Some(message))) => return Some(message),
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver does not answer"),
            }
        }
        None
    }

    /// A question of our own.
    pub async fn look_up(&self, name: &Name, kind: RecordType) -> Option<Message> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind));
        self.ask(&message.to_vec().ok()?, false).await
    }

    fn resolvers(&self) -> Arc<Vec<SocketAddr>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.is_some_and(|at| at.elapsed() < REREAD) {
            return seen.resolvers.clone();
        }
        seen.at = Some(Instant::now());
        let modified = std::fs::metadata(FILE).and_then(|m| m.modified()).ok();
        if modified != seen.modified || modified.is_none() {
            seen.modified = modified;
            seen.resolvers = Arc::new(resolvers(&std::fs::read_to_string(FILE).unwrap_or_default(), &self.own));
        }
        seen.resolvers.clone()
    }
}

fn resolvers(file: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let named = file.lines().filter_map(|l| l.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse::<IpAddr>().ok());
    named.filter(|ip| !own.contains(ip)).map(|ip| SocketAddr::new(ip, 53)).take(MOST_RESOLVERS).collect()
}

async fn ask_udp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Option<Message>> {
    let local: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; UDP_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else was not sent in answer to this.
        if let Some(message) = read(&buffer[..length], question) {
            return Ok(Some(message));
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Option<Message>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(read(&answer, question))
}

/// The message, if it answers the question.
fn read(answer: &[u8], question: &[u8]) -> Option<Message> {
    if answer.get(..2) != question.get(..2) {
        return None;
    }
    let message = Message::from_vec(answer).ok()?;
    let asked = Message::from_vec(question).ok()?;
    (message.queries == asked.queries).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_a_file() {
        let file = "# comment\nsearch example.com\nnameserver 10.96.0.10\nnameserver 192.0.2.53 \nnameserver fd00::1\nnameserver gibberish\noptions ndots:1\n";
        let own = [IpAddr::from([10, 96, 0, 10])];
        assert_eq!(resolvers(file, &own), vec![SocketAddr::from(([192, 0, 2, 53], 53)), "[fd00::1]:53".parse().unwrap()]);
    }
}
