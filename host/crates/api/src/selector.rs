//! Label selectors (`app in (a,b),!old`, and the `LabelSelector` of specs) and field selectors (`status.phase!=Failed`).
//!
//! Parsed once, matched often: a match allocates nothing. Parse faults carry upstream's words; the caller answers
//! them with 400. Whether a kind knows a field is the caller's table: [`FieldSelector::require_known`].

use std::fmt;

use serde_json::{Map, Value};

use crate::names;
use crate::status::Cause;

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
        let mut requirements = Parser { tokens: scan(text), at: 0 }.parse()?;
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

fn strings(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    End,
    Close,
    Comma,
    Not,
    Binary(Operator, &'static str),
    Word(String),
    Open,
    Bad(String),
}

impl Token {
    /// How a message names it.
    fn text(&self) -> &str {
        match self {
            Self::End => "",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Binary(_, text) => text,
            Self::Word(word) => word,
            Self::Open => "(",
            Self::Bad(why) => why,
        }
    }
    /// The word that it is where values or keys stand: `in` and `notin` are words there.
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Binary(Operator::In | Operator::NotIn, text) => Some(text),
            _ => None,
        }
    }
}

fn is_symbol(c: char) -> bool {
    "=!(),><".contains(c)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() && !rest.starts_with('\0') {
        let (token, length) = if rest.starts_with(is_symbol) { scan_symbol(rest) } else { scan_word(rest) };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(is_blank);
    }
    tokens.push(Token::End);
    tokens
}

fn scan_symbol(rest: &str) -> (Token, usize) {
    let two = rest.get(..2).unwrap_or_default();
    match two {
        "==" => return (Token::Binary(Operator::DoubleEquals, "=="), 2),
        "!=" => return (Token::Binary(Operator::NotEquals, "!="), 2),
        _ => {}
    }
    let token = match &rest[..1] {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "=" => Token::Binary(Operator::Equals, "="),
        ">" => Token::Binary(Operator::GreaterThan, ">"),
        "<" => Token::Binary(Operator::LessThan, "<"),
        "(" => Token::Open,
        other => Token::Bad(format!("error expected: keyword found '{other}'")),
    };
    (token, 1)
}

fn scan_word(rest: &str) -> (Token, usize) {
    let length = rest.find(|c| is_symbol(c) || is_blank(c) || c == '\0').unwrap_or(rest.len());
    let token = match &rest[..length] {
        "in" => Token::Binary(Operator::In, "in"),
        "notin" => Token::Binary(Operator::NotIn, "notin"),
        word => Token::Word(word.to_owned()),
    };
    (token, length)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

type Parsed<T> = Result<T, SelectorError>;

impl Parser {
    fn parse(mut self) -> Parsed<Vec<Requirement>> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                token if token.word().is_some() || *token == Token::Not => {}
                token => return Err(found(token, ", expected: !, identifier, or 'end of string'")),
            }
            let requirement = self.requirement().map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Comma if self.peek().word().is_some() || *self.peek() == Token::Not => {}
                Token::Comma => return Err(found(self.peek(), ", expected: identifier after ','")),
                token => return Err(found(&token, ", expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let token = self.next();
        let Some(key) = token.word().map(str::to_owned) else { return Err(found(&token, ", expected: identifier")) };
        let faults = names::qualified_name(&key);
        if !faults.is_empty() {
            return Err(SelectorError(format!("<nil>: Invalid value: {key:?}: {}", faults.join("; "))));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            Token::Binary(operator, _) => operator,
            token => return Err(found(&token, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.value_set()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Parsed<String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        token.word().map(str::to_owned).ok_or_else(|| found(&token, ", expected: identifier"))
    }

    fn value_set(&mut self) -> Parsed<Vec<String>> {
        let token = self.next();
        if token != Token::Open {
            return Err(found(&token, " expected: '('"));
        }
        match self.peek().clone() {
            Token::Close => {
                self.next();
                Ok(vec![String::new()])
            }
            token if token.word().is_some() || token == Token::Comma => {
                let values = self.value_list()?;
                if self.next() != Token::Close {
                    return Err(found(&token, ", expected: ')'"));
                }
                Ok(values)
            }
            token => Err(found(&token, ", expected: ',', ')' or identifier")),
        }
    }

    /// Stops before the closing parenthesis. Empty places between commas are empty values.
    fn value_list(&mut self) -> Parsed<Vec<String>> {
        let mut values = Vec::new();
        loop {
            let token = self.next();
            if let Some(word) = token.word() {
                values.push(word.to_owned());
                match self.peek() {
                    Token::Comma => {}
                    Token::Close => return Ok(values),
                    other => return Err(found(other, ", expected: ',' or ')'")),
                }
            } else if token == Token::Comma {
                if values.is_empty() || *self.peek() == Token::Comma {
                    values.push(String::new());
                }
                if *self.peek() == Token::Close {
                    values.push(String::new());
                    return Ok(values);
                }
            } else {
                return Err(found(&token, ", expected: ',', or identifier"));
            }
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
}

fn found(token: &Token, expected: &str) -> SelectorError {
    SelectorError(format!("found '{}'{expected}", token.text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check<T: fmt::Display>(parse: fn(&str) -> Result<T, SelectorError>, inputs: &[&str], expected: Expect) {
        let lines: Vec<String> = inputs
            .iter()
            .map(|text| match parse(text) {
                Ok(selector) => format!("{text} -> {selector}"),
                Err(error) => format!("{text} -> error: {error}"),
            })
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn label_selectors_parse() {
        check(
            LabelSelector::parse,
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
            LabelSelector::parse,
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
        assert_eq!(LabelSelector::from_spec(Some(&bad)).unwrap_err().to_string(), "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty");
        let causes: Vec<String> = validate_label_selector(&bad, "spec.selector").into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        expect![[r#"
            spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.selector.matchExpressions[1].operator: Invalid value: "Has": not a valid selector operator
            spec.selector.matchExpressions[1].key: Invalid value: "": name part must be non-empty
            spec.selector.matchExpressions[1].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]]
        .assert_eq(&causes.join("\n"));
    }

    #[test]
    fn field_selectors() {
        check(
            FieldSelector::parse,
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
