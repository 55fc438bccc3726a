//! The event of the request that a task serves, for what lies deep below the http layer: admission notes in it what it found.
//!
//! Called by `http` and `local` around a request's work, and by admission. Without an audit log nothing is worked out.

use std::future::Future;
use std::sync::Arc;

use super::Record;

/// Of one annotation, as upstream has it for those of policies.
const MAX_VALUE_BYTES: usize = 10 << 10;

tokio::task_local! {
    static RECORD: Arc<Record>;
}

/// Runs the work of a request, whose annotations go to this record.
pub async fn within<W: Future + Unpin>(record: Option<Arc<Record>>, work: W) -> W::Output {
    match record {
        Some(record) => RECORD.scope(record, work).await,
        None => work.await,
    }
}

/// Adds to the event of the request that is served by this task. The value is made only where there is one; `None` adds nothing.
pub fn annotate(key: &str, value: impl FnOnce() -> Option<String>) {
    let _ = RECORD.try_with(|record| {
        if let Some(mut value) = value() {
            value.truncate(value.floor_char_boundary(MAX_VALUE_BYTES));
            record.annotate(key, value);
        }
    });
}
