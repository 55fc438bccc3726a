//! Patterns of a schema that outgrow what one may take when it is compiled. A definition that brings one is refused; one that has it already is served,
//! and the pattern matches nothing. Upstream sets no such limit.

use serde_json::Value;

use super::{MAX_COMPILED_PATTERN_BYTES, compile};
use crate::{Cause, regexes};

pub fn oversized_patterns(schema: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(schema, path, &mut causes);
    causes
}

fn walk(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    match schema {
        Value::Object(words) => {
            for (word, value) in words {
                match (word.as_str(), value) {
                    // Values, in which nothing is a schema.
                    ("default" | "enum" | "example", _) => {}
                    ("pattern", Value::String(text)) => causes.extend(fault(text, path)),
                    ("properties", Value::Object(members)) => {
                        members.iter().for_each(|(name, member)| walk(member, &format!("{path}.properties[{name}]"), causes));
                    }
                    _ => walk(value, &format!("{path}.{word}"), causes),
                }
            }
        }
        Value::Array(branches) => branches.iter().enumerate().for_each(|(index, branch)| walk(branch, &format!("{path}[{index}]"), causes)),
        _ => {}
    }
}

/// Only what is repeated a counted number of times grows beyond what it is written in: nothing else is compiled for this.
fn fault(pattern: &str, path: &str) -> Option<Cause> {
    let is_oversized = pattern.contains('{') && regexes::translate(pattern).is_ok() && compile(pattern).is_none();
    let why = || format!("must be a smaller regular expression: compiled, it takes more than {} MiB", MAX_COMPILED_PATTERN_BYTES >> 20);
    is_oversized.then(|| Cause::invalid(format!("{path}.pattern"), &pattern.into(), &why()))
}
