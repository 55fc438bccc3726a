//! What a definition's validation rules may cost at most, by its schema. A rule above the limit of one, or all of them above the limit of
//! a schema, are refused when the definition is written, for they would fail once somebody writes an object as large as may be.
//!
//! Rules that do not compile are told by [`super::rules`] and cost nothing here.

use pintle_api::Cause;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::seen::Types;
use pintle_cel::{Declared, most_cost};

/// For one rule.
const RULE_LIMIT: u64 = 10_000_000;
/// For all rules of a schema.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the rules that make a schema too expensive are named.
const NAMED: usize = 4;

/// What is too expensive.
pub fn faults(schema: &Value, path: &str) -> Vec<Cause> {
    let mut all = Costs::default();
    all.node(schema, path, Some(1), true);
    let Costs { total, mut rules, mut causes } = all;
    if total > SCHEMA_LIMIT {
        rules.retain(|(_, cost)| *cost >= SCHEMA_LIMIT / 100);
        rules.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        causes.extend(rules.into_iter().take(NAMED).map(|(place, _)| Cause::forbidden(place, why)));
        causes.push(Cause::forbidden(
            path,
            &exceeding("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", total, SCHEMA_LIMIT),
        ));
    }
    causes
}

#[derive(Default)]
struct Costs {
    total: u64,
    rules: Vec<(String, u64)>,
    causes: Vec<Cause>,
}

impl Costs {
    /// `times`: how many such values an object may hold; `None`: nothing bounds that.
    fn node(&mut self, schema: &Value, path: &str, times: Option<u64>, is_root: bool) {
        let rules = schema.list_at(&["x-kubernetes-validations"]);
        let is_root = is_root || schema.bool_at(&["x-kubernetes-embedded-resource"]);
        if !rules.is_empty()
            && let Some(declared) = Declared::of(schema, is_root)
        {
            let variables = [("self", &declared), ("oldSelf", &declared)];
            let types = Types::of(schema, is_root);
            for (i, rule) in rules.iter().enumerate() {
                let most = |text: &str| if text.trim().is_empty() { 0 } else { most_cost(text, &variables, types.for_rule(rule)).unwrap_or(0) };
                let place = |field: &str| format!("{path}.x-kubernetes-validations[{i}].{field}");
                let cost = most(rule.str_at(&["rule"])).saturating_mul(times.unwrap_or_else(|| declared.cardinality()));
                self.add(place("rule"), "estimated rule cost", cost);
                // A message is made once.
                self.add(place("messageExpression"), "estimated messageExpression cost", most(rule.str_at(&["messageExpression"])));
            }
        }
        for (name, property) in schema.map_at(&["properties"]).into_iter().flatten() {
            self.node(property, &format!("{path}.properties[{name}]"), times, false);
        }
        for (below, bound) in [("items", "maxItems"), ("additionalProperties", "maxProperties")] {
            if let Some(inner) = schema.get(below).filter(|inner| inner.is_object()) {
                let bound = schema.get(bound).and_then(Value::as_i64).map(|bound| u64::try_from(bound).unwrap_or(0));
                let times = times.and_then(|times| Some(times.saturating_mul(bound?)));
                self.node(inner, &format!("{path}.{below}"), times, false);
            }
        }
    }

    fn add(&mut self, place: String, what: &str, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost > RULE_LIMIT {
            self.causes.push(Cause::forbidden(place.clone(), &exceeding(what, cost, RULE_LIMIT)));
        }
        if cost > 0 {
            self.rules.push((place, cost));
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn exceeding(what: &str, cost: u64, limit: u64) -> String {
    let factor = match cost as f64 / limit as f64 {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        // "by factor of 1.0x" would say nothing.
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    let hint = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared";
    format!("{what} exceeds budget by factor of {factor} ({hint})")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value) -> Vec<String> {
        faults(schema, "schema").into_iter().map(|cause| format!("{}: {}", cause.field, cause.message.split(" (try").next().unwrap_or(""))).collect()
    }

    #[test]
    fn rules_without_bounds_are_refused() {
        let list = |rule: &str, bounds: Value| {
            let mut items = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": rule}]});
            bounds.as_object().unwrap().iter().for_each(|(k, v)| items[k] = v.clone());
            json!({"type": "object", "properties": {"l": items}})
        };
        let all = "self.all(x, self.all(y, x != y || true))";
        let refused = check(&list(all, json!({})));
        assert_eq!(
            refused[0],
            "schema.properties[l].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"
        );
        assert!(refused[1].ends_with("contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"), "{refused:?}");
        assert!(
            refused[2]
                .starts_with("schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget"),
            "{refused:?}"
        );
        let mut bounded = list(all, json!({"maxItems": 10}));
        bounded["properties"]["l"]["items"]["maxLength"] = json!(10);
        assert_eq!(check(&bounded), Vec::<String>::new());
        assert_eq!(check(&list("self.size() > 0 && self[0].startsWith('a')", json!({}))), Vec::<String>::new());
    }

    #[test]
    fn parts_of_a_split_text_are_cheap() {
        let rule = "self.split(':').size() != 2 || isIP(self.split(':')[0]) || self.split(':')[0].matches('[0-9]+')";
        let mut schema = json!({"type": "string", "maxLength": 21, "x-kubernetes-validations": [{"rule": rule}]});
        for most in [100, 10, 50] {
            schema = json!({"type": "array", "maxItems": most, "items": schema});
        }
        assert_eq!(check(&json!({"type": "object", "properties": {"l": schema}})), Vec::<String>::new());
    }

    #[test]
    fn a_rule_is_as_expensive_as_its_values_are_many() {
        let with = |bounds: Value| {
            let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 100, "x-kubernetes-validations": [{"rule": "self.contains('abc')"}]}});
            bounds.as_object().unwrap().iter().for_each(|(k, v)| list[k] = v.clone());
            json!({"type": "object", "properties": {"l": list}})
        };
        assert_eq!(check(&with(json!({}))).len(), 1, "{:?}", check(&with(json!({}))));
        assert_eq!(check(&with(json!({"maxItems": 1000}))), Vec::<String>::new());
    }
}
