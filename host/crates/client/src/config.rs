//! Where the server is and who asks: everything that [`crate::HttpClient`] needs, read from wherever.

use std::path::PathBuf;

#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `https://host:port`, perhaps with a path.
    pub server: String,
    /// Certificates (PEM) that may sign the server's. `None`: those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// The name on the server's certificate, where it is not the host's.
    pub server_name: Option<String>,
    /// Accepts any server certificate.
    pub insecure: bool,
    pub credentials: Credentials,
    /// Acts as somebody else, if the server permits it.
    pub impersonate: Option<Impersonate>,
    /// The namespace that a command without one means.
    pub namespace: String,
    pub user_agent: String,
}

#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Certificate chain and key, both PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    pub token: Option<String>,
    /// Read again from time to time, because bound tokens are replaced. Wins over `token`.
    pub token_file: Option<PathBuf>,
    pub basic: Option<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Impersonate {
    pub user: String,
    pub groups: Vec<String>,
    pub uid: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("{path}: not a kubeconfig: {error}")]
    Parse { path: String, error: String },
    #[error("{what} {name:?} is not in the kubeconfig")]
    Missing { what: &'static str, name: String },
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("{what}: {error}")]
    Invalid { what: &'static str, error: String },
}

impl ConfigError {
    pub(crate) fn invalid(what: &'static str, error: impl ToString) -> Self {
        Self::Invalid { what, error: error.to_string() }
    }
}
