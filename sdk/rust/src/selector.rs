//! Label selectors, in the object form (`matchLabels`, `matchExpressions`) and the string form (`a=b,c in (d,e)`).

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// All requirements must hold; without any it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<(String, Test)>);

impl Selector {
    /// From `metav1.LabelSelector`. `None` where the object is missing or not well-formed: such a selector matches nothing.
    pub fn from_object(selector: Option<&Value>) -> Option<Self> {
        let selector = selector?.as_object()?;
        let mut tests = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                tests.push((key.clone(), Test::In(vec![value.as_str()?.to_owned()])));
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let values = || expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match expression["operator"].as_str()? {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => return None,
            };
            tests.push((expression["key"].as_str()?.to_owned(), test));
        }
        Some(Self(tests))
    }

    /// From a plain map, as Services and ReplicationControllers have it.
    pub fn from_map(labels: Option<&Value>) -> Option<Self> {
        let labels = labels?.as_object()?;
        Some(Self(labels.iter().map(|(k, v)| (k.clone(), Test::In(vec![v.as_str().unwrap_or_default().to_owned()]))).collect()))
    }

    /// Parses the string form; `None` where it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut tests = Vec::new();
        for part in split_outside_parentheses(text).into_iter().map(str::trim).filter(|p| !p.is_empty()) {
            tests.push(parse_requirement(part)?);
        }
        Some(Self(tests))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `labels`: the `metadata.labels` of an object, which may be missing.
    pub fn matches(&self, labels: Option<&Value>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    pub fn matches_pairs(&self, labels: &[(String, String)]) -> bool {
        self.matches_with(|key| labels.iter().find(|l| l.0 == key).map(|l| l.1.as_str()))
    }

    fn matches_with<'a>(&self, find: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|(key, test)| {
            let found = find(key);
            match test {
                Test::In(values) => found.is_some_and(|f| values.iter().any(|v| v == f)),
                Test::NotIn(values) => !found.is_some_and(|f| values.iter().any(|v| v == f)),
                Test::Exists => found.is_some(),
                Test::Absent => found.is_none(),
            }
        })
    }
}

impl std::fmt::Display for Selector {
    /// The string form, fit for a list request.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (key, test)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn parse_requirement(part: &str) -> Option<(String, Test)> {
    if let Some(key) = part.strip_prefix('!') {
        return Some((key.trim().to_owned(), Test::Absent));
    }
    for (word, negative) in [(" notin ", true), (" in ", false)] {
        if let Some((key, list)) = part.split_once(word) {
            let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
            let values = list.split(',').map(|v| v.trim().to_owned()).collect();
            return Some((key.trim().to_owned(), if negative { Test::NotIn(values) } else { Test::In(values) }));
        }
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some((key.trim().to_owned(), Test::NotIn(vec![value.trim().to_owned()])));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some((key.trim().to_owned(), Test::In(vec![value.trim().to_owned()])));
    }
    Some((part.to_owned(), Test::Exists))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (place, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_say_the_same() {
        let object = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}]});
        let selector = Selector::from_object(Some(&object)).expect("well-formed");
        assert_eq!(selector.to_string(), "a=b,c in (d,e),!f");
        assert_eq!(Selector::parse(&selector.to_string()), Some(selector.clone()));
        assert!(selector.matches(Some(&json!({"a": "b", "c": "e"}))));
        assert!(!selector.matches(Some(&json!({"a": "b", "c": "e", "f": ""}))));
        assert!(!selector.matches(None));
    }
}
