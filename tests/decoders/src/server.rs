//! The API server's decoders: its files, not its crate. They are pure, and a fuzzer's build must not compile storage, TLS and runtime for them.

#![allow(dead_code)]

#[path = "../../../host/crates/apiserver/src/handlers/continue_token.rs"]
pub mod continue_token;
#[path = "../../../host/crates/apiserver/src/http/negotiate.rs"]
pub mod negotiate;
#[path = "../../../host/crates/apiserver/src/http/path.rs"]
pub mod path;
#[cfg(feature = "tokens")]
#[path = "../../../host/crates/apiserver/src/auth/tokens.rs"]
pub mod tokens;
#[path = "../../../host/crates/apiserver/src/http/yaml.rs"]
mod yaml;

/// What tokens.rs takes from its neighbours.
#[cfg(feature = "tokens")]
fn service_account_user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
