//! The one static program inside pintle's own images: `pause` holds a pod's namespaces open, `hello` is the demo server.
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
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        )?;
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
