//! What is said of Plugin objects in the same words by the server's tables and by the command line.

use serde_json::Value;

use crate::object::ObjectExt;

/// Whose pods a scheduler places that names nobody.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// What `spec.schedulerName` and `spec.schedulerNames` come to: each once, in the order of the object.
pub fn scheduler_names<'a>(first: &'a str, others: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in std::iter::once(first).chain(others).filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { vec![DEFAULT_SCHEDULER] } else { names }
}

/// The scheduler names in whose decisions the plugin has a say, and whether it is theirs or beside another: `red,blue`,
/// `default-scheduler (extender)`. `None`: it is no scheduler.
pub fn serves(plugin: &Value) -> Option<String> {
    if plugin.str_at(&["spec", "world"]) != "scheduler" {
        return None;
    }
    let others = plugin.list_at(&["spec", "schedulerNames"]).iter().filter_map(Value::as_str);
    let names = scheduler_names(plugin.str_at(&["spec", "schedulerName"]), others);
    let role = if plugin.str_at(&["spec", "profile", "role"]) == "Extender" { " (extender)" } else { "" };
    Some(format!("{}{role}", names.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(spec: Value, expected: Expect) {
        expected.assert_eq(&format!("{:?}", serves(&json!({"spec": spec}))));
    }

    #[test]
    fn a_scheduler_serves_the_names_of_its_spec_once_each() {
        check(json!({"world": "controller"}), expect!["None"]);
        check(json!({"world": "scheduler"}), expect![[r#"Some("default-scheduler")"#]]);
        check(json!({"world": "scheduler", "schedulerNames": ["blue"]}), expect![[r#"Some("blue")"#]]);
        check(json!({"world": "scheduler", "schedulerName": "red", "schedulerNames": ["blue", "red"]}), expect![[r#"Some("red,blue")"#]]);
        check(json!({"world": "scheduler", "profile": {"role": "Extender"}}), expect![[r#"Some("default-scheduler (extender)")"#]]);
    }
}
