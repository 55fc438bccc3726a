//! What the worlds' glue has in common: the host's `env` as [`crate::Env`], and a panic hook that leaves its message in the
//! plugin's log before the guest traps. Called by the `export_*!` macros' expansions only.

/// Implements `Env` for a unit struct over one world's generated `env` imports.
#[cfg(any(feature = "admission", feature = "controller", feature = "scheduler", feature = "ingress"))]
macro_rules! host_env {
    ($bindings:ident) => {
        /// The host of a running plugin.
        pub struct Host;

        impl $crate::Env for Host {
            fn now_nanoseconds(&self) -> u64 {
                $bindings::pintle::host::env::now()
            }
            fn random(&self, count: u32) -> Vec<u8> {
                $bindings::pintle::host::env::random(count)
            }
            fn log(&self, level: $crate::Level, message: &str) {
                use $bindings::pintle::host::env::{self, Level};
                let level = match level {
                    $crate::Level::Debug => Level::Debug,
                    $crate::Level::Info => Level::Info,
                    $crate::Level::Warn => Level::Warn,
                    $crate::Level::Error => Level::Error,
                };
                env::log(level, message);
            }
            fn config(&self) -> String {
                $bindings::pintle::host::env::config()
            }
        }

        /// Sends panics to the plugin's log. Idempotent; every export calls it first.
        #[doc(hidden)]
        pub fn set_up() {
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| {
                std::panic::set_hook(Box::new(|panic| {
                    $crate::Env::log(&Host, $crate::Level::Error, &panic.to_string());
                }));
            });
        }
    };
}
#[cfg(any(feature = "admission", feature = "controller", feature = "scheduler", feature = "ingress"))]
pub(crate) use host_env;
