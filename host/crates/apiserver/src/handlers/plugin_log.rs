//! `plugins/NAME/log`: the last lines that a plugin logged. Whoever runs the plugins in this process hands a reader in; without one
//! there is no log to read.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use pintle_api::Status;

use super::Scope;
use crate::http::rest::Call;
use crate::http::{Body, Response};

/// Gives a plugin's last lines as text; `None` when no such plugin runs here.
pub type Reader = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Set once, after the server started and the plugins with it.
#[derive(Default)]
pub struct PluginLogs(OnceLock<Reader>);

impl PluginLogs {
    /// Later calls change nothing.
    pub fn serve_from(&self, reader: Reader) {
        let _ = self.0.set(reader);
    }
}

pub fn serve(call: &Call, scope: &Scope) -> Result<Response, Status> {
    call.core.read(&Scope { subresource: String::new(), ..scope.clone() })?;
    let reader = call.core.plugin_logs.0.get().ok_or_else(|| Status::unavailable("no plugins run in this server"))?;
    let text = reader(&scope.name).unwrap_or_default();
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}
