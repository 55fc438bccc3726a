//! `port-forward`: local ports that lead into a pod. Each local connection gets an upgraded connection of its own.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use pintle_api::object::ObjectExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::channels;
use super::print;
use super::session::{Global, Session, object_path, with_query};
use super::workloads::{one_pod, pods_of};

const CHUNK_BYTES: usize = 32 << 10;
/// Channels of the one port of a connection.
const DATA: u8 = 0;
const ERROR: u8 = 1;

#[derive(clap::Args, Debug)]
pub struct PortForwardArgs {
    /// POD or TYPE/NAME
    pub target: String,
    /// LOCAL:REMOTE, PORT, or :REMOTE for any free local port
    #[arg(required = true)]
    pub ports: Vec<String>,
    /// Local addresses to listen on
    #[arg(long, value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: PortForwardArgs) -> Result<ExitCode> {
    let session = Arc::new(Session::open(&args.global)?);
    let (pod, service) = target(&session, &args.target).await?;
    if pod["status"]["phase"] != "Running" {
        bail!("unable to forward port because pod is not running. Current status={}", pod.str_at(&["status", "phase"]));
    }
    let def = session.discovery().await?.find("pods")?;
    let base = object_path(def, Some(pod.namespace()), pod.name(), "portforward");
    let mut tasks = Vec::new();
    for words in &args.ports {
        let (local, remote) = ports(words, &pod, service.as_ref())?;
        for address in addresses(&args.address)? {
            let listener = match TcpListener::bind((address, local)).await {
                Ok(listener) => listener,
                // A machine without IPv6 still has the other localhost.
                Err(_) if address.is_ipv6() && args.address == ["localhost"] => continue,
                Err(error) => return Err(error).with_context(|| format!("unable to listen on port {local}")),
            };
            print::line(&format!("Forwarding from {} -> {remote}", listener.local_addr()?));
            let (session, path) = (session.clone(), with_query(&base, &[("ports", &remote.to_string())]));
            tasks.push(tokio::spawn(serve(session, listener, path, remote)));
        }
    }
    tokio::signal::ctrl_c().await?;
    tasks.iter().for_each(|t| t.abort());
    Ok(ExitCode::SUCCESS)
}

/// The pod, and the Service where one was named: its ports are then meant.
async fn target(session: &Session, word: &str) -> Result<(Value, Option<Value>)> {
    if let Some((kind, name)) = word.split_once('/')
        && session.discovery().await?.find(kind)?.kind == "Service"
    {
        let def = session.discovery().await?.find("services")?;
        let service = session.get_object(def, Some(&session.namespace), name).await?;
        let pods = pods_of(session, &service).await?;
        let pod = pods.into_iter().next().ok_or_else(|| anyhow!("no pods for service {name:?}"))?;
        return Ok((pod, Some(service)));
    }
    Ok((one_pod(session, word).await?, None))
}

/// The local port and the pod's.
fn ports(words: &str, pod: &Value, service: Option<&Value>) -> Result<(u16, u16)> {
    let (local, remote) = words.split_once(':').unwrap_or((words, words));
    let remote_port = match service {
        Some(service) => target_port(service, pod, remote)?,
        None => named_port(pod, remote)?,
    };
    let local = match local {
        "" => 0,
        same if same == remote && local.parse::<u16>().is_err() => remote_port,
        local => local.parse().map_err(|_| anyhow!("error parsing local port {local:?}"))?,
    };
    Ok((local, remote_port))
}

fn target_port(service: &Value, pod: &Value, port: &str) -> Result<u16> {
    let found = service
        .list_at(&["spec", "ports"])
        .iter()
        .find(|p| p.str_at(&["name"]) == port || p.i64_at(&["port"]).is_some_and(|n| n.to_string() == port));
    let Some(found) = found else { bail!("Service {} does not have a service port {port}", service.name()) };
    match &found["targetPort"] {
        Value::String(name) => named_port(pod, name),
        Value::Number(number) => Ok(u16::try_from(number.as_u64().unwrap_or_default())?),
        _ => Ok(u16::try_from(found.i64_at(&["port"]).unwrap_or_default())?),
    }
}

fn named_port(pod: &Value, port: &str) -> Result<u16> {
    if let Ok(number) = port.parse() {
        return Ok(number);
    }
    let all = pod.list_at(&["spec", "containers"]).iter().flat_map(|c| c.list_at(&["ports"]));
    let found = all.clone().find(|p| p.str_at(&["name"]) == port).and_then(|p| p.i64_at(&["containerPort"]));
    found.and_then(|n| u16::try_from(n).ok()).ok_or_else(|| anyhow!("Pod {:?} does not have a named port {port:?}", pod.name()))
}

fn addresses(words: &[String]) -> Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for word in words {
        if word == "localhost" {
            found.extend(["127.0.0.1".parse::<IpAddr>()?, "::1".parse()?]);
        } else {
            found.push(word.parse().map_err(|_| anyhow!("invalid address {word:?}"))?);
        }
    }
    Ok(found)
}

async fn serve(session: Arc<Session>, listener: TcpListener, path: String, remote: u16) {
    while let Ok((stream, _)) = listener.accept().await {
        print::line(&format!("Handling connection for {}", listener.local_addr().map_or(0, |a| a.port())));
        let (session, path) = (session.clone(), path.clone());
        tokio::spawn(async move {
            if let Err(error) = forward(&session, stream, &path).await {
                eprintln!("an error occurred forwarding to port {remote}: {error:#}");
            }
        });
    }
}

async fn forward(session: &Session, stream: TcpStream, path: &str) -> Result<()> {
    let (mut sender, mut receiver) = channels::open(session, path, channels::V4).await?;
    let (mut read, mut write) = stream.into_split();
    let upward = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if sender.send(DATA, &buffer[..count]).await.is_err() {
                break;
            }
        }
        sender
    };
    let downward = async move {
        // Each channel begins with the port's number, two bytes.
        let mut skip = [2usize; 2];
        while let Some((channel, mut data)) = receiver.next().await? {
            let Some(left) = skip.get_mut(usize::from(channel)) else { continue };
            let cut = (*left).min(data.len());
            *left -= cut;
            let data = data.split_off(cut);
            match channel {
                DATA => write.write_all(&data).await?,
                ERROR if !data.is_empty() => bail!("{}", String::from_utf8_lossy(&data)),
                _ => {}
            }
        }
        write.shutdown().await.ok();
        Ok(())
    };
    tokio::pin!(downward);
    tokio::select! {
        done = &mut downward => done,
        // The local side has said all; the answer may still come.
        mut sender = upward => {
            let done = tokio::time::timeout(LINGER, &mut downward).await.unwrap_or(Ok(()));
            sender.close().await;
            done
        }
    }
}

/// After the local side closed: the protocol has no half-closed connection, so the answer gets this long.
const LINGER: std::time::Duration = std::time::Duration::from_secs(30);
