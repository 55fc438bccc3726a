//! `x-kubernetes-validations`: the rules in CEL that a custom kind's schema puts on its values.
//!
//! Every rule sees its value as `self`, and on an update what the value was as `oldSelf`, where the two can be told to be the
//! same: by field, by key of a map, by the keys of a list of type map. A value that an update leaves as it was is not judged
//! again. All rules of one object share a budget; who exceeds it ends the checking.

use std::collections::BTreeMap;

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, CauseKind};
use serde_json::{Map, Value};

use super::seen::{Types, shape_of};
use crate::apiextensions::shown;
use pintle_cel::{BUDGET_EXCEEDED, Budget, CALL_EXCEEDED, Expression, Kind, Scope, Shape, Variables};

/// The rules of a schema's node and of those below it.
#[derive(Default)]
pub struct Rules {
    own: Vec<Rule>,
    /// The node's JSON type, as messages show it.
    kind: String,
    fields: BTreeMap<String, Rules>,
    /// Of a list's items, or a map's values.
    each: Option<Box<Rules>>,
    /// Of a list of type map.
    keys: Vec<String>,
    /// How the node's own rules see it.
    shape: Shape,
    /// Whether anything is to be checked from here on down.
    any: bool,
}

struct Rule {
    text: String,
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
    field_path: String,
    /// Looks at the value before; not judged without one.
    compares: bool,
    /// Takes the value before as one that may not be there.
    optional: bool,
}

/// A value and what it was before.
#[derive(Clone, Copy)]
struct Change<'a> {
    new: &'a Value,
    old: Option<&'a Value>,
}

impl Rules {
    /// The rules of a schema that was let in. Of which types its values are was looked at then.
    pub fn of(schema: &Value) -> Self {
        Self::node(schema, "", false, false, &mut Vec::new())
    }

    /// What is wrong with the rules of a schema.
    pub fn faults(schema: &Value, path: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        Self::node(schema, path, true, true, &mut causes);
        causes
    }

    fn node(schema: &Value, path: &str, is_root: bool, is_typed: bool, causes: &mut Vec<Cause>) -> Self {
        let mut own = Vec::new();
        let is_root = is_root || schema.bool_at(&["x-kubernetes-embedded-resource"]);
        let has_rules = !schema.list_at(&["x-kubernetes-validations"]).is_empty();
        let types = if has_rules && is_typed { Types::of(schema, is_root) } else { Types::default() };
        for (i, rule) in schema.list_at(&["x-kubernetes-validations"]).iter().enumerate() {
            if rule.str_at(&["rule"]).trim().is_empty() {
                // Refused when the definition is written.
                continue;
            }
            match Rule::of(rule, types.for_rule(rule)) {
                Ok(rule) => own.push(rule),
                Err((field, why)) => {
                    let at = format!("{path}.x-kubernetes-validations[{i}].{field}");
                    causes.push(Cause::invalid_shown(at, &shown::rule(rule), &why));
                }
            }
        }
        let fields: BTreeMap<String, Self> = schema
            .map_at(&["properties"])
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), Self::node(schema, &format!("{path}.properties[{name}]"), false, is_typed, causes)))
            .collect();
        let below = ["items", "additionalProperties"].into_iter().find_map(|key| Some((key, schema.get(key).filter(|s| s.is_object())?)));
        let each = below.map(|(key, schema)| Box::new(Self::node(schema, &format!("{path}.{key}"), false, is_typed, causes)));
        let is_map_list = schema.str_at(&["x-kubernetes-list-type"]) == "map";
        let keys =
            schema.list_at(&["x-kubernetes-list-map-keys"]).iter().filter(|_| is_map_list).filter_map(|k| k.as_str().map(str::to_owned)).collect();
        let any = !own.is_empty() || fields.values().any(|f| f.any) || each.as_ref().is_some_and(|e| e.any);
        let shape = if own.is_empty() { Shape::default() } else { shape_of(schema) };
        Self { own, kind: schema.str_at(&["type"]).to_owned(), fields, each, keys, shape, any }
    }

    /// Whether there is any rule.
    pub fn any(&self) -> bool {
        self.any
    }

    /// What is wrong with an object.
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self.any {
            let budget = Budget::default();
            self.walk(Change { new: object, old }, "", &budget, &mut causes);
        }
        causes
    }

    fn walk(&self, change: Change<'_>, path: &str, budget: &Budget, causes: &mut Vec<Cause>) {
        let Change { new, old } = change;
        // Who ran out has been told.
        if !self.any || old == Some(new) || new.is_null() || budget.is_closed() {
            return;
        }
        if !self.own.is_empty() {
            self.judge_own(change, path, budget, causes);
        }
        match new {
            Value::Object(map) => self.walk_fields(map, old, path, budget, causes),
            Value::Array(items) => {
                let Some(each) = &self.each else { return };
                for (i, item) in items.iter().enumerate() {
                    let was = Change { new: item, old: old.and_then(|old| self.same_item(item, old)) };
                    each.walk(was, &format!("{path}[{i}]"), budget, causes);
                }
            }
            _ => {}
        }
    }

    fn judge_own(&self, change: Change<'_>, path: &str, budget: &Budget, causes: &mut Vec<Cause>) {
        let Change { new, old } = change;
        let mut variables = Variables::within(budget.clone());
        variables.set_shaped("self", new, &self.shape);
        if let Some(old) = old {
            variables.set_shaped("oldSelf", old, &self.shape);
        }
        for rule in self.own.iter().filter(|rule| old.is_some() || !rule.compares || rule.optional) {
            if rule.optional {
                variables.set_optional("oldSelf", old, &self.shape);
            } else if let Some(old) = old {
                variables.set_shaped("oldSelf", old, &self.shape);
            }
            let cause = rule.judge(&variables, new, &self.kind, path);
            if cause.as_ref().is_some_and(|cause| cause.message.contains(CALL_EXCEEDED)) {
                budget.replace(0);
            }
            causes.extend(cause);
            if budget.is_closed() {
                return;
            }
        }
    }

    fn walk_fields(&self, map: &Map<String, Value>, old: Option<&Value>, path: &str, budget: &Budget, causes: &mut Vec<Cause>) {
        for (name, value) in map {
            let was = Change { new: value, old: old.and_then(|o| o.get(name)) };
            match (self.fields.get(name), &self.each) {
                (Some(node), _) if path.is_empty() => node.walk(was, name, budget, causes),
                (Some(node), _) => node.walk(was, &format!("{path}.{name}"), budget, causes),
                (None, Some(each)) => each.walk(was, &format!("{path}[{name}]"), budget, causes),
                (None, None) => {}
            }
        }
    }

    /// The item of the old list that has the same keys.
    fn same_item<'v>(&self, item: &Value, old: &'v Value) -> Option<&'v Value> {
        if self.keys.is_empty() {
            return None;
        }
        old.as_array()?.iter().find(|o| self.keys.iter().all(|key| o.get(key) == item.get(key)))
    }
}

impl Rule {
    /// Where it is wrong: the field, and why.
    fn of(rule: &Value, scope: &Scope) -> Result<Self, (&'static str, String)> {
        let text = |key: &str| rule.str_at(&[key]).to_owned();
        let compile = |text: &str, why: &str| Expression::compile_in(text, scope).map_err(|fault| format!("{why}compilation failed: {fault}"));
        let expression = compile(&text("rule"), "").map_err(|why| ("rule", why))?;
        expression.must_give(&[Kind::Bool]).map_err(|_| ("rule", "cel expression must evaluate to a bool".to_owned()))?;
        let of_message = |why: String| ("messageExpression", why);
        let message = Some(text("messageExpression")).filter(|m| !m.is_empty());
        let message_expression = message.map(|m| compile(&m, "messageExpression ")).transpose().map_err(of_message)?;
        if message_expression.as_ref().is_some_and(|m| m.must_give(&[Kind::String]).is_err()) {
            return Err(of_message("messageExpression must evaluate to a string".to_owned()));
        }
        Ok(Self {
            compares: expression.refers_to("oldSelf"),
            text: text("rule"),
            expression,
            message: text("message"),
            message_expression,
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional: rule.bool_at(&["optionalOldSelf"]),
        })
    }

    fn judge(&self, variables: &Variables<'_>, value: &Value, kind: &str, path: &str) -> Option<Cause> {
        let detail = match self.expression.is_true(variables) {
            Ok(true) => return None,
            Ok(false) => self.said(variables),
            // Whatever the rule's reason and path are.
            Err(why) => {
                let text = if self.message.is_empty() { &self.text } else { &self.message };
                let detail = match why.as_str() {
                    BUDGET_EXCEEDED => why,
                    CALL_EXCEEDED => format!("'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {text}"),
                    why => format!("{why} evaluating rule: {text}"),
                };
                return Some(Cause::invalid(place(path, ""), &Value::from(kind), &detail));
            }
        };
        let field = place(path, &self.field_path);
        let is_plain = !value.is_object() && !value.is_array();
        Some(match self.reason.as_str() {
            "FieldValueRequired" => Cause::required(field, &detail),
            "FieldValueForbidden" => Cause::forbidden(field, &detail),
            // Only a plain value is told.
            "FieldValueDuplicate" if is_plain => Cause::new(CauseKind::FieldValueDuplicate, field, format!("Duplicate value: {value}")),
            "FieldValueDuplicate" => Cause::new(CauseKind::FieldValueDuplicate, field, "Duplicate value".to_owned()),
            _ if is_plain => Cause::invalid(field, value, &detail),
            _ => Cause::new(CauseKind::FieldValueInvalid, field, format!("Invalid value: {detail}")),
        })
    }

    fn said(&self, variables: &Variables<'_>) -> String {
        let made = self.message_expression.as_ref().and_then(|m| m.evaluate(variables).ok());
        match made.as_ref().and_then(Value::as_str).map(str::trim).filter(|m| !m.is_empty() && !m.contains('\n')) {
            Some(made) => made.to_owned(),
            None if !self.message.is_empty() => self.message.clone(),
            None => format!("failed rule: {}", self.text.trim()),
        }
    }
}

/// Where a fault is told: the whole object is Go's nil path.
fn place(path: &str, below: &str) -> String {
    match format!("{path}{below}").trim_start_matches('.') {
        "" => "<nil>".to_owned(),
        place => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: Value, old: Option<Value>) -> Vec<String> {
        let schema = json!({
            "type": "object",
            "x-kubernetes-validations": [{"rule": "self.metadata.name != 'bad'"}],
            "properties": {"spec": {
                "type": "object",
                "x-kubernetes-validations": [
                    {"rule": "!has(self.namespace) || self.namespace == self.__namespace__"},
                    {"rule": "self.min <= self.max", "message": "min is above max", "fieldPath": ".min"},
                    {"rule": "self.class == oldSelf.class", "message": "class is immutable", "reason": "FieldValueForbidden"},
                    {"rule": "!has(self.a__dash__b) || self.a__dash__b * 2.0 < 10.0", "messageExpression": "'a-b is ' + string(self.a__dash__b)"},
                ],
                "properties": {
                    "when": {"type": "string", "format": "date-time", "x-kubernetes-validations": [{"rule": "self > timestamp('2026-01-01T00:00:00Z') && self.getDayOfMonth() > 0"}]},
                    "date": {"type": "string", "format": "date", "x-kubernetes-validations": [{"rule": "self.getFullYear() == 2026"}]},
                    "every": {"type": "string", "format": "duration", "x-kubernetes-validations": [{"rule": "self <= duration('1h')"}]},
                    "key": {"type": "string", "format": "byte", "x-kubernetes-validations": [{"rule": "self == b'abc' && size(self) == 3"}]},
                    "namespace": {"type": "string", "maxLength": 9},
                    "min": {"type": "integer"}, "max": {"type": "integer"}, "class": {"type": "string"}, "a-b": {"type": "number"},
                    "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                        "type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer",
                            "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "may only grow"}]}},
                    }},
                },
            }},
        });
        assert_eq!(Rules::faults(&schema, "schema").len(), 0);
        Rules::of(&schema).check(&object, old.as_ref()).into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn object(spec: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn rules_are_judged() {
        assert_eq!(check(object(json!({"min": 1, "max": 2, "class": "x", "namespace": "n"})), None), Vec::<String>::new());
        let faults = check(object(json!({"min": 3, "max": 2, "class": "x", "a-b": 7})), None);
        assert_eq!(faults, ["spec.min: Invalid value: min is above max", "spec: Invalid value: a-b is 7"]);
        let formats = |when: &str, date: &str, every: &str, key: &str| {
            check(object(json!({"min": 1, "max": 2, "when": when, "date": date, "every": every, "key": key})), None).len()
        };
        assert_eq!(formats("2026-02-02T00:00:00Z", "2026-05-05", "30m", "YWJj"), 0);
        assert_eq!(formats("2025-02-02T00:00:00Z", "2025-05-05", "90m", "YWJjZA=="), 4);
        assert_eq!(check(json!({"metadata": {"name": "bad"}}), None), ["<nil>: Invalid value: failed rule: self.metadata.name != 'bad'"]);
    }

    #[test]
    fn updates_are_compared() {
        let old = object(json!({"min": 3, "max": 2, "class": "x", "items": [{"name": "i", "size": 4}, {"name": "j", "size": 1}]}));
        assert_eq!(check(old.clone(), Some(old.clone())), Vec::<String>::new());
        let mut new = old.clone();
        new["spec"]["min"] = json!(1);
        new["spec"]["class"] = json!("y");
        new["spec"]["items"] = json!([{"name": "j", "size": 2}, {"name": "i", "size": 3}, {"name": "k", "size": 0}]);
        let faults = check(new, Some(old));
        assert_eq!(faults, ["spec: Forbidden: class is immutable", "spec.items[1].size: Invalid value: 3: may only grow"]);
    }

    #[test]
    fn what_does_not_compile_or_is_not_known() {
        let schema = |rule: &str| {
            json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}], "properties": {
                "x": {"type": "string"}, "n": {"type": "integer"}, "y": {"type": "array", "items": {"type": "string"}}, "namespace": {"type": "string"}, "9": {"type": "string"},
            }})
        };
        let said =
            |rule: &str| Rules::faults(&schema(rule), "s").pop().map(|cause| format!("{}: {}", cause.field, cause.message)).unwrap_or_default();
        assert!(said("self.x ==").contains("compilation failed"));
        assert!(
            said("foo(self.x)").contains("compilation failed: ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')"),
            "{}",
            said("foo(self.x)")
        );
        assert!(said("authorizer.path('/').check('get').allowed()").contains("undeclared reference to 'authorizer'"));
        assert!(said("'a' + self.x").contains("cel expression must evaluate to a bool"));
        let wrong = "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo\n | ....^";
        assert!(said("self.foo").ends_with(wrong), "{}", said("self.foo"));
        assert!(said("self.n + self.x == 'a'").contains("1:8: found no matching overload for '_+_' applied to '(int, string)'"));
        for good in [
            "isURL(self.x)",
            "self.y.all(k, k.startsWith('a')) && size(self.x) > 0 && self.x.matches('^a$')",
            "self.__namespace__ == self.metadata.name && self.kind != self.apiVersion",
            "self.n < 2.5 && self == oldSelf",
        ] {
            assert_eq!(said(good), "", "{good}");
            assert_eq!(Rules::of(&schema(good)).own.len(), 1);
        }
    }
}
