//! Who may ask the API server, and what is written down of it: the flags under upstream's names, turned into its configuration.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use pintle_apiserver::Config;
use pintle_apiserver::admission::pod_security::config::Configuration as PodSecurity;
use pintle_apiserver::audit::Settings;
use pintle_apiserver::audit::log::{DEFAULT_BUFFERED_EVENTS, DEFAULT_MAX_EVENT_BYTES, LogSettings, Mode};
use pintle_apiserver::auth::Anonymous;
use pintle_apiserver::auth::oidc::config::{Configuration, Flags};

#[derive(clap::Args, Debug)]
pub struct AccessArgs {
    /// Whether requests without credentials are `system:anonymous` (`true`) or refused; without the flag only those for /healthz, /livez
    /// and /readyz are
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// An AuthenticationConfiguration: issuers of tokens with their rules, and anonymous requests; instead of the --oidc flags
    #[arg(long, conflicts_with_all = ["oidc_issuer_url", "oidc_client_id"])]
    pub authentication_config: Option<PathBuf>,
    #[command(flatten)]
    pub audit: AuditArgs,
    /// An AdmissionConfiguration: what Pod Security asks by default, and who is exempt
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    /// An EncryptionConfiguration: which resources lie encrypted in the store, with which keys
    #[arg(long)]
    pub encryption_provider_config: Option<PathBuf>,
    /// Read the encryption configuration again when it changes
    #[arg(long, requires = "encryption_provider_config")]
    pub encryption_provider_config_automatic_reload: bool,
}

#[derive(clap::Args, Debug)]
pub struct OidcArgs {
    /// Whose tokens count besides this server's: the URL of an OpenID issuer, https
    #[arg(long, requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for
    #[arg(long, requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// The claim that names the user
    #[arg(long, default_value = "sub")]
    pub oidc_username_claim: String,
    /// What goes before the name; default: the issuer's URL and `#`, but nothing before the claim `email`; `-`: nothing
    #[arg(long, allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    /// The claim that names the user's groups: a text or a list of them
    #[arg(long)]
    pub oidc_groups_claim: Option<String>,
    #[arg(long)]
    pub oidc_groups_prefix: Option<String>,
    /// `claim=value` that a token must have; repeat for more
    #[arg(long)]
    pub oidc_required_claim: Vec<String>,
    /// Algorithms of signatures that count: RS256, RS384, RS512, ES256, ES384, PS256, PS384, PS512
    #[arg(long, value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// Who vouches for the issuer's certificate; default: the machine's authorities
    #[arg(long)]
    pub oidc_ca_file: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub struct AuditArgs {
    /// An audit.k8s.io/v1 Policy: which requests are logged, and how much of them
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// Where audit events are written; `-`: standard output
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes after which the audit log is turned over; 0: never
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// Old audit logs that are kept; 0: all
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Days that old audit logs are kept; 0: for ever
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// Pack old audit logs
    #[arg(long)]
    pub audit_log_compress: bool,
    /// `batch` (written aside, what does not fit into the buffer is lost), `blocking` or `blocking-strict`
    #[arg(long, default_value = "batch")]
    pub audit_log_mode: String,
    /// Events that may wait to be written in the mode `batch`
    #[arg(long, default_value_t = DEFAULT_BUFFERED_EVENTS)]
    pub audit_log_batch_buffer_size: usize,
    /// `json` is the only one
    #[arg(long, default_value = "json")]
    pub audit_log_format: String,
    /// Take the objects from events that are too large
    #[arg(long)]
    pub audit_log_truncate_enabled: bool,
    /// Bytes from which on an event is too large
    #[arg(long, default_value_t = DEFAULT_MAX_EVENT_BYTES)]
    pub audit_log_truncate_max_event_size: usize,
}

impl AccessArgs {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        match self.anonymous_auth {
            Some(true) => config.anonymous = Anonymous::On,
            Some(false) => config.anonymous = Anonymous::Off,
            None => {}
        }
        let flags = self.oidc.flags();
        if !flags.is_empty() {
            config.oidc.push(Arc::new(flags.read()?));
        }
        if let Some(file) = &self.authentication_config {
            let read = Configuration::load(file)?;
            config.oidc.extend(read.issuers.into_iter().map(Arc::new));
            match (read.anonymous, self.anonymous_auth) {
                (Some(_), Some(_)) => {
                    bail!("--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
                }
                (Some(anonymous), None) => config.anonymous = anonymous,
                (None, _) => {}
            }
        }
        config.audit = self.audit.settings()?;
        if let Some(file) = &self.admission_control_config_file {
            config.pod_security = PodSecurity::load(file)?;
        }
        config.encryption.file = self.encryption_provider_config.clone();
        config.encryption.reload = self.encryption_provider_config_automatic_reload;
        Ok(())
    }
}

impl OidcArgs {
    fn flags(&self) -> Flags {
        Flags {
            issuer_url: self.oidc_issuer_url.clone().unwrap_or_default(),
            client_id: self.oidc_client_id.clone().unwrap_or_default(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone().unwrap_or_default(),
            groups_prefix: self.oidc_groups_prefix.clone().unwrap_or_default(),
            required_claims: self.oidc_required_claim.clone(),
            signing_algs: self.oidc_signing_algs.clone(),
            ca_file: self.oidc_ca_file.clone(),
        }
    }
}

impl AuditArgs {
    fn settings(&self) -> Result<Settings> {
        let mode = match self.audit_log_mode.as_str() {
            "batch" => Mode::Batch,
            "blocking" => Mode::Blocking,
            "blocking-strict" => Mode::BlockingStrict,
            other => bail!("invalid audit log mode {other:?}, allowed modes are \"batch,blocking,blocking-strict\""),
        };
        if self.audit_log_format != "json" {
            bail!("invalid audit log format {:?}, allowed formats are \"json\"", self.audit_log_format);
        }
        if self.audit_log_path.is_some() && self.audit_policy_file.is_none() {
            tracing::warn!("there is no audit policy file, so nothing is written to the audit log");
        }
        let log = LogSettings {
            path: self.audit_log_path.clone().unwrap_or_default(),
            mode,
            max_size: self.audit_log_maxsize,
            max_backups: self.audit_log_maxbackup,
            max_age: self.audit_log_maxage,
            compress: self.audit_log_compress,
            buffered_events: self.audit_log_batch_buffer_size,
            max_event_bytes: self.audit_log_truncate_enabled.then_some(self.audit_log_truncate_max_event_size),
        };
        Ok(Settings { policy_file: self.audit_policy_file.clone(), log })
    }
}
