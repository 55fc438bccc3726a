//! Label selectors (`app in (a,b),!old`, and the `LabelSelector` of specs) and field selectors (`status.phase!=Failed`).
//!
//! Parsed once, matched often: a match allocates nothing. Parse faults carry upstream's words; the caller answers
//! them with 400. Whether a kind knows a field is the caller's table: [`FieldSelector::require_known`].

mod field;
mod parse;

use std::fmt;

use serde_json::{Map, Value};

use crate::names;
use crate::status::Cause;

pub use field::{FieldSelector, FieldTerm};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// All requirements must hold; without any, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A selector that was absent where absence means "none".
    nothing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted and distinct when parsed from text.
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }
    pub fn nothing() -> Self {
        Self { nothing: true, ..Self::default() }
    }
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut requirements = parse::parse(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }
    /// A `LabelSelector` of a spec. `None` or null selects nothing, an empty one everything.
    pub fn from_spec(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(Value::Object(selector)) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value])?);
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
            };
            requirements.push(Requirement::new(text("key").to_owned(), operator, strings(expression.get("values")))?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }
    /// A plain map of labels, as the selectors of Services and ReplicationControllers are. Empty selects everything.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        Self { requirements: labels.iter().map(requirement).collect(), nothing: false }
    }
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_by(|key| labels?.get(key)?.as_str())
    }
    pub fn matches_by<'v>(&self, get: impl Fn(&str) -> Option<&'v str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(get(&requirement.key)))
    }
    /// The value that a label must have, for indexes.
    pub fn exact(&self, key: &str) -> Option<&str> {
        let found = self.requirements.iter().find(|r| r.key == key)?;
        let exact = matches!(found.operator, Operator::In | Operator::Equals | Operator::DoubleEquals) && found.values.len() == 1;
        exact.then(|| found.values[0].as_str())
    }
}

/// Faults of a spec's `LabelSelector` with their fields.
pub fn validate_label_selector(selector: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        validate_labels(labels, &format!("{path}.matchLabels"), &mut causes);
    }
    for (index, expression) in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().enumerate() {
        validate_expression(expression, &format!("{path}.matchExpressions[{index}]"), &mut causes);
    }
    causes
}

pub fn validate_labels(labels: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels {
        causes.extend(names::qualified_name(key).iter().map(|fault| Cause::invalid(path, &Value::from(key.as_str()), fault)));
        let text = value.as_str().unwrap_or_default();
        causes.extend(names::label_value(text).iter().map(|fault| Cause::invalid(path, value, fault)));
    }
}

fn validate_expression(expression: &Value, path: &str, causes: &mut Vec<Cause>) {
    let text = |name| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let values = expression.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let values_path = format!("{path}.values");
    match text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            causes.push(Cause::required(values_path.as_str(), "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            causes.push(Cause::forbidden(values_path.as_str(), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => causes.push(Cause::invalid(format!("{path}.operator"), &Value::from(other), "not a valid selector operator")),
    }
    let key = text("key");
    causes.extend(names::qualified_name(key).iter().map(|fault| Cause::invalid(format!("{path}.key"), &Value::from(key), fault)));
    for (index, value) in values.iter().enumerate() {
        let faults = names::label_value(value.as_str().unwrap_or_default());
        causes.extend(faults.iter().map(|fault| Cause::invalid(format!("{values_path}[{index}]"), value, fault)));
    }
}

impl Requirement {
    pub fn new(key: String, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let mut faults = Vec::new();
        let key_faults = names::qualified_name(&key);
        if !key_faults.is_empty() {
            faults.push(format!("key: Invalid value: {key:?}: {}", key_faults.join("; ")));
        }
        operator.check_values(&values, &mut faults);
        for (index, value) in values.iter().enumerate() {
            let value_faults = names::label_value(value);
            if !value_faults.is_empty() {
                faults.push(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", value_faults.join("; ")));
            }
        }
        match faults.len() {
            0 => Ok(Self { key, operator, values }),
            1 => Err(SelectorError(faults.remove(0))),
            _ => Err(SelectorError(format!("[{}]", faults.join(", ")))),
        }
    }
    pub fn matches(&self, label: Option<&str>) -> bool {
        let has = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(has),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(has),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compares(label, |label, bound| label > bound),
            Operator::LessThan => self.compares(label, |label, bound| label < bound),
        }
    }
    fn compares(&self, label: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        match (label.and_then(number), self.values.first().and_then(|bound| number(bound))) {
            (Some(label), Some(bound)) => holds(label, bound),
            _ => false,
        }
    }
}

impl Operator {
    fn check_values(self, values: &[String], faults: &mut Vec<String>) {
        // Upstream prints an absent list as null.
        let listed = || if values.is_empty() { "null".to_owned() } else { Value::from(values).to_string() };
        let mut fault = |why: &str| faults.push(format!("values: Invalid value: {}: {why}", listed()));
        match self {
            Self::In | Self::NotIn if values.is_empty() => fault("for 'in', 'notin' operators, values set can't be empty"),
            Self::Equals | Self::DoubleEquals | Self::NotEquals if values.len() != 1 => fault("exact-match compatibility requires one single value"),
            Self::Exists | Self::DoesNotExist if !values.is_empty() => fault("values set must be empty for exists and does not exist"),
            Self::GreaterThan | Self::LessThan if values.len() != 1 => fault("for 'Gt', 'Lt' operators, exactly one value is required"),
            Self::GreaterThan | Self::LessThan if values[0].parse::<i64>().is_err() => {
                faults.push(format!("values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer", values[0]));
            }
            _ => {}
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = || {
            let mut sorted = self.values.clone();
            sorted.sort();
            sorted.join(",")
        };
        match self.operator {
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={}", values()),
            Operator::DoubleEquals => write!(f, "{key}=={}", values()),
            Operator::NotEquals => write!(f, "{key}!={}", values()),
            Operator::In => write!(f, "{key} in ({})", values()),
            Operator::NotIn => write!(f, "{key} notin ({})", values()),
            Operator::GreaterThan => write!(f, "{key}>{}", values()),
            Operator::LessThan => write!(f, "{key}<{}", values()),
        }
    }
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(inputs: &[&str], expected: Expect) {
        let lines: Vec<String> = inputs
            .iter()
            .map(|text| match LabelSelector::parse(text) {
                Ok(selector) => format!("{text} -> {selector}"),
                Err(error) => format!("{text} -> error: {error}"),
            })
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn label_selectors_parse() {
        check(
            &["", "b=2,a==1", "x in (b,a,),!y", "in notin (in)", "k", "z!=", "n>5", "e in ()", "p in (,q)"],
            expect![[r#"
                 -> 
                b=2,a==1 -> a==1,b=2
                x in (b,a,),!y -> x in (,a,b),!y
                in notin (in) -> in notin (in)
                k -> k
                z!= -> z!=
                n>5 -> n>5
                e in () -> e in ()
                p in (,q) -> p in (,q)"#]],
        );
    }

    #[test]
    fn label_selector_faults() {
        check(
            &["a b", "a=b=c", ",", "a,", "=a", "a in b", "a in (b", "a/b/c", "n>x", "a=$", "!", "x in (a b)"],
            expect![[r#"
                a b -> error: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt
                a=b=c -> error: found '=', expected: ',' or 'end of string'
                , -> error: found ',', expected: !, identifier, or 'end of string'
                a, -> error: found '', expected: identifier after ','
                =a -> error: found '=', expected: !, identifier, or 'end of string'
                a in b -> error: unable to parse requirement: found 'b' expected: '('
                a in (b -> error: unable to parse requirement: found '', expected: ',' or ')'
                a/b/c -> error: unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
                n>x -> error: unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer
                a=$ -> error: unable to parse requirement: values[0][a]: Invalid value: "$": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
                ! -> error: unable to parse requirement: found '', expected: identifier
                x in (a b) -> error: unable to parse requirement: found 'b', expected: ',' or ')'"#]],
        );
    }

    #[test]
    fn labels_match() {
        let labels = json!({"app": "web", "n": "7", "empty": ""});
        let matching = ["", "app=web", "app in (db,web)", "app!=db", "gone!=x", "!gone", "n>6", "n<8", "empty=", "gone notin (a)"];
        let failing = ["app=db", "gone", "gone=", "!app", "n>7", "app>1", "app=web,n=8"];
        for (selector, holds) in matching.iter().map(|s| (s, true)).chain(failing.iter().map(|s| (s, false))) {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(labels.as_object()), holds, "{selector}");
        }
    }

    #[test]
    fn selectors_of_specs() {
        let spec = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["y", "x"]}]});
        assert_eq!(LabelSelector::from_spec(Some(&spec)).unwrap().to_string(), "a=1,b notin (x,y)");
        assert!(!LabelSelector::from_spec(None).unwrap().matches(None));
        assert!(LabelSelector::from_spec(Some(&json!({}))).unwrap().matches(None));
        let bad = json!({"matchExpressions": [{"key": "b", "operator": "In"}, {"key": "", "operator": "Has"}]});
        assert_eq!(
            LabelSelector::from_spec(Some(&bad)).unwrap_err().to_string(),
            "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty"
        );
        let causes: Vec<String> = validate_label_selector(&bad, "spec.selector").into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        expect![[r#"
            spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.selector.matchExpressions[1].operator: Invalid value: "Has": not a valid selector operator
            spec.selector.matchExpressions[1].key: Invalid value: "": name part must be non-empty
            spec.selector.matchExpressions[1].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]]
        .assert_eq(&causes.join("\n"));
    }
}
