//! Metrics of parts of the process that this crate does not know: whoever starts them hands a reader in.

use std::sync::{Arc, OnceLock};

/// Gives Prometheus text of a part of the process that this crate does not know.
pub type Reader = Arc<dyn Fn() -> String + Send + Sync>;

/// Other parts' metrics, served behind the server's own. Set once, after the server started and the part with it.
#[derive(Default)]
pub struct OtherMetrics(OnceLock<Reader>);

impl OtherMetrics {
    /// Later calls change nothing.
    pub fn serve_from(&self, reader: Reader) {
        let _ = self.0.set(reader);
    }

    pub fn render(&self) -> String {
        self.0.get().map(|reader| reader()).unwrap_or_default()
    }
}
