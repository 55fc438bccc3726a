//! The grammars of names: DNS labels and subdomains, label keys and values, ports, configuration keys.
//!
//! Each function gives every fault in upstream's words, so clients that match on messages keep working, and an empty
//! list (which allocates nothing) for a good value. Called by metadata and strategy validation and by selectors.

pub const LABEL_MAX: usize = 63;
pub const SUBDOMAIN_MAX: usize = 253;
const PORT_NAME_MAX: usize = 15;

/// How the names of one resource are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NameRule {
    #[default]
    Subdomain,
    /// The same in the words of upstream's declared checks.
    LongName,
    Label,
    Label1035,
    /// Anything that can be one segment of a path (roles, and the check that all kinds get).
    PathSegment,
}

impl NameRule {
    /// `prefix`: the name will get an ending (`generateName`), so a trailing dash is fine.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = if prefix && self != Self::PathSegment { mask_trailing_dash(name) } else { None };
        let name = masked.as_deref().unwrap_or(name);
        match self {
            Self::Subdomain => dns1123_subdomain(name),
            Self::LongName => {
                let (counted, told) = (max_len(SUBDOMAIN_MAX), format!("must be no more than {SUBDOMAIN_MAX} bytes"));
                dns1123_subdomain(name).into_iter().map(|fault| if fault == counted { told.clone() } else { fault }).collect()
            }
            Self::Label => dns1123_label(name),
            Self::Label1035 => dns1035_label(name),
            Self::PathSegment => path_segment(name, prefix),
        }
    }
}

pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut faults = too_long(value, LABEL_MAX);
    if !is_label(value) {
        faults.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character \
             (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned()
        });
    }
    faults
}

pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut faults = too_long(value, SUBDOMAIN_MAX);
    if !is_subdomain(value) {
        faults.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
             character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    faults
}

/// `*.example.com`.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    let mut faults = too_long(value, SUBDOMAIN_MAX);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        faults.push(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, \
             '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is \
             '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    faults
}

pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut faults = too_long(value, LABEL_MAX);
    if !(is_label(value) && value.as_bytes()[0].is_ascii_lowercase()) {
        faults.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric \
             character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    faults
}

/// A label's key: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, rest)) if rest.contains('/') => {
            let form = qualified_part_form();
            faults.push(format!("a valid label key {form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
            return faults;
        }
        Some(("", name)) => {
            faults.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            faults.extend(dns1123_subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}")));
            name
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        faults.push(format!("name part must be no more than {LABEL_MAX} bytes"));
    }
    if !is_qualified_part(name) {
        faults.push(format!("name part {}", qualified_part_form()));
    }
    faults
}

/// A label's value, which may be empty.
pub fn label_value(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > LABEL_MAX {
        faults.push(format!("must be no more than {LABEL_MAX} bytes"));
    }
    if !(value.is_empty() || is_qualified_part(value)) {
        faults.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
             character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    faults
}

pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|bad| name.contains(**bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

pub fn port_name(name: &str) -> Vec<String> {
    let mut faults = too_long(name, PORT_NAME_MAX);
    let bytes = name.as_bytes();
    if bytes.is_empty() || !bytes.iter().all(|b| is_lower_alnum(*b) || *b == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![format!("must be between {low} and {high}, inclusive")] }
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut faults = too_long(value, SUBDOMAIN_MAX);
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        faults.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
             (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match value {
        "." | ".." => faults.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => faults.push("must not start with '..'".to_owned()),
        _ => {}
    }
    faults
}

/// The name of an environment variable as the relaxed rule has it: printable ASCII without `=`.
pub fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

pub fn max_len(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

pub fn is_dns1123_label(value: &str) -> bool {
    value.len() <= LABEL_MAX && is_label(value)
}

pub fn is_dns1123_subdomain(value: &str) -> bool {
    value.len() <= SUBDOMAIN_MAX && is_subdomain(value)
}

fn too_long(value: &str, limit: usize) -> Vec<String> {
    if value.len() > limit { vec![max_len(limit)] } else { Vec::new() }
}

fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_lower_alnum(*first) && is_lower_alnum(*last) && bytes.iter().all(|b| is_lower_alnum(*b) || *b == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified_part(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner)
}

fn qualified_part_form() -> &'static str {
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character \
     (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
}

/// Upstream drops the last two characters for an `a`: a prefix that ends in `--` still fails.
fn mask_trailing_dash(name: &str) -> Option<String> {
    let mut kept: String = name.strip_suffix('-').filter(|rest| !rest.is_empty())?.to_owned();
    kept.pop();
    kept.push('a');
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(faults: Vec<String>, expected: Expect) {
        expected.assert_eq(&faults.join("\n"));
    }

    #[test]
    fn good_names_have_no_faults() {
        let good = [
            dns1123_label("a-1"),
            dns1123_subdomain("a.b-c.d"),
            dns1035_label("web"),
            qualified_name("example.com/My.Name_1"),
            label_value(""),
            label_value("v1.2_3"),
            port_name("http-2"),
            port_number(65535),
            config_map_key(".dot"),
            wildcard_subdomain("*.a.b"),
            NameRule::Subdomain.check("web-", true),
            NameRule::PathSegment.check("system:node", false),
        ];
        assert!(good.iter().all(Vec::is_empty), "{good:?}");
    }

    #[test]
    fn faults_are_told_in_full() {
        check(dns1123_label("a.b"), expect!["must not contain dots"]);
        check(
            NameRule::Subdomain.check("Web_", false),
            expect![
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ],
        );
        check(
            dns1123_label(&"A".repeat(64)),
            expect![[r#"
                must be no more than 63 characters
                a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]],
        );
        check(
            qualified_name("/"),
            expect![[r#"
                prefix part must be non-empty
                name part must be non-empty
                name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]],
        );
        check(
            port_name("-1--2"),
            expect![[r#"
                must contain at least one letter (a-z)
                must not contain consecutive hyphens
                must not begin or end with a hyphen"#]],
        );
        check(port_number(0), expect!["must be between 1 and 65535, inclusive"]);
        check(config_map_key("..x"), expect!["must not start with '..'"]);
        check(path_segment("a/b", false), expect!["may not contain '/'"]);
    }
}
