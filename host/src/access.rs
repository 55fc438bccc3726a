//! Who may ask the API server, and what is written down of it: the flags under upstream's names, turned into its configuration.

use std::path::PathBuf;

use anyhow::{Result, bail};
use pintle_apiserver::Config;
use pintle_apiserver::audit::Settings;
use pintle_apiserver::audit::log::{DEFAULT_BUFFERED_EVENTS, DEFAULT_MAX_EVENT_BYTES, LogSettings, Mode};
use pintle_apiserver::auth::Anonymous;

#[derive(clap::Args, Debug)]
pub struct AccessArgs {
    /// Whether requests without credentials are `system:anonymous` (`true`) or refused; without the flag only those for /healthz, /livez
    /// and /readyz are
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    #[command(flatten)]
    pub audit: AuditArgs,
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
        config.audit = self.audit.settings()?;
        Ok(())
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
