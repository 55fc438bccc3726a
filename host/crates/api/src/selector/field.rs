//! Field selectors: `status.phase!=Failed,spec.nodeName=a`, with `\`, `,` and `=` escaped by a backslash.

use std::fmt;

use super::SelectorError;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, equal, value)) = split_term(part) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            terms.push(FieldTerm { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { terms })
    }
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
    /// The value that a field must have, for reading one object or one namespace instead of all.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
    /// `get` gives the field's value as text; an absent field is the empty text.
    pub fn matches_by<T: AsRef<str>>(&self, get: impl Fn(&str) -> T) -> bool {
        self.terms.iter().all(|term| (get(&term.field).as_ref() == term.value) == term.equal)
    }
    /// Refuses fields that the kind does not select by. `own` are those besides name and namespace.
    pub fn require_known(&self, own: &[&str]) -> Result<(), SelectorError> {
        let is_known = |field: &str| field == "metadata.name" || field == "metadata.namespace" || own.contains(&field);
        let Some(unknown) = self.terms.iter().find(|term| !is_known(&term.field)) else { return Ok(()) };
        let field = &unknown.field;
        Err(SelectorError(if own.is_empty() {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        }))
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{}{value}", term.field, if term.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['!', '=']).into_iter().chain(term.match_indices("!=").map(|(at, _)| at)).chain(term.find('='));
    let at = at.filter(|at| term[*at..].starts_with('=') || term[*at..].starts_with("!=")).min()?;
    let (field, rest) = term.split_at(at);
    let (equal, value) = match rest.strip_prefix("!=") {
        Some(value) => (false, value),
        None => (true, rest.strip_prefix("==").unwrap_or(&rest[1..])),
    };
    Some((field, equal, value))
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => plain.push(next),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}")));
                }
            },
            ',' | '=' => return Err(SelectorError(format!("invalid field selector: unescaped character in value: {}", c as u32))),
            _ => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(inputs: &[&str], expected: Expect) {
        let lines: Vec<String> = inputs
            .iter()
            .map(|text| match FieldSelector::parse(text) {
                Ok(selector) => format!("{text} -> {selector}"),
                Err(error) => format!("{text} -> error: {error}"),
            })
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn field_selectors() {
        check(
            &["", "spec.nodeName=a,metadata.name!=b", "a==b", r"a=x\,y\=z", "a", r"a=\z", "a=b=c", "a!b=c", "a="],
            expect![[r#"
                 -> 
                spec.nodeName=a,metadata.name!=b -> metadata.name!=b,spec.nodeName=a
                a==b -> a=b
                a=x\,y\=z -> a=x\,y\=z
                a -> error: invalid selector: 'a'; can't understand 'a'
                a=\z -> error: invalid field selector: invalid escape sequence: \z
                a=b=c -> error: invalid field selector: unescaped character in value: 61
                a!b=c -> a!b=c
                a= -> a="#]],
        );
        let selector = FieldSelector::parse("status.phase!=Failed,metadata.name=a").unwrap();
        assert!(selector.matches_by(|field| if field == "metadata.name" { "a" } else { "" }));
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert_eq!(selector.exact("status.phase"), None);
        assert_eq!(selector.require_known(&["spec.nodeName"]).unwrap_err().to_string(), "field label not supported: status.phase");
    }
}
