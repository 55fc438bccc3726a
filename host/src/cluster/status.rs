//! `pintle status`: what runs, from the state file and the processes themselves.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::layout::Layout;
use super::process;
use super::state::State;

#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// The folder given to `pintle up`
    #[arg(long, default_value = "/var/lib/pintle", env = "PINTLE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// `json`, or nothing for people
    #[arg(short, long)]
    pub output: Option<String>,
}

/// Exit status 0 when everything runs, 1 otherwise.
pub fn status(args: &StatusArgs) -> Result<bool> {
    let layout = Layout::open(&args.data_dir)?;
    let state = State::load(&layout)?;
    let lives = |pid: i32| process::alive(pid, &layout.cgroup());
    let server = state.server.as_ref();
    let all = server.is_some_and(|s| lives(s.pid)) && state.nodes.iter().all(|n| lives(n.pid));
    if args.output.as_deref() == Some("json") {
        let nodes: Vec<_> = state
            .nodes
            .iter()
            .map(|n| json!({"name": n.name, "runtimeEndpoint": n.runtime_endpoint, "pid": n.pid, "address": n.address, "netns": n.netns, "running": lives(n.pid)}))
            .collect();
        let server = server.map(|s| json!({"address": s.address, "pid": s.pid, "running": lives(s.pid)}));
        println!("{:#}", json!({"kubeconfig": layout.kubeconfig(), "server": server, "nodes": nodes, "running": all}));
        return Ok(all);
    }
    match server {
        Some(s) => println!("server  {}  pid {}  {}", s.address, s.pid, word(lives(s.pid))),
        None => println!("no cluster runs in {}", layout.root().display()),
    }
    for node in &state.nodes {
        println!("node    {}  {}  pid {}  {}", node.name, node.address, node.pid, word(lives(node.pid)));
    }
    if all {
        println!("\nexport KUBECONFIG={}", layout.kubeconfig().display());
    }
    Ok(all)
}

fn word(running: bool) -> &'static str {
    if running { "running" } else { "stopped" }
}
