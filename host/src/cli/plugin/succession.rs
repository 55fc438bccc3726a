//! Who takes over what a plugin does when it is paused, read off the Plugin objects as the server's seats have it: of the plugins of one task the
//! newest serves, the others stand by.

use pintle_api::object::ObjectExt;
use pintle_api::plugin::scheduler_names;
use serde_json::Value;

use super::text;

/// A plugin's tasks without it, for a person to read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// Task by task who serves it.
    pub taken: Vec<String>,
    /// What nobody would do.
    pub orphaned: Vec<String>,
}

/// What becomes of the plugin's tasks without it; `all` may have the plugin itself.
pub fn without(plugin: &Value, all: &[Value]) -> Succession {
    let mut found = Succession::default();
    let others = || all.iter().filter(|other| other.name() != plugin.name() && runs(other));
    let rank = |other: &&Value| (text(other, &["metadata", "creationTimestamp"]).to_owned(), other.name().to_owned());
    match text(plugin, &["spec", "world"]) {
        "scheduler" if is_extender(plugin) => {
            let profiles = schedulers(plugin).join(", ");
            found.orphaned.push(format!("pods of {profiles} would be decided without its filters and scores"));
        }
        "scheduler" => {
            for scheduler in schedulers(plugin) {
                let of_it =
                    |other: &&Value| text(other, &["spec", "world"]) == "scheduler" && !is_extender(other) && schedulers(other).contains(&scheduler);
                match others().filter(of_it).max_by_key(rank) {
                    Some(next) => found.taken.push(format!("{} places the pods of {scheduler}", next.name())),
                    None => found.orphaned.push(format!("nobody would place the pods of {scheduler}")),
                }
            }
        }
        "ingress" => match others().filter(|other| text(other, &["spec", "world"]) == "ingress").max_by_key(rank) {
            Some(next) => found.taken.push(format!("{} makes the route table", next.name())),
            None => found.orphaned.push("nobody would make the route table".to_owned()),
        },
        "admission" => found.orphaned.push("what it is asked about would be written without it".to_owned()),
        _ => found.orphaned.push("nobody would reconcile in its place".to_owned()),
    }
    found
}

/// It has a seat: it decides somewhere, or stands by.
fn runs(plugin: &Value) -> bool {
    plugin["spec"]["paused"] != true && matches!(text(plugin, &["status", "stage"]), "Live" | "Standby")
}

fn is_extender(plugin: &Value) -> bool {
    text(plugin, &["spec", "profile", "role"]) == "Extender"
}

fn schedulers(plugin: &Value) -> Vec<&str> {
    let others = plugin.list_at(&["spec", "schedulerNames"]).iter().filter_map(Value::as_str);
    scheduler_names(text(plugin, &["spec", "schedulerName"]), others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn plugin(name: &str, created: &str, stage: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec, "status": {"stage": stage}})
    }

    fn check(leaving: Value, others: &[Value], expected: Expect) {
        let all: Vec<Value> = others.iter().chain([&leaving]).cloned().collect();
        let Succession { taken, orphaned } = without(&leaving, &all);
        expected.assert_eq(&format!("taken: {taken:?}\norphaned: {orphaned:?}\n"));
    }

    #[test]
    fn the_newest_that_stands_by_takes_a_scheduler_name() {
        let leaving = || plugin("new", "3", "Live", json!({"world": "scheduler"}));
        check(
            leaving(),
            &[],
            expect![[r#"
                taken: []
                orphaned: ["nobody would place the pods of default-scheduler"]
            "#]],
        );
        let others = [
            plugin("oldest", "1", "Standby", json!({"world": "scheduler"})),
            plugin("older", "2", "Standby", json!({"world": "scheduler"})),
            plugin("paused", "4", "Standby", json!({"world": "scheduler", "paused": true})),
            plugin("broken", "5", "Failed", json!({"world": "scheduler"})),
            plugin("beside", "6", "Live", json!({"world": "scheduler", "profile": {"role": "Extender"}})),
            plugin("elsewhere", "7", "Live", json!({"world": "scheduler", "schedulerName": "batch"})),
            plugin("routes", "8", "Live", json!({"world": "ingress"})),
        ];
        check(
            leaving(),
            &others,
            expect![[r#"
                taken: ["older places the pods of default-scheduler"]
                orphaned: []
            "#]],
        );
    }

    #[test]
    fn of_several_scheduler_names_each_needs_somebody() {
        let leaving = plugin("new", "3", "Live", json!({"world": "scheduler", "schedulerNames": ["red", "blue"]}));
        // It lives by another name and stands by for this one.
        let other = plugin("other", "1", "Live", json!({"world": "scheduler", "schedulerNames": ["green", "blue"]}));
        check(
            leaving,
            &[other],
            expect![[r#"
                taken: ["other places the pods of blue"]
                orphaned: ["nobody would place the pods of red"]
            "#]],
        );
    }

    #[test]
    fn ingress_controllers_stand_by_and_others_do_not() {
        let of = |name: &str, world: &str| plugin(name, "1", "Live", json!({"world": world}));
        check(
            of("a", "ingress"),
            &[plugin("b", "0", "Standby", json!({"world": "ingress"}))],
            expect![[r#"
                taken: ["b makes the route table"]
                orphaned: []
            "#]],
        );
        check(
            of("a", "controller"),
            &[of("b", "controller")],
            expect![[r#"
                taken: []
                orphaned: ["nobody would reconcile in its place"]
            "#]],
        );
        check(
            of("a", "admission"),
            &[of("b", "admission")],
            expect![[r#"
                taken: []
                orphaned: ["what it is asked about would be written without it"]
            "#]],
        );
        check(
            plugin("a", "1", "Live", json!({"world": "scheduler", "profile": {"role": "Extender"}, "schedulerNames": ["red", "blue"]})),
            &[],
            expect![[r#"
                taken: []
                orphaned: ["pods of red, blue would be decided without its filters and scores"]
            "#]],
        );
    }
}
