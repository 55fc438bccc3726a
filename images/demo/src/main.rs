//! The one static program inside pintle's own images: `pause` holds a pod's namespaces open, `hello` is the demo server, and under
//! the name `wget` it fetches a page, to try names and Services from inside a pod.
//!
//! As process 1 of a container it has no default signal actions, so both ways handle SIGTERM themselves, and `pause`
//! reaps the orphans of a pod that shares its process namespace.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A connection that says nothing for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest request line and header line that is read.
const MAX_LINE_BYTES: u64 = 8 * 1024;

fn main() -> std::io::Result<()> {
    let name = std::env::args().next().unwrap_or_default();
    if name.ends_with("wget") {
        return fetch(std::env::args().skip(1));
    }
    match std::env::args().nth(1).as_deref() {
        Some("pause") => pause(),
        Some("hello") => hello(),
        _ => {
            eprintln!("usage: pintle-demo pause|hello");
            std::process::exit(2);
        }
    }
}

fn pause() -> std::io::Result<()> {
    for signal in Signals::new([SIGTERM, SIGINT, SIGCHLD])?.forever() {
        if signal != SIGCHLD {
            break;
        }
        reap();
    }
    Ok(())
}

/// Collects every child that has ended: orphans of the pod's other containers, of which std knows nothing.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}

/// What `wget -qO- URL` does. A shell's own, linked statically against glibc, cannot look up names.
fn fetch(args: impl Iterator<Item = String>) -> std::io::Result<()> {
    let invalid = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, why.to_owned());
    let url = args.last().ok_or_else(|| invalid("usage: wget -qO- URL"))?;
    let rest = url.strip_prefix("http://").unwrap_or(&url);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = TcpStream::connect(&address)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let status = read_line(&mut reader)?.unwrap_or_default();
    while read_line(&mut reader)?.is_some_and(|header| !header.is_empty()) {}
    std::io::copy(&mut reader, &mut std::io::stdout())?;
    if status.split(' ').nth(1) != Some("200") {
        eprintln!("server answered: {status}");
        std::process::exit(1);
    }
    Ok(())
}

fn hello() -> std::io::Result<()> {
    let version = std::env::var("HELLO_VERSION").unwrap_or_else(|_| "dev".to_owned());
    let port = std::env::var("PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(8080_u16);
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            println!("stopping");
            std::process::exit(0);
        }
    });
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    println!("hello {version} on {host} listens on port {port}");
    for stream in listener.incoming().flatten() {
        let (version, host) = (version.clone(), host.clone());
        std::thread::spawn(move || {
            if let Err(error) = serve(stream, &version, &host) {
                eprintln!("connection: {error}");
            }
        });
    }
    Ok(())
}

/// Answers requests of one connection until it closes.
fn serve(stream: TcpStream, version: &str, host: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_line(&mut reader)? {
        let mut close = false;
        while let Some(header) = read_line(&mut reader)?.filter(|h| !h.is_empty()) {
            close |= header.eq_ignore_ascii_case("connection: close");
        }
        let path = request.split_ascii_whitespace().nth(1).unwrap_or("/");
        println!("{peer} {request}");
        let body = format!("Hello from pintle {version}\npod: {host}\npath: {path}\n");
        let connection = if close { "close" } else { "keep-alive" };
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}", body.len())?;
        if close {
            break;
        }
    }
    Ok(())
}

fn read_line(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = std::io::Read::take(reader, MAX_LINE_BYTES).read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}
