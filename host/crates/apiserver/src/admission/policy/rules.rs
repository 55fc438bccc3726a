//! A policy and a binding as they are written, compiled.

use pintle_api::Object;
use pintle_api::object::ObjectExt;
use pintle_api::patch::{json, merge, strategic};
use pintle_cel::{BUDGET_EXCEEDED, Expression, Variables};
use serde_json::Value;

use crate::admission::authorizing::authorizing;
use crate::admission::matching::{Conditions, Matcher, conditions_hold, conditions_of};
use crate::admission::request::Request;
use crate::admission::webhook::request_of;
use crate::resources::Resource;

type Compiled = Result<Expression, String>;

pub struct Policy {
    pub name: String,
    /// As messages name it.
    pub kind: &'static str,
    pub matcher: Matcher,
    pub ignores_failure: bool,
    /// `apiVersion` and `kind`.
    pub param_kind: Option<(String, String)>,
    conditions: Conditions,
    variables: Vec<(String, Compiled)>,
    validations: Vec<Validation>,
    audit_annotations: Vec<AuditAnnotation>,
    mutations: Vec<Mutation>,
}

struct AuditAnnotation {
    key: String,
    text: String,
    value: Compiled,
}

struct Validation {
    text: String,
    expression: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: String,
}

enum Mutation {
    /// Fields that the object is to have.
    Apply(Compiled),
    JsonPatch(Compiled),
}

pub struct Binding {
    pub name: String,
    pub policy: String,
    pub matcher: Matcher,
    pub param_ref: Option<Value>,
    pub denies: bool,
    pub warns: bool,
    pub audits: bool,
    /// `validationActions` as they are written.
    pub actions: Value,
}

/// Why a policy says no.
pub struct Denied {
    pub message: String,
    pub reason: String,
}

impl Denied {
    /// The policy could not be evaluated.
    pub fn failed(message: String) -> Self {
        Self { message, reason: String::new() }
    }
}

impl Binding {
    pub fn of(binding: &Object) -> Self {
        let spec = binding.get("spec").unwrap_or(&Value::Null);
        let acts = |action: &str| spec.list_at(&["validationActions"]).iter().any(|a| a == action);
        Self {
            name: binding.name().to_owned(),
            policy: spec.str_at(&["policyName"]).to_owned(),
            matcher: Matcher::of_binding(spec.get("matchResources").unwrap_or(&Value::Null)),
            param_ref: spec.get("paramRef").filter(|r| !r.is_null()).cloned(),
            denies: acts("Deny"),
            warns: acts("Warn"),
            audits: acts("Audit"),
            actions: spec.get("validationActions").cloned().unwrap_or(Value::Null),
        }
    }
}

impl Policy {
    pub fn of(policy: &Object) -> Self {
        let spec = policy.get("spec").unwrap_or(&Value::Null);
        let param_kind = spec.get("paramKind").filter(|k| !k.is_null());
        let compiled = |v: &Value| Expression::compile(v.str_at(&["expression"]));
        Self {
            name: policy.name().to_owned(),
            kind: if policy.kind() == "MutatingAdmissionPolicy" { "MutatingAdmissionPolicy" } else { "ValidatingAdmissionPolicy" },
            matcher: Matcher::of(spec.get("matchConstraints").unwrap_or(&Value::Null), "resourceRules"),
            ignores_failure: spec.str_at(&["failurePolicy"]) == "Ignore",
            param_kind: param_kind.map(|k| (k.str_at(&["apiVersion"]).to_owned(), k.str_at(&["kind"]).to_owned())),
            conditions: conditions_of(spec),
            variables: spec.list_at(&["variables"]).iter().map(|v| (v.str_at(&["name"]).to_owned(), compiled(v))).collect(),
            validations: spec.list_at(&["validations"]).iter().map(Validation::of).collect(),
            audit_annotations: spec.list_at(&["auditAnnotations"]).iter().map(AuditAnnotation::of).collect(),
            mutations: spec.list_at(&["mutations"]).iter().map(Mutation::of).collect(),
        }
    }

    /// What the policy's expressions may name, but for its own variables.
    pub fn variables(
        &self,
        request: &Request<'_>,
        seen: &Resource,
        object: Option<&Object>,
        old: Option<&Object>,
        params: &Value,
        namespace: &Value,
    ) -> Variables<'static> {
        let mut all = Variables::new()
            .with("object", object.unwrap_or(&Value::Null))
            .with("oldObject", old.unwrap_or(&Value::Null))
            .with("request", &request_of(request, seen))
            .with("params", params)
            .with("namespaceObject", namespace);
        authorizing(request, &mut all);
        all
    }

    /// Whether the match conditions hold; then the policy's own variables are there as well.
    pub fn applies(&self, variables: &mut Variables<'_>) -> Result<bool, String> {
        let applies = conditions_hold(&self.conditions, variables)?;
        if applies {
            variables.set_results("variables", &self.variables);
        }
        Ok(applies)
    }

    /// The validations that say no, by their places.
    pub fn denials(&self, variables: &Variables<'_>) -> Vec<(usize, Denied)> {
        let mut denied = Vec::new();
        for (i, validation) in self.validations.iter().enumerate() {
            match validation.denial(variables, self.ignores_failure) {
                // Whatever the others said.
                Some(spent) if spent.message == BUDGET_EXCEEDED => return vec![(i, spent)],
                said => denied.extend(said.map(|said| (i, said))),
            }
        }
        denied
    }

    /// What the policy has to add to an audit event. A value that cannot be made is a refusal, unless failures are ignored.
    pub fn annotations(&self, variables: &Variables<'_>) -> Result<Vec<(&str, String)>, Denied> {
        let mut all = Vec::new();
        for annotation in &self.audit_annotations {
            match annotation.value(variables) {
                Ok(value) => all.extend(value.map(|value| (annotation.key.as_str(), value))),
                Err(_) if self.ignores_failure => {}
                Err(why) => return Err(Denied::failed(why)),
            }
        }
        Ok(all)
    }

    /// The object with every mutation made.
    pub fn mutated(&self, variables: &Variables<'_>, object: &Object, resource: &Resource) -> Result<Object, String> {
        let mut object = object.clone();
        for mutation in &self.mutations {
            let value = |expression: &Compiled| expression.as_ref().map_err(Clone::clone).and_then(|e| e.evaluate(variables));
            object = match mutation {
                Mutation::Apply(expression) => {
                    let wanted = value(expression)?;
                    if resource.custom { merge::apply(object, wanted) } else { strategic::apply(object, wanted, resource.strategy.schema()) }
                }
                Mutation::JsonPatch(expression) => json::apply(object, &value(expression)?),
            }
            .map_err(|why| why.to_string())?;
        }
        Ok(object)
    }
}

impl Mutation {
    fn of(mutation: &Value) -> Self {
        match mutation.str_at(&["patchType"]) {
            "JSONPatch" => Self::JsonPatch(Expression::compile(mutation.str_at(&["jsonPatch", "expression"]))),
            _ => Self::Apply(Expression::compile(mutation.str_at(&["applyConfiguration", "expression"]))),
        }
    }
}

impl AuditAnnotation {
    fn of(annotation: &Value) -> Self {
        let text = annotation.str_at(&["valueExpression"]).to_owned();
        Self { key: annotation.str_at(&["key"]).to_owned(), value: Expression::compile(&text), text }
    }

    /// `None`: the expression gives null, and there is none this time.
    fn value(&self, variables: &Variables<'_>) -> Result<Option<String>, String> {
        let text = self.text.trim();
        match self.value.as_ref().map_err(Clone::clone).and_then(|e| e.evaluate(variables)) {
            Ok(Value::Null) => Ok(None),
            Ok(Value::String(value)) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
            Ok(_) => Err(format!("valueExpression '{text}' resulted in unsupported return type. Return type must be either string or null.")),
            Err(why) => Err(format!("valueExpression '{text}' resulted in error: {why}")),
        }
    }
}

impl Validation {
    fn of(validation: &Value) -> Self {
        let text = |key: &str| validation.str_at(&[key]).to_owned();
        let message_expression = text("messageExpression");
        Self {
            expression: Expression::compile(&text("expression")),
            text: text("expression"),
            message: text("message"),
            message_expression: (!message_expression.is_empty()).then(|| Expression::compile(&message_expression)),
            reason: text("reason"),
        }
    }

    fn denial(&self, variables: &Variables<'_>, ignores_failure: bool) -> Option<Denied> {
        match self.expression.as_ref().map_err(Clone::clone).and_then(|e| e.is_true(variables)) {
            Ok(true) => None,
            Ok(false) => Some(Denied { message: self.message(variables), reason: self.reason.clone() }),
            Err(_) if ignores_failure => None,
            Err(why) if why == BUDGET_EXCEEDED => Some(Denied::failed(why)),
            Err(why) => Some(Denied::failed(format!("expression '{}' resulted in error: {why}", self.text.trim()))),
        }
    }

    /// From its own expression where that gives one line of text, else as written, else what failed.
    fn message(&self, variables: &Variables<'_>) -> String {
        let made = self.message_expression.as_ref().and_then(|e| e.as_ref().ok()?.evaluate(variables).ok());
        let made = made.as_ref().and_then(Value::as_str).map(str::trim).filter(|m| !m.is_empty() && !m.contains('\n'));
        match made {
            Some(made) => made.to_owned(),
            None if !self.message.is_empty() => self.message.trim().to_owned(),
            None => format!("failed expression: {}", self.text.trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn validations_say_why() {
        let policy = Policy::of(&json!({"kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": {"validations": [
            {"expression": "object.spec.replicas > 1", "messageExpression": "'got ' + string(object.spec.replicas)"},
            {"expression": "object.metadata.name != 'a'", "message": "no a", "reason": "Forbidden"},
            {"expression": "object.spec.none"},
            {"expression": "true"},
        ]}}));
        let variables = Variables::new().with("object", &json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}}));
        let said: Vec<String> = policy.denials(&variables).into_iter().map(|(i, d)| format!("{i} {} {}", d.reason, d.message)).collect();
        assert_eq!(said[..2], ["0  got 1", "1 Forbidden no a"]);
        assert!(said[2].starts_with("2  expression 'object.spec.none' resulted in error:"), "{said:?}");
        assert_eq!(said.len(), 3);
    }
}
