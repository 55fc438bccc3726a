//! `certificates.k8s.io/v1` CertificateSigningRequest. Who asks is written down by the server; the spec never changes.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pintle_api::names::{self, NameRule};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::context::WriteContext;
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{ensure_object, spec_mut};
use crate::kind::{Kind, restore};
use crate::print::{AGE, NAME, NONE, age, duration, text, text_or};
use crate::strategy::{Column, Part};
use crate::workload::SPEC;

const MIN_SECONDS: i64 = 600;
const MAX_SUBDOMAIN_BYTES: usize = 253;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    text("SignerName", "Who is asked to sign."),
    text("Requestor", "Who asks."),
    text("RequestedDuration", "How long the certificate shall hold."),
    text("Condition", "Whether it is approved, denied, issued."),
];

pub fn kind() -> Kind {
    let def = cluster("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest")
        .short(&["csr"])
        .status()
        .sub("approval", &["get", "patch", "update"]);
    Kind {
        names: NameRule::PathSegment,
        create,
        update,
        validate,
        validate_change,
        fields: &[("spec.signerName", |c| c.str_at(&["spec", "signerName"]).to_owned())],
        ..Kind::new(def).table(COLUMNS, cells)
    }
}

fn create(request: &mut Value, context: &WriteContext<'_>) {
    let Some(spec) = spec_mut(request) else { return };
    for field in ["uid", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".to_owned(), context.user.name.as_str().into());
    spec.insert("groups".to_owned(), json!(context.user.groups));
    if !context.user.uid.is_empty() {
        spec.insert("uid".to_owned(), context.user.uid.as_str().into());
    }
    if !context.user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(context.user.extra));
    }
}

fn update(new: &mut Value, old: &Value, part: Part, context: &WriteContext<'_>) {
    match part {
        Part::Main => restore(new, old, "spec"),
        Part::Other("approval") => {
            stamp_conditions(new, old, context);
            let conditions = new.at(&["status", "conditions"]).cloned().unwrap_or(json!([]));
            restore(new, old, "spec");
            restore(new, old, "status");
            new.set_at(&["status", "conditions"], conditions);
        }
        Part::Status => stamp_conditions(new, old, context),
        _ => {}
    }
}

fn stamp_conditions(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let Some(fields) = new.as_object_mut() else { return };
    let Some(conditions) = ensure_object(fields, "status").get_mut("conditions").and_then(Value::as_array_mut) else { return };
    let mut since = HashMap::new();
    for condition in old.list_at(&["status", "conditions"]) {
        since.entry((condition.str_at(&["type"]), condition.str_at(&["status"]))).or_insert_with(|| condition.str_at(&["lastTransitionTime"]));
    }
    for condition in conditions {
        let before = since.get(&(condition.str_at(&["type"]), condition.str_at(&["status"]))).map(|t| (*t).to_owned());
        if condition.str_at(&["lastUpdateTime"]).is_empty() {
            condition.set_at(&["lastUpdateTime"], now.as_str().into());
        }
        if condition.str_at(&["lastTransitionTime"]).is_empty() {
            let since = before.filter(|t| !t.is_empty()).unwrap_or_else(|| now.clone());
            condition.set_at(&["lastTransitionTime"], since.into());
        }
    }
}

fn validate(request: &Value, faults: &mut Faults) {
    let spec = request.get("spec").unwrap_or(&Value::Null);
    if let Err(why) = parse_request(spec.str_at(&["request"])) {
        faults.invalid(&SPEC.field("request"), spec.get("request").unwrap_or(&Value::Null), why);
    }
    let list = SPEC.field("usages");
    let usages = spec.list_at(&["usages"]);
    if usages.is_empty() {
        faults.required(&list, "");
    }
    let mut seen = HashSet::new();
    for (i, usage) in usages.iter().filter_map(Value::as_str).enumerate() {
        if !USAGES.contains(&usage) {
            faults.not_supported(&list.index(i), usage, &USAGES);
        }
        if !seen.insert(usage) {
            faults.duplicate(&list.index(i), &usage.into());
        }
    }
    signer_name(spec.str_at(&["signerName"]), &SPEC.field("signerName"), faults);
    if let Some(seconds) = spec.i64_at(&["expirationSeconds"]).filter(|s| *s < MIN_SECONDS) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        faults.invalid(&SPEC.field("expirationSeconds"), &seconds.into(), detail);
    }
}

fn parse_request(encoded: &str) -> Result<(), &'static str> {
    let pem = STANDARD.decode(encoded).map_err(|_| "illegal base64 data")?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| "PEM block type must be CERTIFICATE REQUEST")?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err("PEM block type must be CERTIFICATE REQUEST");
    }
    use x509_parser::prelude::FromDer;
    x509_parser::certification_request::X509CertificationRequest::from_der(&block.contents).map(|_| ()).map_err(|_| "malformed certificate request")
}

fn signer_name(name: &str, path: &Path<'_>, faults: &mut Faults) {
    if name.is_empty() {
        return faults.required(path, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        return faults.invalid_str(path, name, "the legacy signerName is not allowed via this API version");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        return faults.invalid_str(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    };
    if domain.len() > MAX_SUBDOMAIN_BYTES {
        faults.too_long(path, MAX_SUBDOMAIN_BYTES);
    }
    // The first wrong part speaks for all.
    let mut parts = |whole: &str, check: fn(&str) -> Vec<String>| {
        if let Some((part, messages)) = whole.split('.').map(|part| (part, check(part))).find(|(_, messages)| !messages.is_empty()) {
            faults.texts(path, whole, messages.into_iter().map(|said| format!("validating label {part:?}: {said}")).collect());
        }
    };
    parts(domain, names::dns1123_label);
    parts(rest, names::dns1123_subdomain);
    if !domain.contains('.') {
        faults.invalid_str(path, domain, "should be a domain with at least two segments separated by dots");
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Main {
        return;
    }
    let path = Path::root("status.conditions");
    let of = |request: &'_ Value, kind: &str| -> Vec<Value> {
        request.list_at(&["status", "conditions"]).iter().filter(|c| c.str_at(&["type"]) == kind).cloned().collect()
    };
    conditions(new.list_at(&["status", "conditions"]), &path, faults);
    for kind in ["Approved", "Denied", "Failed"] {
        let (after, before) = (of(new, kind), of(old, kind));
        if after.len() < before.len() {
            faults.forbidden(&path, &format!("updates may not remove a condition of type {kind:?}"));
            continue;
        }
        // Only the approval subresource says yes or no.
        if part == Part::Other("approval") || kind == "Failed" {
            continue;
        }
        if after.len() > before.len() {
            faults.forbidden(&path, &format!("updates may not add a condition of type {kind:?}"));
        } else if after != before {
            faults.forbidden(&path, &format!("updates may not modify a condition of type {kind:?}"));
        }
    }
    certificate(new.str_at(&["status", "certificate"]), old.str_at(&["status", "certificate"]), &Path::root("status.certificate"), faults);
}

fn conditions(conditions: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let (here, kind) = (path.index(i), condition.str_at(&["type"]));
        if kind.is_empty() {
            faults.required(&here.field("type"), "");
        }
        let allowed: &[&str] = if matches!(kind, "Approved" | "Denied" | "Failed") { &["True"] } else { &["False", "True", "Unknown"] };
        match condition.str_at(&["status"]) {
            "" => faults.required(&here.field("status"), ""),
            known if allowed.contains(&known) => {}
            other => faults.not_supported(&here.field("status"), other, allowed),
        }
        let opposite = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(opposite) {
            faults.invalid_str(path, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(kind) {
            faults.duplicate(&here.field("type"), &kind.into());
        }
    }
}

fn certificate(new: &str, old: &str, path: &Path<'_>, faults: &mut Faults) {
    if new == old {
        return;
    }
    if !new.is_empty()
        && let Err(why) = parse_certificates(new)
    {
        faults.invalid_str(path, "<certificate data>", &why);
    }
    if !old.is_empty() {
        faults.forbidden(path, "updates may not modify existing certificate content");
    }
}

fn parse_certificates(encoded: &str) -> Result<(), String> {
    let pem = STANDARD.decode(encoded).map_err(|_| "illegal base64 data".to_owned())?;
    let mut blocks = 0;
    for block in x509_parser::pem::Pem::iter_from_buffer(&pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|_| "x509: malformed certificate".to_owned())?;
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

fn cells(request: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let has = |kind: &str| request.list_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == kind);
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !request.str_at(&["status", "certificate"]).is_empty() {
        state.push_str(",Issued");
    }
    vec![
        request.name().into(),
        age(request, now),
        text_or(request, &["spec", "signerName"], NONE),
        request.str_at(&["spec", "username"]).into(),
        request.i64_at(&["spec", "expirationSeconds"]).map_or(NONE.into(), |s| duration(s).into()),
        state.into(),
    ]
}
