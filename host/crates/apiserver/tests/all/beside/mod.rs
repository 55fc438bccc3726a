//! What upstream's API server does with the same requests, recorded, and whether this server does so too.
//!
//! A table of requests is sent to both. Upstream's side lies in the files `*.upstream`; they are made anew by
//! `PINTLE_UPSTREAM_BIN=DIR cargo test -p pintle-apiserver --test all -- --ignored beside::record`, where DIR has kube-apiserver and etcd.

mod access;
mod audit;
mod client;
mod openapi;
mod sealed;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use pintle_apiserver::{Config, Server, Storage};

use client::Place;

/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(60);

/// This server over memory, and where it is.
async fn pintle(dir: &std::path::Path, change: impl FnOnce(&mut Config)) -> (Server, Place) {
    let mut config = Config { storage: Storage::Memory, ..Config::new(dir, "127.0.0.1:0".parse().unwrap()) };
    change(&mut config);
    let server = Server::start(config).await.unwrap();
    let place = Place::new(dir, server.address());
    (server, place)
}

fn recorded(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/all/beside").join(format!("{name}.upstream"))
}

/// Every line of ours that is not upstream's, and the other way round.
fn compare(name: &str, ours: &str) {
    // For whoever wants to look at the whole.
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.ours")), ours).unwrap();
    let upstreams = std::fs::read_to_string(recorded(name)).unwrap();
    let (ours, upstreams): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), upstreams.lines().collect());
    // Our answers where they differ for a reason, which stands above each.
    let explained = std::fs::read_to_string(recorded(name).with_extension("different")).unwrap_or_default();
    let explained: Vec<&str> = explained.lines().collect();
    let mut differences = Vec::new();
    for at in 0..ours.len().max(upstreams.len()) {
        let (our, upstream) = (ours.get(at).unwrap_or(&"nothing"), upstreams.get(at).unwrap_or(&"nothing"));
        if our != upstream && !explained.contains(our) {
            differences.push(format!("upstream: {upstream}\nours:     {our}\n"));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), upstreams.len(), differences.join("\n"));
}
