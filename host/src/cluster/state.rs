//! `cluster.json`: what runs, so that `status` and `down` know without asking anybody.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::layout::Layout;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    pub server: Option<ServerState>,
    pub nodes: Vec<NodeState>,
    /// Machine settings as they were before, put back by `down`: name under /proc/sys and value.
    pub sysctls: Vec<(String, String)>,
    /// The network namespace that `up` ran in, as `/proc/PID/ns/net` names it.
    pub network_namespace: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerState {
    pub address: String,
    pub pid: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    pub name: String,
    pub pid: i32,
    /// `unix:///...`
    pub runtime_endpoint: String,
    pub address: String,
    /// `None`: the namespace that `up` ran in.
    pub netns: Option<String>,
    /// Where the node's files lie.
    pub folder: PathBuf,
}

impl State {
    pub fn load(layout: &Layout) -> Result<Self> {
        match std::fs::read(layout.state_file()) {
            Ok(text) => serde_json::from_slice(&text).context("cluster.json is damaged"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("reading cluster.json"),
        }
    }

    /// Written aside and renamed, so that a crash leaves the old or the new one.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        let file = layout.state_file();
        let aside = file.with_extension("new");
        std::fs::write(&aside, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&aside, &file).context("writing cluster.json")
    }
}
