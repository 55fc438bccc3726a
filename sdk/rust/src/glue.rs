//! What the worlds' glue has in common: the host's `env` as [`crate::Env`], a panic hook that leaves its message in the plugin's log before the
//! guest traps, and how objects are asked for and read. Macros, because each world has generated types of its own. Called by the worlds' modules only.

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

/// How a world with objects names resources and reads what it is answered.
#[cfg(any(feature = "admission", feature = "controller"))]
macro_rules! read_objects {
    ($bindings:ident) => {
        fn id(resource: $crate::controller::Resource) -> $bindings::pintle::host::types::ResourceId {
            let (group, version, name) = (resource.group.to_owned(), resource.version.to_owned(), resource.name.to_owned());
            $bindings::pintle::host::types::ResourceId { group, version, name }
        }

        fn parse(json: &[u8]) -> ::std::result::Result<::serde_json::Value, $crate::controller::ApiError> {
            ::serde_json::from_slice(json).map_err(|e| $crate::controller::ApiError::Other(format!("unreadable object: {e}")))
        }

        fn lift_summary(summary: $bindings::pintle::host::types::Summary) -> $crate::controller::Summary {
            let owner = |o: $bindings::pintle::host::types::Owner| $crate::controller::Owner {
                api_version: o.api_version,
                kind: o.kind,
                name: o.name,
                uid: o.uid,
            };
            $crate::controller::Summary {
                namespace: summary.namespace,
                name: summary.name,
                uid: summary.uid,
                revision: summary.revision,
                labels: summary.labels.into_iter().map(|pair| (pair.key, pair.value)).collect(),
                controller: summary.controller.map(owner),
                created: summary.created,
                deleting: summary.deleting,
                phase: summary.phase,
                ready: summary.ready,
                node: summary.node,
            }
        }
    };
}
#[cfg(any(feature = "admission", feature = "controller"))]
pub(crate) use read_objects;
