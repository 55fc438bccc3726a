//! An ingress controller that serves nothing: it answers 404 and calls every Ingress served. For the host's tests.

use pintle_sdk::ingress::{Action, Ingress, Object, Problem, RouteTable};
use pintle_sdk::{Env, export_ingress};
use serde_json::Value;

#[derive(Default)]
pub struct Nothing;

impl Ingress for Nothing {
    fn compile(&mut self, env: &dyn Env, objects: Vec<Object>) -> Result<RouteTable, String> {
        let mut table = RouteTable {
            fallback: Some(Action::Respond((404, if env.config().is_empty() { "nothing here\n".to_owned() } else { env.config() }))),
            ..RouteTable::default()
        };
        for object in objects.iter().filter(|o| o.kind == "Ingress") {
            let value: Value = serde_json::from_slice(&object.json).map_err(|e| e.to_string())?;
            let part = |key: &str| value["metadata"][key].as_str().unwrap_or_default().to_owned();
            if value["metadata"]["annotations"]["probe"] == "refuse" {
                return Err("asked to refuse".to_owned());
            }
            if value["spec"]["rules"].is_null() {
                table.problems.push(Problem {
                    kind: object.kind.clone(),
                    namespace: part("namespace"),
                    name: part("name"),
                    reason: "NoRules".to_owned(),
                    message: "no rules".to_owned(),
                });
            }
            table.served.push(format!("{}/{}", part("namespace"), part("name")));
        }
        Ok(table)
    }
}

export_ingress!(Nothing);
