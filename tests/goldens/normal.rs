//! What differs from run to run is replaced by its name: times, ages, uids, revisions, addresses, ports and tokens, and the widths of columns
//! that follow from them.

use std::sync::LazyLock;

use regex::Regex;

/// In this order.
const RULES: &[(&str, &str)] = &[
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4}", "<time>"),
    (r"\b([WE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \w+\.go:\d+\]", "$1<time>"),
    (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r#"(resourceVersion"?[:=] ?|Resource Version: +)"?\d+"?"#, "$1<revision>"),
    (r"(Expected resource version to be 1, was) \d+", "$1 <revision>"),
    (r"/tmp/(LIVE|MERGED)-\d+", "/tmp/$1"),
    (r"/tmp/kubectl-edit-\d+", "/tmp/kubectl-edit"),
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
    (r"\b10\.(9[6-9]|10\d|11[01])\.\d{1,3}\.\d{1,3}\b", "<service-ip>"),
    (r"\b(localhost|127\.0\.0\.1):\d{4,5}\b", "<server>"),
    (r"\b(nodePort\S*|NodePort:.*|80:|443:)( ?)3[0-2]\d{3}\b", "$1$2<port>"),
    // Where the server itself listens.
    (r"targetPort: \d{5}$", "targetPort: <port>"),
    // The random end of a generated name.
    (r"\b(kube-api-access)-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "$1-<random>"),
    // Ages, alone in their column.
    (r"(^|\s{2,})(\d+[smhd](\d+[smh])?( ago)?|<invalid>)(\s{2,}|$)", "$1<age>$5"),
    (r"(\s{2,})\d+[smhd](\d+[smh])? \(x(\d+) over \d+[smhd]\)", "$1<age> (x$3)"),
    (r"(\S) {2,}", "$1  "),
    (r"[ \t]+$", ""),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> =
    LazyLock::new(|| RULES.iter().map(|(rule, name)| (Regex::new(rule).expect("a constant"), *name)).collect());

pub fn normal(output: &str) -> String {
    let lines = output.lines().map(|line| {
        let mut line = with_sorted_keys(line);
        for (rule, name) in COMPILED.iter() {
            line = rule.replace_all(&line, *name).into_owned();
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An answer as it came over the wire: in which order an object's fields stand there says nothing.
fn with_sorted_keys(line: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(value) if line.starts_with("  {\"") => format!("  {value}"),
        _ => line.to_owned(),
    }
}

#[test]
fn what_changes_from_run_to_run_is_named() {
    let check = |input: &str, wanted: &str| {
        assert_eq!(normal(input), wanted);
        assert_eq!(normal(wanted), wanted, "twice as once");
    };
    check("  web    1         12s", "  web  1  <age>");
    check("    uid: 0f3de5f2-3f1a-4c0c-9d7e-3e2b1f0b3c11", "    uid: <uid>");
    check(r#"    "resourceVersion": "117","#, r#"    "resourceVersion": <revision>,"#);
    check("  Created:   Sat, 21 Nov 2026 16:15:21 +0000", "  Created:  <time>");
    check(r#"  {"b":1,"a":[]}"#, r#"  {"a":[],"b":1}"#);
    check("  delay=30s timeout=1s", "  delay=30s timeout=1s");
}
