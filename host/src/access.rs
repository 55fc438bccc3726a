//! Who may ask the API server, and what is written down of it: the flags under upstream's names, turned into its configuration.

use anyhow::Result;
use pintle_apiserver::Config;
use pintle_apiserver::auth::Anonymous;

#[derive(clap::Args, Debug, Default)]
pub struct AccessArgs {
    /// Whether requests without credentials are `system:anonymous` (`true`) or refused; without the flag only those for /healthz, /livez
    /// and /readyz are
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
}

impl AccessArgs {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        match self.anonymous_auth {
            Some(true) => config.anonymous = Anonymous::On,
            Some(false) => config.anonymous = Anonymous::Off,
            None => {}
        }
        Ok(())
    }
}
