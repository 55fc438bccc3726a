//! An ingress controller for pintle that has no routes yet: every request gets a 404, and every Ingress is called served. Fill
//! `hosts` and `backends`: a data plane in the host executes the table that `compile` returns; the plugin sees no request.

use pintle_sdk::Env;
use pintle_sdk::ingress::{Action, Ingress, Object, RouteTable};
use serde_json::Value;

#[derive(Default)]
pub struct Policy;

impl Ingress for Policy {
    fn compile(&mut self, _env: &dyn Env, objects: Vec<Object>) -> Result<RouteTable, String> {
        let mut table = RouteTable {
            fallback: Some(Action::Respond((404, "no such host\n".to_owned()))),
            ..RouteTable::default()
        };
        for object in objects.iter().filter(|o| o.kind == "Ingress") {
            let ingress: Value = serde_json::from_slice(&object.json).map_err(|error| error.to_string())?;
            let part = |field: &str| ingress["metadata"][field].as_str().unwrap_or_default();
            table.served.push(format!("{}/{}", part("namespace"), part("name")));
        }
        Ok(table)
    }
}

pintle_sdk::export_ingress!(Policy);
