//! `exec` and `attach`: a command in a container, or the container's own process, with this terminal's streams.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};
use termion::raw::IntoRawMode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::channels::{self, Receiver, Sender};
use super::session::{Global, Session, object_path, with_query};
use super::workloads::{container_of, one_pod};

/// Bytes of standard input sent in one message, and messages that wait.
const CHUNK_BYTES: usize = 16 << 10;
const WAITING_CHUNKS: usize = 8;

#[derive(clap::Args, Debug)]
pub struct ExecArgs {
    /// POD or TYPE/NAME
    pub target: String,
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal
    #[arg(short, long)]
    pub tty: bool,
    #[arg(short, long)]
    pub quiet: bool,
    /// COMMAND [ARGUMENT...]
    #[arg(last = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct AttachArgs {
    /// POD or TYPE/NAME
    pub target: String,
    #[arg(short, long)]
    pub container: Option<String>,
    #[arg(short = 'i', long)]
    pub stdin: bool,
    #[arg(short, long)]
    pub tty: bool,
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Clone, Copy)]
pub struct Streams {
    pub stdin: bool,
    pub tty: bool,
}

pub async fn exec(args: ExecArgs) -> Result<ExitCode> {
    if args.command.is_empty() {
        bail!("you must specify at least one command for the container");
    }
    let session = Session::open(&args.global)?;
    let pod = one_pod(&session, &args.target).await?;
    refuse_finished(&pod)?;
    let container = container_of(&pod, args.container.as_deref(), args.quiet)?;
    let streams = Streams { stdin: args.stdin, tty: args.tty }.checked();
    let mut query = streams.query(&container);
    query.extend(args.command.iter().map(|word| ("command", word.as_str())));
    let path = path(&session, &pod, "exec", &query).await?;
    run(&session, &path, streams).await
}

pub async fn attach(args: AttachArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let pod = one_pod(&session, &args.target).await?;
    attach_to(&session, &pod, args.container.as_deref(), Streams { stdin: args.stdin, tty: args.tty }, args.quiet).await
}

pub async fn attach_to(session: &Session, pod: &Value, container: Option<&str>, streams: Streams, quiet: bool) -> Result<ExitCode> {
    refuse_finished(pod)?;
    let container = container_of(pod, container, quiet)?;
    let streams = streams.checked();
    if streams.stdin && !quiet {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let path = path(session, pod, "attach", &streams.query(&container)).await?;
    run(session, &path, streams).await
}

async fn path(session: &Session, pod: &Value, verb: &str, query: &[(&str, &str)]) -> Result<String> {
    let def = session.discovery().await?.find("pods")?;
    Ok(with_query(&object_path(def, Some(pod.namespace()), pod.name(), verb), query))
}

fn refuse_finished(pod: &Value) -> Result<()> {
    match pod.str_at(&["status", "phase"]) {
        phase @ ("Succeeded" | "Failed") => {
            bail!("cannot exec into a container in a completed pod; current phase is {phase}")
        }
        _ => Ok(()),
    }
}

impl Streams {
    fn checked(mut self) -> Self {
        if self.tty && (!self.stdin || !std::io::stdin().is_terminal()) {
            if self.stdin {
                eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
            }
            self.tty = self.stdin && std::io::stdin().is_terminal();
        }
        self
    }

    fn query(self, container: &str) -> Vec<(&str, &str)> {
        let flag = |set: bool| if set { "true" } else { "" };
        vec![("container", container), ("stdin", flag(self.stdin)), ("stdout", "true"), ("stderr", flag(!self.tty)), ("tty", flag(self.tty))]
    }
}

async fn run(session: &Session, path: &str, streams: Streams) -> Result<ExitCode> {
    let (sender, receiver) = channels::open(session, path, &format!("{}, {}", channels::V5, channels::V4)).await?;
    // Raw until dropped: keys go to the container as they are pressed.
    let raw = if streams.tty { Some(std::io::stdout().into_raw_mode()?) } else { None };
    let input = tokio::spawn(feed(sender, streams));
    let outcome = receive(receiver).await;
    input.abort();
    drop(raw);
    outcome
}

/// Standard input and the terminal's size, until the task is ended.
async fn feed(mut sender: Sender, streams: Streams) -> Result<()> {
    let mut input = if streams.stdin { standard_input() } else { mpsc::channel(1).1 };
    let mut resized = signal(SignalKind::window_change())?;
    if streams.tty {
        send_size(&mut sender).await?;
    }
    let mut open = streams.stdin;
    loop {
        tokio::select! {
            chunk = input.recv(), if open => match chunk {
                Some(chunk) => sender.send(channels::STDIN, &chunk).await?,
                None => {
                    open = false;
                    sender.end(channels::STDIN).await?;
                }
            },
            _ = resized.recv(), if streams.tty => send_size(&mut sender).await?,
            // Dropping the sender would close the connection under the output.
            _ = std::future::pending::<()>() => {}
        }
    }
}

/// Read on a thread of its own: a read from a terminal cannot be called off.
fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (to, from) = mpsc::channel(WAITING_CHUNKS);
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            if to.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    from
}

async fn send_size(sender: &mut Sender) -> Result<()> {
    let Ok((width, height)) = termion::terminal_size() else { return Ok(()) };
    sender.send(channels::RESIZE, json!({"Width": width, "Height": height}).to_string().as_bytes()).await
}

async fn receive(mut receiver: Receiver) -> Result<ExitCode> {
    while let Some((channel, data)) = receiver.next().await? {
        match channel {
            channels::STDOUT => super::print::bytes(&data),
            channels::STDERR => {
                let mut err = std::io::stderr().lock();
                err.write_all(&data).and_then(|()| err.flush()).ok();
            }
            channels::ERROR => return outcome(&data),
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The last word: a Status, with the command's exit code among its causes.
fn outcome(data: &[u8]) -> Result<ExitCode> {
    let Ok(status) = serde_json::from_slice::<Value>(data) else { bail!("{}", String::from_utf8_lossy(data)) };
    if status["status"] == "Success" {
        return Ok(ExitCode::SUCCESS);
    }
    let causes = status.list_at(&["details", "causes"]);
    let code = causes.iter().find(|c| c["reason"] == "ExitCode").and_then(|c| c.str_at(&["message"]).parse::<u8>().ok());
    match code {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Ok(ExitCode::from(code))
        }
        None => bail!("{}", status.str_at(&["message"])),
    }
}
