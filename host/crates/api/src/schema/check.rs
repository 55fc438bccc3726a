//! Field validation of a body of a built-in kind: unknown fields and values of a wrong type, in one pass beside the
//! type, with the messages that a typed decoder gives upstream. Nothing is allocated while nothing is wrong.
//!
//! Called by the decoder of requests. What a value may be beyond its type (ranges, formats) is the strategies' concern;
//! bodies of custom resources are checked by their own schema.

use base64::Engine as _;
use serde_json::Value;

use super::builtin::builtin;
use super::kinds::{Node, ScalarKind, TypeRef};
use super::times;
use super::{Duplicates, convert, presence};
use crate::quantity;

/// As many as upstream collects before it stops.
const MAX_UNKNOWN_FIELDS: usize = 100;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Paths of fields that the type does not have: `spec.containers[0].foo`.
    pub unknown: Vec<String>,
    /// The first value that the type cannot hold, as the decoder says it: a body with one cannot be decoded.
    pub mismatch: Option<String>,
    /// The same as who applies a strategic patch says it.
    pub unconverted: Option<String>,
    /// Whether [`super::prune_unknown`] might change anything: there is a null, an unknown field, or a scalar that an encoder might write otherwise.
    pub is_loose: bool,
}

/// Compares a body with its type.
pub fn check(value: &Value, of: TypeRef<'_>) -> Findings {
    let mut checker = Checker::default();
    checker.value(value, of, &Place { owner: None, path: None });
    checker.findings
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.unknown.is_empty() && self.mismatch.is_none()
    }
    /// One text a fault, for warnings: `unknown field "spec.foo"`.
    pub fn strict_faults(&self, duplicates: &Duplicates) -> Vec<String> {
        duplicates.with_unknown(&self.unknown)
    }
    /// The whole message under strict validation; `None` when there is no fault.
    pub fn strict_error(&self, duplicates: &Duplicates) -> Option<String> {
        let faults: Vec<String> = duplicates.in_text().map(str::to_owned).into_iter().chain(self.strict_faults(duplicates)).collect();
        (!faults.is_empty()).then(|| format!("strict decoding error: {}", faults.join(", ")))
    }
}

#[derive(Default)]
struct Checker {
    findings: Findings,
}

/// Where a value stands: a chain on the stack, rendered only for a fault.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The innermost struct around the value.
    owner: Option<TypeRef<'a>>,
    path: Option<&'a Step<'a>>,
}

struct Step<'a> {
    before: Option<&'a Step<'a>>,
    segment: Segment<'a>,
    /// The struct that a field belongs to.
    within: Option<TypeRef<'a>>,
}

enum Segment<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl Checker {
    fn value(&mut self, value: &Value, of: TypeRef<'_>, place: &Place<'_>) {
        match (of.node(), value) {
            (_, Value::Null) => self.findings.is_loose = true,
            (Node::Unknown, _) => {}
            (Node::Object(_), Value::Object(members)) => {
                for (name, member) in members {
                    self.member(name, member, of, place);
                }
            }
            (Node::List(_), Value::Array(items)) => {
                let Some(item_type) = of.items() else { return };
                for (index, item) in items.iter().enumerate() {
                    let step = Step { before: place.path, segment: Segment::Index(index), within: None };
                    self.value(item, item_type, &Place { owner: place.owner, path: Some(&step) });
                }
            }
            (Node::Scalar(kind), _) => self.scalar(value, *kind, of, place),
            _ => self.wrong_type(value, of, place),
        }
    }

    fn member(&mut self, name: &str, value: &Value, of: TypeRef<'_>, place: &Place<'_>) {
        if let Some(field) = of.field(name) {
            self.findings.is_loose |= presence::is_unset(value, field);
            let step = Step { before: place.path, segment: Segment::Field(name), within: Some(of) };
            self.value(value, field, &Place { owner: Some(of), path: Some(&step) });
        } else if let Some(additional) = of.additional() {
            let step = Step { before: place.path, segment: Segment::Key(name), within: None };
            self.value(value, additional, &Place { owner: place.owner, path: Some(&step) });
        } else {
            self.findings.is_loose = true;
            if self.findings.unknown.len() >= MAX_UNKNOWN_FIELDS {
                return;
            }
            let step = Step { before: place.path, segment: Segment::Field(name), within: None };
            self.findings.unknown.push(step.full_path());
        }
    }

    fn scalar(&mut self, value: &Value, kind: ScalarKind, of: TypeRef<'_>, place: &Place<'_>) {
        let fits = match (kind, value) {
            (ScalarKind::String, Value::String(_)) | (ScalarKind::Boolean, Value::Bool(_)) => true,
            (ScalarKind::Number, Value::Number(_)) => true,
            (ScalarKind::Int32, Value::Number(number)) => self.whole(number).is_some_and(|n| i32::try_from(n).is_ok()),
            (ScalarKind::Int64, Value::Number(number)) => self.whole(number).is_some(),
            (ScalarKind::Any, _) => !value.is_array() && !value.is_object(),
            (ScalarKind::IntOrString, Value::String(_)) => true,
            (ScalarKind::IntOrString, Value::Number(number)) => self.whole(number).is_some_and(|n| i32::try_from(n).is_ok()),
            (ScalarKind::Bytes, Value::String(text)) => match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(_) => return,
                Err(error) => return self.mismatch(|| (illegal_base64(&error), format!("error decoding from json: {}", illegal_base64(&error)))),
            },
            (ScalarKind::Quantity, Value::String(text)) => match quantity::canonical(text) {
                Ok(canonical) => {
                    self.findings.is_loose |= canonical != *text;
                    return;
                }
                Err(error) => return self.mismatch(|| same(error.to_string())),
            },
            (ScalarKind::Quantity, Value::Number(_)) => {
                self.findings.is_loose = true;
                true
            }
            (ScalarKind::Time | ScalarKind::MicroTime, Value::String(text)) => {
                self.findings.is_loose |= kind == ScalarKind::MicroTime || !times::is_plain(text);
                let fits = if kind == ScalarKind::MicroTime { times::is_micro(text) } else { times::is_rfc3339(text) };
                if fits {
                    return;
                }
                return self.mismatch(|| same(times::parse_error(text, kind == ScalarKind::MicroTime)));
            }
            _ => false,
        };
        if !fits {
            self.wrong_type(value, of, place);
        }
    }

    /// One written as `1.0` is a whole number, which an encoder writes as such.
    fn whole(&mut self, number: &serde_json::Number) -> Option<i64> {
        self.findings.is_loose |= number.is_f64();
        whole(number)
    }

    fn wrong_type(&mut self, value: &Value, of: TypeRef<'_>, place: &Place<'_>) {
        self.mismatch(|| {
            let found = kind_of(value, of);
            let wanted = match of.scalar_kind() {
                // Whatever it is, its text is read as a quantity.
                Some(ScalarKind::Quantity) => return same(quantity::QuantityError::Format.to_string()),
                Some(ScalarKind::Time | ScalarKind::MicroTime) => "string".to_owned(),
                Some(ScalarKind::IntOrString) => "int32".to_owned(),
                _ => place.path.and_then(Step::named_type).map_or_else(|| go_type(of), str::to_owned),
            };
            let unread = match (place.owner, place.path) {
                (Some(owner), Some(path)) => {
                    let owner = builtin().struct_name(owner).unwrap_or("");
                    let field = path.field_path();
                    format!("json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {wanted}")
                }
                _ => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
            };
            (unread, convert::fault(value, of, &wanted))
        });
    }

    /// What a decoder says, and who fills a type from a map.
    fn mismatch(&mut self, messages: impl FnOnce() -> (String, String)) {
        if self.findings.mismatch.is_none() {
            let (unread, unconverted) = messages();
            (self.findings.mismatch, self.findings.unconverted) = (Some(unread), Some(unconverted));
        }
    }
}

impl Step<'_> {
    /// `spec.containers[0].foo`
    fn full_path(&self) -> String {
        let mut path = self.before.map_or_else(String::new, Step::full_path);
        match self.segment {
            Segment::Field(name) | Segment::Key(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Segment::Index(index) => path.push_str(&format!("[{index}]")),
        }
        path
    }
    /// The decoder's own path in type errors: names of struct fields only, embedded structs among them.
    fn field_path(&self) -> String {
        let mut path = self.before.map_or_else(String::new, Step::field_path);
        if let Segment::Field(name) = self.segment {
            for part in [self.go_field().within, name].into_iter().filter(|part| !part.is_empty()) {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(part);
            }
        }
        path
    }

    /// The Go type of what stands here, where it has a name of its own.
    fn named_type(&self) -> Option<&'static str> {
        match self.segment {
            Segment::Field(_) => self.go_field().kind,
            Segment::Index(_) | Segment::Key(_) => super::go::inner(self.before?.named_type()?),
        }
    }

    fn go_field(&self) -> super::go::GoField {
        let (Segment::Field(name), Some(within)) = (&self.segment, self.within) else { return super::go::GoField::default() };
        builtin().table_name(within).map_or_else(super::go::GoField::default, |definition| super::go::field(definition, name))
    }
}

/// A whole number, also one written as `1.0` (YAML does not tell them apart).
pub(super) fn whole(number: &serde_json::Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|_| number.is_f64())?;
        (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
    })
}

/// Of a type that reads its own JSON: both ask it.
fn same(message: String) -> (String, String) {
    (message.clone(), message)
}

fn kind_of(value: &Value, of: TypeRef<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
        Value::Number(number) => match of.scalar_kind() {
            Some(ScalarKind::Int32 | ScalarKind::Int64 | ScalarKind::IntOrString) => format!("number {number}"),
            _ => "number".to_owned(),
        },
    }
}

fn go_type(of: TypeRef<'_>) -> String {
    match of.node() {
        Node::Scalar(kind) => match kind {
            ScalarKind::String | ScalarKind::Any => "string",
            ScalarKind::Number => "float64",
            ScalarKind::Boolean => "bool",
            ScalarKind::Int32 => "int32",
            ScalarKind::Int64 => "int64",
            ScalarKind::Time => "v1.Time",
            ScalarKind::MicroTime => "v1.MicroTime",
            ScalarKind::Bytes => "[]uint8",
            ScalarKind::Quantity => "resource.Quantity",
            ScalarKind::IntOrString => "intstr.IntOrString",
        }
        .to_owned(),
        Node::List(_) => format!("[]{}", of.items().map(go_type).unwrap_or_default()),
        Node::Object(_) => match of.additional() {
            Some(values) => format!("map[string]{}", go_type(values)),
            None => builtin().qualified_name(of).unwrap_or("struct").to_owned(),
        },
        Node::Unknown => "interface {}".to_owned(),
    }
}

fn illegal_base64(error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        // Go's decoder stops where the last whole group ended.
        base64::DecodeError::InvalidLength(length) => length / 4 * 4,
        base64::DecodeError::InvalidPadding => 0,
    };
    format!("illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupVersionKind;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check_deployment(body: Value, expected: Expect) {
        let kind = builtin().for_kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
        let found = check(&body, kind);
        expected.assert_eq(&format!("{:?} {:?}", found.strict_error(&Duplicates::default()).unwrap_or_default(), found.mismatch.unwrap_or_default()));
    }

    #[test]
    fn a_good_body_is_clean() {
        let body = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"any": "thing"}, "creationTimestamp": null},
            "spec": {"replicas": 3.0, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}, "template": {"spec": {"containers": [
                {"name": "a", "resources": {"limits": {"cpu": 1, "memory": "64Mi"}}, "livenessProbe": {"httpGet": {"port": "http"}}},
            ]}}},
        });
        check_deployment(body, expect![[r#""" """#]]);
    }

    #[test]
    fn unknown_fields_are_named_by_path() {
        let body =
            json!({"metadata": {"nmae": "x"}, "spec": {"foo": {"bar": 1}, "template": {"spec": {"containers": [{"name": "a"}, {"Image": "b"}]}}}});
        check_deployment(
            body,
            expect![[
                r#""strict decoding error: unknown field \"metadata.nmae\", unknown field \"spec.foo\", unknown field \"spec.template.spec.containers[1].Image\"" """#
            ]],
        );
    }

    #[test]
    fn wrong_types_read_as_the_decoders_errors() {
        for (body, expected) in [
            (
                json!({"spec": {"replicas": "three"}}),
                expect![[r#""" "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32""#]],
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                expect![[r#""" "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32""#]],
            ),
            (
                json!({"spec": {"replicas": 4_000_000_000_u64}}),
                expect![[r#""" "json: cannot unmarshal number 4000000000 into Go struct field DeploymentSpec.spec.replicas of type int32""#]],
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                expect![[r#""" "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string""#]],
            ),
            (
                json!({"metadata": {"labels": []}}),
                expect![[r#""" "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string""#]],
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                expect![[r#""" "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container""#]],
            ),
            (
                json!({"spec": {"template": {"spec": []}}}),
                expect![[r#""" "json: cannot unmarshal array into Go struct field PodTemplateSpec.spec.template.spec of type v1.PodSpec""#]],
            ),
            (
                json!({"metadata": {"creationTimestamp": "yesterday"}}),
                expect![[r#""" "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"""#]],
            ),
            (json!("x"), expect![[r#""" "json: cannot unmarshal string into Go value of type v1.Deployment""#]]),
        ] {
            check_deployment(body, expected);
        }
    }
}
