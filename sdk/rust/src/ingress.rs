//! The ingress world: objects in, a route table out.
//!
//! The types are the WIT's own (`wit/ingress/ingress.wit` documents each field); natively they are ordinary structs. A native data
//! plane in the host executes the table; the plugin sees no request.

pub use bindings::pintle::host::types::Pair;
pub use bindings::pintle::ingress::types::{
    Action, Affinity, Backend, Balance, BasicAuth, Canary, Certificate, Cors, Endpoint, Object, PathMatch, Problem, Protocol, Route, RouteTable,
    VirtualHost,
};

use crate::Env;

pub trait Ingress: Default {
    /// The whole table from all objects. A fault in one object is a [`Problem`]; an error refuses the change, and the table before stays.
    fn compile(&mut self, env: &dyn Env, objects: Vec<Object>) -> Result<RouteTable, String>;
}

/// Makes a type that implements [`Ingress`] the component's ingress controller.
#[macro_export]
macro_rules! export_ingress {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::ingress::{Ingress, bindings, set_up};
            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<$policy> = ::std::default::Default::default();
            }
            struct Component;
            impl bindings::Guest for Component {
                fn compile(objects: Vec<$crate::ingress::Object>) -> Result<$crate::ingress::RouteTable, String> {
                    set_up();
                    POLICY.with_borrow_mut(|p| p.compile(&$crate::ingress::Host, objects))
                }
            }
    bindings::export_world!(Component with_types_in bindings);
        };
    };
}

impl Pair {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Route {
    /// A route with nothing but its way. For more: `Route { force_tls: true, ..Route::new("/", PathMatch::Prefix, action) }`.
    pub fn new(path: impl Into<String>, path_match: PathMatch, action: Action) -> Self {
        Self {
            path: path.into(),
            path_match,
            action,
            rewrite: None,
            force_tls: false,
            canaries: Vec::new(),
            auth: None,
            allow_sources: Vec::new(),
            deny_sources: Vec::new(),
            max_body_bytes: 0,
            requests_per_second: 0,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            cors: None,
            source: String::new(),
        }
    }
}

impl Backend {
    /// With what nginx would do where nothing is said: in turn, over HTTP, 5 s to connect and 60 s between two reads, two more attempts.
    pub fn new(name: impl Into<String>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            balance: Balance::RoundRobin,
            protocol: Protocol::Http,
            affinity: None,
            connect_timeout_milliseconds: 5_000,
            read_timeout_milliseconds: 60_000,
            retries: 2,
        }
    }
}

/// Without routes: 404 everywhere. The type is generated, so that there is nothing to write a derive at.
#[allow(clippy::derivable_impls)]
impl Default for RouteTable {
    fn default() -> Self {
        Self { hosts: Vec::new(), backends: Vec::new(), certificates: Vec::new(), fallback: None, served: Vec::new(), problems: Vec::new() }
    }
}

crate::glue::host_env!(bindings);

#[doc(hidden)]
#[allow(unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/host", "../../wit/ingress"],
        world: "pintle:ingress/ingress",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_ingress_world",
        generate_all,
    });
    pub use export_ingress_world as export_world;
}
