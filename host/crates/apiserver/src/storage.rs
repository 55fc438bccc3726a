//! Which store holds the cluster, and where in it the API server's keys are.

use std::path::Path;
use std::sync::Arc;

use pintle_store::Store;

/// Every key of the API server begins with it.
pub const ROOT: &str = "/registry/";

/// The embedded engine's, in the data folder.
pub const STORE_FILE: &str = "store.redb";

#[derive(Clone, Debug)]
pub enum Storage {
    /// A file in the data directory.
    Embedded,
    /// Memory alone: for tests.
    Memory,
    Etcd(Vec<String>),
}

pub async fn open_store(storage: &Storage, data_dir: &Path) -> Result<Arc<dyn Store>, pintle_store::Error> {
    match storage {
        Storage::Memory => Ok(pintle_store::embedded::memory()),
        Storage::Embedded => {
            let path = data_dir.join(STORE_FILE);
            let opened = tokio::task::spawn_blocking(move || pintle_store::embedded::open(path, pintle_store::embedded::Options::default())).await;
            Ok(opened.map_err(|e| pintle_store::Error::Unavailable(e.to_string()))??)
        }
        Storage::Etcd(endpoints) => Ok(pintle_store::etcd::open(pintle_store::etcd::Options::new(endpoints)).await?),
    }
}
