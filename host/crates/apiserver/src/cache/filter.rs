//! Which objects a list or watch gets: namespace, label selector and field selector, all answered from the key and the index.

use pintle_api::Status;
use pintle_api::selector::{FieldSelector, LabelSelector};

use super::stored::{Stored, label_bit};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Empty: all namespaces.
    pub namespace: String,
    labels: LabelSelector,
    /// Of the labels that the selector asks for with one value.
    label_bits: u64,
    fields: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    of: FieldOf,
    equal: bool,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldOf {
    Name,
    Namespace,
    Indexed(usize),
}

impl Filter {
    pub fn everything(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), labels: LabelSelector::everything(), label_bits: 0, fields: Vec::new() }
    }
    /// `known` are the resource's selectable fields, in the order of the index.
    pub fn parse(namespace: &str, labels: &str, fields: &str, known: &[String]) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(|e| Status::bad_request(e.to_string()))?;
        let exact = labels.requirements().iter().filter_map(|r| labels.exact(&r.key).map(|value| label_bit(&r.key, value)));
        let label_bits = exact.fold(0, |all, bit| all | bit);
        Ok(Self { namespace: namespace.to_owned(), labels, label_bits, fields: terms(fields, known)? })
    }

    /// Also asks for one name (an old form of watching one object); empty asks for nothing.
    pub fn narrow(&mut self, name: &str) {
        if !name.is_empty() {
            self.fields.push(Term { of: FieldOf::Name, equal: true, value: name.to_owned() });
        }
    }

    pub fn matches(&self, stored: &Stored) -> bool {
        stored.index.may_have(self.label_bits) && self.in_namespace(stored) && self.selects(stored)
    }
    /// The same of an object of the filter's namespace.
    pub fn matches_inside(&self, stored: &Stored) -> bool {
        stored.index.may_have(self.label_bits) && self.selects(stored)
    }
    fn selects(&self, stored: &Stored) -> bool {
        self.labels.matches_by(|key| stored.index.label(key)) && self.fields_match(stored)
    }
    /// No selector: every object of the namespace.
    pub fn takes_all(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }
    /// The one name that the field selector asks for.
    pub fn single_name(&self) -> Option<&str> {
        self.fields.iter().find(|t| t.of == FieldOf::Name && t.equal).map(|t| t.value.as_str())
    }

    fn in_namespace(&self, stored: &Stored) -> bool {
        self.namespace.is_empty() || stored.key.strip_prefix(&*self.namespace).is_some_and(|rest| rest.starts_with('/'))
    }
    fn fields_match(&self, stored: &Stored) -> bool {
        self.fields.iter().all(|term| {
            let have = match term.of {
                FieldOf::Name => stored.name(),
                FieldOf::Namespace => stored.namespace(),
                FieldOf::Indexed(position) => stored.index.field(position),
            };
            (have == term.value) == term.equal
        })
    }
}

fn terms(text: &str, known: &[String]) -> Result<Vec<Term>, Status> {
    let selector = FieldSelector::parse(text).map_err(|e| Status::bad_request(e.to_string()))?;
    let term = |t: &pintle_api::selector::FieldTerm| {
        let of = match t.field.as_str() {
            "metadata.name" => FieldOf::Name,
            "metadata.namespace" => FieldOf::Namespace,
            field => FieldOf::Indexed(known.iter().position(|k| k == field).ok_or_else(|| unknown(field))?),
        };
        Ok(Term { of, equal: t.equal, value: t.value.clone() })
    };
    selector.terms().iter().map(term).collect()
}

fn unknown(field: &str) -> Status {
    Status::bad_request(format!("field label not supported: {field}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::stored::{Index, encode};

    fn check(labels: &str, fields: &str) -> Result<bool, String> {
        let object = json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": "web", "tier": "3"}}});
        let stored = Stored::new("n/a".into(), &encode(&object), 1, true, Index::of(&object, &["Running".into()]));
        Filter::parse("n", labels, fields, &["status.phase".into()]).map(|f| f.matches(&stored)).map_err(|s| s.message)
    }

    #[test]
    fn selectors_are_answered_from_the_index() {
        assert_eq!(check("app in (web, db),tier,!x", "metadata.name=a,status.phase!=Failed"), Ok(true));
        assert_eq!(check("app=db", ""), Ok(false));
        assert_eq!(check("", "metadata.namespace=other"), Ok(false));
        assert_eq!(check("", "status.phase=Failed"), Ok(false));
        assert_eq!(check("", "spec.x=1"), Err("field label not supported: spec.x".to_owned()));
    }
}
