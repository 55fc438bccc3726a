//! `plugins/NAME/log`: the last lines that a plugin logged. Whoever runs the plugins in this process hands a reader in; without one
//! there is no log to read. Of several servers the one that leads runs the plugins, and has their logs.

use std::sync::{Arc, Mutex, PoisonError};

/// Gives a plugin's last lines as text; `None` when no such plugin runs here.
pub type Reader = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Set while plugins run in this process.
#[derive(Default)]
pub struct PluginLogs(Mutex<Option<Reader>>);

impl PluginLogs {
    /// From now on the logs are read here.
    pub fn serve_from(&self, reader: Reader) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    }
    pub fn reader(&self) -> Option<Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
