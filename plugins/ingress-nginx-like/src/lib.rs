//! An ingress controller that understands what the nginx controller's users write: Ingress, IngressClass and the annotations under
//! `nginx.ingress.kubernetes.io/`.
//!
//! From all objects to one route table, as a pure function. Snippets of nginx's own language are refused, with a word about each; what is
//! wrong in one Ingress never keeps another from being served.
//!
//! `spec.config` of the Plugin, all optional: `{"classes": ["nginx"], "serveWithoutClass": true}`.

mod annotations;
mod backends;
mod class;
mod compile;
mod objects;
mod table;

use pintle_sdk::ingress::{Ingress, Object, RouteTable};
use pintle_sdk::{Env, export_ingress};

#[derive(Default)]
pub struct NginxLike;

impl Ingress for NginxLike {
    fn compile(&mut self, env: &dyn Env, objects: Vec<Object>) -> Result<RouteTable, String> {
        let config = class::Config::parse(&env.config())?;
        Ok(compile::compile(&config, &objects))
    }
}

export_ingress!(NginxLike);
