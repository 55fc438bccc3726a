//! `pintle down`: stops the cluster and takes back everything it put on the machine. Works on a half-started one, too.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::layout::Layout;
use super::state::State;
use super::{images, machine, network, process};

/// How long a part may take to end by itself.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);
const NODE_PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
pub struct DownArgs {
    /// The folder given to `pintle up`
    #[arg(long, default_value = "/var/lib/pintle", env = "PINTLE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Delete the data too
    #[arg(long)]
    pub purge: bool,
}

pub fn down(args: &DownArgs) -> Result<()> {
    if !args.data_dir.exists() {
        println!("no cluster in {}", args.data_dir.display());
        return Ok(());
    }
    let layout = Layout::open(&args.data_dir)?;
    let state = State::load(&layout)?;
    let cgroup = layout.cgroup();
    for node in &state.nodes {
        process::stop(node.pid, &cgroup, NODE_PATIENCE);
    }
    if let Some(server) = &state.server {
        process::stop(server.pid, &cgroup, SERVER_PATIENCE);
    }
    // Containers, shims and containerd: killed through the cgroups, which none of them can leave.
    machine::remove_cgroups(&cgroup)?;
    for node in &state.nodes {
        pintle_node::network::clean_up(node.netns.as_deref()).with_context(|| format!("cleaning up the network of {}", node.name))?;
        images::forget_runtime(&node.folder);
    }
    network::remove(&state);
    State::default().save(&layout)?;
    if args.purge {
        std::fs::remove_dir_all(layout.root()).with_context(|| format!("deleting {}", layout.root().display()))?;
    }
    println!("the cluster is down{}", if args.purge { ", its data deleted" } else { "" });
    Ok(())
}
