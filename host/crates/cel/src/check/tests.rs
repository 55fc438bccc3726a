//! What `cases.jsonl` says that upstream answers (`k8s.io/apiserver` 0.36 with `cel-go` 0.26): below a schema one expression a line, where it
//! stands (in a policy, with patches or without, or in a rule of the schema), and upstream's faults or the result's type.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::types::{NAMESPACE, REQUEST, Type};
use super::{Scope, check};
use crate::declared::Declared;
use crate::parse;

fn scope(case: &Value, schema: &Value) -> Scope {
    let own = Type::declared(&Declared::of(schema, true).unwrap(), "selfType");
    if case.str_at(&["policy"]).is_empty() {
        let old = if case.bool_at(&["optional"]) { Type::optional(own.clone()) } else { own.clone() };
        return Scope::default().with("self", own).with("oldSelf", old);
    }
    let scope = Scope::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("params", Type::Dyn)
        .with("request", REQUEST.clone())
        .with("namespaceObject", NAMESPACE.clone())
        .with("authorizer", Type::hidden("kubernetes.authorization.Authorizer"))
        .with("authorizer.requestResource", Type::hidden("kubernetes.authorization.ResourceCheck"));
    if case.str_at(&["policy"]) == "patch" { scope.with_patches() } else { scope }
}

fn answer(case: &Value, schema: &Value) -> (String, String) {
    match parse::parse(case.str_at(&["expr"])).and_then(|(program, source)| check(&program, &scope(case, schema), &source)) {
        Ok(of) => (String::new(), of.map_or_else(|| "nothing".to_owned(), |of| of.result_name())),
        Err(why) => (why, String::new()),
    }
}

/// The cases that are answered otherwise here.
fn wrong(text: &str) -> Vec<String> {
    let mut cases = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let schema = cases.next().unwrap()["schema"].take();
    let wrong = cases.filter_map(|case| {
        let (issues, of) = answer(&case, &schema);
        let differs = issues != case.str_at(&["issues"]) || of != case.str_at(&["type"]);
        differs.then(|| format!("{}\n--- upstream {}\n{}\n--- here {of}\n{issues}", case["expr"], case.str_at(&["type"]), case.str_at(&["issues"])))
    });
    wrong.collect()
}

#[test]
fn types_are_upstreams() {
    let wrong = wrong(include_str!("cases.jsonl"));
    assert!(wrong.is_empty(), "{}\n{} differ", wrong.join("\n\n"), wrong.len());
}

/// Types that double with every level end the check, and nothing is said of the expression.
#[test]
fn types_stay_small() {
    let mut text = "1".to_owned();
    let mut open = String::new();
    for level in 0..60 {
        open.push_str(&format!(
            "[{{'k': {}}}].map(v{level}, ",
            if level == 0 { "1".to_owned() } else { format!("[v{0}, v{0}].map(w, {{'a': w, 'b': w}})", level - 1) }
        ));
        text = format!("{text})");
    }
    let text = format!("{open}{text} + nothing");
    let checked = std::thread::Builder::new().stack_size(parse::STACK_BYTES).spawn(move || {
        let (program, source) = parse::parse(&text).unwrap();
        check(&program, &Scope::default(), &source).unwrap_err()
    });
    let said = checked.unwrap().join().unwrap();
    assert!(said.contains("undeclared reference to 'nothing'") && said.matches("ERROR").count() == 1, "{said}");
}
