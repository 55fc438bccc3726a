//! Where everything lies under `--data-dir`, and the names derived from it that keep two clusters of a machine apart.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    /// Six hexadecimal digits of the data folder's path: part of the names of namespaces and cgroups.
    pub id: String,
}

impl Layout {
    /// Makes the folder where it is missing.
    pub fn create(data_dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("making {}", data_dir.display()))?;
        Self::open(data_dir)
    }

    pub fn open(data_dir: &Path) -> Result<Self> {
        let root = data_dir.canonicalize().with_context(|| format!("no cluster in {}", data_dir.display()))?;
        let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
        let id = digest.iter().take(3).map(|b| format!("{b:02x}")).collect();
        Ok(Self { root, id })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }
    pub fn state_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }
    pub fn server(&self) -> PathBuf {
        self.root.join("server")
    }
    pub fn log(&self, part: &str) -> PathBuf {
        self.root.join("log").join(format!("{part}.log"))
    }
    pub fn node(&self, name: &str) -> PathBuf {
        self.root.join("nodes").join(name)
    }
    pub fn node_kubeconfig(&self, name: &str) -> PathBuf {
        self.node(name).join("kubeconfig")
    }
    /// The cgroup of all of the cluster's own processes, and above the pods' cgroups.
    pub fn cgroup(&self) -> String {
        format!("pintle-{}", self.id)
    }
    /// The network namespace of a node after the first.
    pub fn netns(&self, ordinal: usize) -> String {
        format!("pintle-{}-{ordinal}", self.id)
    }
}
