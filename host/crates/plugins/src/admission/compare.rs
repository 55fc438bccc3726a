//! Two revisions' verdicts on one request side by side: whether it goes on, in what words it is refused, and what the object becomes.
//! Warnings and audit annotations are not compared. Pure.

use pintle_api::admission::{Change, Refusal, Verdict};
use pintle_plugin_bindings::admission::pintle::admission::types::{Operation, Phase, Request};
use serde_json::Value;

use crate::controller::compare::fields;
use crate::controller::world::gvr;
use crate::stages::secrets;
use crate::stages::spec::Difference;

/// What the API server would make of a verdict.
#[derive(PartialEq)]
enum Outcome {
    Allowed {
        object: Value,
        changed: bool,
    },
    Refused {
        code: u16,
        reason: String,
        message: String,
    },
    /// A failure, as `failurePolicy` says.
    Unusable(String),
}

/// `None`: the server would do the same.
pub fn compare(request: &Request, live: &Verdict, candidate: &Verdict) -> Option<Difference> {
    // Most say yes and change nothing: no object is read for that.
    if live.refusal.is_none() && candidate.refusal.is_none() && live.change == Change::None && candidate.change == Change::None {
        return None;
    }
    let (live, candidate) = (outcome(request, live), outcome(request, candidate));
    let kind = match (&live, &candidate) {
        (Outcome::Allowed { object: a, .. }, Outcome::Allowed { object: b, .. }) => (a != b).then_some("Object")?,
        (Outcome::Refused { .. }, Outcome::Refused { .. }) => (live != candidate).then_some("Refusal")?,
        (Outcome::Unusable(_), Outcome::Unusable(_)) => return None,
        _ => "Verdict",
    };
    let (ours, theirs) = (live.to_string(), candidate.to_string());
    let reasons = match (live, candidate) {
        (Outcome::Allowed { object: mut a, .. }, Outcome::Allowed { object: mut b, .. }) => {
            if secrets::are_in(&gvr(request.resource.clone())) {
                secrets::hide(&mut a, &mut b);
            }
            fields(&a, &b)
        }
        _ => Vec::new(),
    };
    Some(Difference { subject: subject(request), kind: kind.to_owned(), live: ours, candidate: theirs, reasons, ..Difference::default() })
}

/// `CREATE configmaps n/web, Mutate`.
pub fn subject(request: &Request) -> String {
    let operation = match request.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    };
    let phase = match request.phase {
        Phase::Mutate => "Mutate",
        Phase::Validate => "Validate",
    };
    let sub = if request.subresource.is_empty() { String::new() } else { format!("/{}", request.subresource) };
    let namespace = if request.namespace.is_empty() { String::new() } else { format!("{}/", request.namespace) };
    let name = match (request.name.as_str(), template(request)) {
        ("", Some(template)) => format!("{template}*"),
        (name, _) => name.to_owned(),
    };
    format!("{operation} {}{sub} {namespace}{name}, {phase}", request.resource.name)
}

/// What one object keeps for its life, whatever is asked about it. Those that are made from a template share the template's: their names
/// are not known yet when they are made.
pub fn identity(request: &Request) -> String {
    let name = template(request).unwrap_or_else(|| request.name.clone());
    format!("{}.{}/{}/{name}", request.resource.name, request.resource.group, request.namespace)
}

/// `metadata.generateName`, which an object keeps.
fn template(request: &Request) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        generate_name: Option<String>,
    }
    let json = if request.object.is_empty() { &request.old_object } else { &request.object };
    let object: Object = serde_json::from_slice(json).ok()?;
    object.metadata.generate_name.filter(|name| !name.is_empty())
}

fn outcome(request: &Request, verdict: &Verdict) -> Outcome {
    if let Some(Refusal { code, reason, message }) = &verdict.refusal {
        let code = if *code == 0 { 403 } else { *code };
        let reason = if reason.is_empty() && code == 403 { "Forbidden".to_owned() } else { reason.clone() };
        return Outcome::Refused { code, reason, message: message.clone() };
    }
    if request.phase == Phase::Validate && verdict.change != Change::None {
        return Outcome::Unusable("it changes the object while validating".to_owned());
    }
    // Deletions have no object to be changed.
    let before: Value = serde_json::from_slice(&request.object).unwrap_or_default();
    let after = match &verdict.change {
        Change::None => Ok(before.clone()),
        Change::Object(object) => Ok(object.clone()),
        Change::Patch(patch) => pintle_api::patch::json::apply(before.clone(), patch),
    };
    match after {
        Ok(object) => Outcome::Allowed { changed: object != before, object },
        Err(status) => Outcome::Unusable(format!("its patch does not apply: {}", status.message)),
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allowed { changed: true, .. } => f.write_str("allowed, changed"),
            Self::Allowed { changed: false, .. } => f.write_str("allowed"),
            Self::Refused { code, reason, message } => {
                let reason = if reason.is_empty() { String::new() } else { format!(" {reason}") };
                write!(f, "refused, {code}{reason}: {message}")
            }
            Self::Unusable(why) => write!(f, "no answer: {why}"),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use pintle_plugin_bindings::admission::pintle::admission::types::{KindId, UserInfo};
    use pintle_plugin_bindings::common::types::ResourceId;
    use serde_json::json;

    pub fn request(phase: Phase, resource: &str, object: &Value) -> Request {
        let kind = || KindId { group: String::new(), version: "v1".to_owned(), kind: String::new() };
        let resource = || ResourceId { group: String::new(), version: "v1".to_owned(), name: resource.to_owned() };
        Request {
            phase,
            operation: Operation::Create,
            kind: kind(),
            resource: resource(),
            subresource: String::new(),
            request_kind: kind(),
            request_resource: resource(),
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            namespace: "n".to_owned(),
            user: UserInfo { username: String::new(), uid: String::new(), groups: Vec::new(), extra: Vec::new() },
            object: object.to_string().into_bytes(),
            old_object: Vec::new(),
            dry_run: false,
            options: Vec::new(),
        }
    }
    fn refused(code: u16, reason: &str, message: &str) -> Verdict {
        Verdict { refusal: Some(Refusal { code, reason: reason.to_owned(), message: message.to_owned() }), ..Verdict::default() }
    }
    fn changed(change: Change) -> Verdict {
        Verdict { change, ..Verdict::default() }
    }
    fn check(request: &Request, live: &Verdict, candidate: &Verdict, expected: Expect) {
        let text = match compare(request, live, candidate) {
            None => "the same".to_owned(),
            Some(d) => format!("{} {}\n- {}\n+ {}\n{}", d.kind, d.subject, d.live, d.candidate, d.reasons.join("\n")),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn verdict_and_words() {
        let object = json!({"metadata": {"generateName": "web-"}, "spec": {}});
        let asked = request(Phase::Validate, "pods", &object);
        let allowed = Verdict::default();
        check(&asked, &allowed, &Verdict { warnings: vec!["w".to_owned()], ..Verdict::default() }, expect!["the same"]);
        check(&asked, &refused(0, "", "no"), &refused(403, "Forbidden", "no"), expect!["the same"]);
        check(
            &asked,
            &allowed,
            &refused(0, "", "no"),
            expect![[r#"
            Verdict CREATE pods n/web-*, Validate
            - allowed
            + refused, 403 Forbidden: no
        "#]],
        );
        check(
            &asked,
            &refused(422, "Invalid", "no"),
            &refused(403, "", "never"),
            expect![[r#"
            Refusal CREATE pods n/web-*, Validate
            - refused, 422 Invalid: no
            + refused, 403 Forbidden: never
        "#]],
        );
        check(
            &asked,
            &allowed,
            &changed(Change::Object(object)),
            expect![[r#"
            Verdict CREATE pods n/web-*, Validate
            - allowed
            + no answer: it changes the object while validating
        "#]],
        );
    }

    #[test]
    fn what_the_object_becomes() {
        let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}});
        let asked = request(Phase::Mutate, "deployments", &object);
        let patch = |value: u32| changed(Change::Patch(json!([{"op": "replace", "path": "/spec/replicas", "value": value}])));
        let whole = changed(Change::Object(json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}})));
        check(&asked, &patch(2), &whole, expect!["the same"]);
        check(&asked, &Verdict::default(), &patch(1), expect!["the same"]);
        check(
            &asked,
            &whole,
            &patch(3),
            expect![[r#"
                Object CREATE deployments n/web, Mutate
                - allowed, changed
                + allowed, changed
                spec.replicas: 2, candidate 3"#]],
        );
        let nowhere = changed(Change::Patch(json!([{"op": "replace", "path": "/nowhere/at/all", "value": 1}])));
        assert_eq!(compare(&asked, &Verdict::default(), &nowhere).map(|d| d.kind).as_deref(), Some("Verdict"));
    }

    #[test]
    fn a_secrets_values_stay_secret() {
        let object = json!({"metadata": {"name": "s"}, "data": {"a": "eA=="}});
        let other = changed(Change::Object(json!({"metadata": {"name": "s"}, "data": {"a": "aHVudGVyMg=="}})));
        check(
            &request(Phase::Mutate, "secrets", &object),
            &Verdict::default(),
            &other,
            expect![[r#"
                Object CREATE secrets n/s, Mutate
                - allowed
                + allowed, changed
                data.a: "<hidden>", candidate "<hidden, another>""#]],
        );
    }

    #[test]
    fn what_a_template_made_has_the_templates_identity() {
        let made = json!({"metadata": {"name": "web-x1y2z", "generateName": "web-"}});
        let to_be = json!({"metadata": {"generateName": "web-"}});
        let one = |object: &Value| identity(&request(Phase::Mutate, "pods", object));
        assert_eq!((one(&made), one(&to_be)), ("pods./n/web-".to_owned(), "pods./n/web-".to_owned()));
        assert_eq!(one(&json!({"metadata": {"name": "single"}})), "pods./n/single");
    }
}
