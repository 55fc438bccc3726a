//! `plugins/NAME/log`: the last lines that a plugin logged. Whoever runs the plugins in this process hands a reader in; without one
//! there is no log to read. Of several servers the one that leads runs the plugins, and has their logs.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pintle_api::Status;

use super::Scope;
use crate::http::rest::Call;
use crate::http::{Body, Response};

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
    fn reader(&self) -> Option<Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub fn serve(call: &Call, scope: &Scope) -> Result<Response, Status> {
    call.core.read(&Scope { subresource: String::new(), ..scope.clone() })?;
    let reader = call.core.plugin_logs.reader().ok_or_else(|| Status::unavailable("no plugins run in this server"))?;
    let text = reader(&scope.name).unwrap_or_default();
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}
