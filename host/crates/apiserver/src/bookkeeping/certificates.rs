//! CertificateSigningRequests: those of nodes are approved when the asker may have them, approved ones are signed.
//!
//! Signers of other names are left to others. What may be in a request is checked again before signing, so an approval
//! alone never widens a signer's rules.

use std::time::Duration;

use jiff::Timestamp;
use pintle_api::client::{Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use serde_json::{Value, json};

use super::Context;
use super::bootstrap::encode;
use super::follow::{Change, Interest, follow};
use super::queue::{Outcome, Queue};
use crate::auth::certificate_request::{CLIENT, GROUP, Parsed, parse};
use crate::auth::pki::{CERTIFICATE_LIFETIME, Request};
use crate::auth::rules::strings;
use crate::auth::{Attributes, Authorizer, Decision, User};

const REQUESTS: GroupVersionResource = GroupVersionResource::constant(GROUP, "v1", "certificatesigningrequests");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const SHORTEST_LIFETIME: Duration = Duration::from_secs(600);
/// How often a serving request that may not be approved yet is looked at again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const NODE_PREFIX: &str = "system:node:";

pub async fn run(context: Context) {
    let queue: Queue<String> = Queue::default();
    let watching = {
        let queue = queue.clone();
        follow(context.client.clone(), Interest::all(REQUESTS), move |change| {
            let Change::Now(object) = change else { return };
            if let Ok(meta) = super::meta::Meta::read(object) {
                queue.add(meta.metadata.name);
            }
        })
    };
    let working = queue.run(1, |name| {
        let context = &context;
        async move {
            match work(context, &name).await {
                Ok(outcome) => outcome,
                Err(status) if status.is(Reason::NotFound) => Outcome::Done,
                Err(_) => Outcome::Retry,
            }
        }
    });
    tokio::join!(watching, working);
}

async fn work(context: &Context, name: &str) -> Result<Outcome, Status> {
    let target = Target::object(REQUESTS, None, name);
    let mut object = context.client.get(&target).await?.parse()?;
    if !object.str_at(&["status", "certificate"]).is_empty() || has(&object, "Denied") || has(&object, "Failed") {
        return Ok(Outcome::Done);
    }
    let signer = object.str_at(&["spec", "signerName"]).to_owned();
    if ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&signer.as_str()) {
        return Ok(Outcome::Done);
    }
    if !has(&object, "Approved") {
        let Some(message) = approval(context, &object, &signer).await else {
            // A node asks for its certificate before it has told its addresses.
            return Ok(if signer == KUBELET_SERVING { Outcome::After(ASK_AGAIN) } else { Outcome::Done });
        };
        add_condition(&mut object, "Approved", "AutoApproved", message);
        // The change comes back through the watch and is signed then.
        return context.client.update(&target.subresource("approval"), object, &WriteOptions::default()).await.map(|_| Outcome::Done);
    }
    let usages = strings(object.at(&["spec"]).unwrap_or(&Value::Null), "usages");
    let checked = parse(&object).and_then(|parsed| check(&parsed, &usages, &signer).map(|()| parsed));
    match checked.and_then(|parsed| sign(context, &parsed, &usages, object.i64_at(&["spec", "expirationSeconds"]))) {
        Ok(certificate) => object.set_at(&["status", "certificate"], json!(encode(certificate))),
        Err(why) => add_condition(&mut object, "Failed", "SignerValidationFailure", &why),
    }
    context.client.update(&target.subresource("status"), object, &WriteOptions::default()).await.map(|_| Outcome::Done)
}

/// Why the request may be approved at once; `None`: a human decides.
async fn approval(context: &Context, object: &Object, signer: &str) -> Option<&'static str> {
    let parsed = parse(object).ok()?;
    let spec = object.at(&["spec"])?;
    let usages = strings(spec, "usages");
    check(&parsed, &usages, signer).ok()?;
    let user = User { name: spec.str_at(&["username"]).to_owned(), groups: strings(spec, "groups"), ..User::default() };
    let may = |subresource: &'static str| {
        let asked = Attributes::of_resource(&user, "create", GROUP, "v1", "certificatesigningrequests", "", "").with_subresource(subresource);
        context.auth.authorize(&asked) == Decision::Allow
    };
    match signer {
        KUBELET_CLIENT if user.name == parsed.common_name && may("selfnodeclient") => {
            Some("Auto approving self kubelet client certificate after SubjectAccessReview.")
        }
        KUBELET_CLIENT if may("nodeclient") => Some("Auto approving kubelet client certificate after SubjectAccessReview."),
        // A node's own name and addresses, as the cluster knows them.
        KUBELET_SERVING if user.name == parsed.common_name => {
            let name = parsed.common_name.strip_prefix(NODE_PREFIX)?;
            let node = context.client.get(&Target::object(NODES, None, name)).await.ok()?.parse().ok()?;
            let own = |text: &str| text == name || node.list_at(&["status", "addresses"]).iter().any(|a| a.str_at(&["address"]) == text);
            let fits = parsed.names.iter().all(|n| match n {
                SanType::DnsName(dns) => own(dns.as_ref()),
                SanType::IpAddress(address) => own(&address.to_string()),
                _ => false,
            });
            fits.then_some("Auto approving kubelet serving certificate for the node's own name and addresses.")
        }
        _ => None,
    }
}

/// Whether the signer signs such a request.
fn check(request: &Parsed, usages: &[String], signer: &str) -> Result<(), String> {
    let of_node = || -> Result<(), String> {
        if request.organizations != ["system:nodes"] {
            return Err("subject organization is not system:nodes".to_owned());
        }
        if request.common_name.starts_with(NODE_PREFIX) { Ok(()) } else { Err("subject common name does not begin with system:node:".to_owned()) }
    };
    let exactly = |wanted: &[&str]| -> Result<(), String> {
        let given = usages.iter().filter(|u| *u != "key encipherment");
        let fits = given.clone().all(|u| wanted.contains(&u.as_str())) && wanted.iter().all(|w| given.clone().any(|u| u == w));
        if fits { Ok(()) } else { Err(format!("usages did not match {wanted:?}")) }
    };
    match signer {
        KUBELET_CLIENT => {
            of_node()?;
            if !request.names.is_empty() {
                return Err("subjectAltNames are not allowed".to_owned());
            }
            exactly(&["digital signature", "client auth"])
        }
        KUBELET_SERVING => {
            of_node()?;
            if request.names.is_empty() {
                return Err("DNS or IP subjectAltName is required".to_owned());
            }
            if !request.names.iter().all(|n| matches!(n, SanType::DnsName(_) | SanType::IpAddress(_))) {
                return Err("only DNS and IP subjectAltNames are allowed".to_owned());
            }
            exactly(&["digital signature", "server auth"])
        }
        CLIENT => {
            let allowed = ["client auth", "digital signature", "key encipherment"];
            match usages.iter().find(|u| !allowed.contains(&u.as_str())) {
                Some(other) => Err(format!("usages did not match {allowed:?}: {other:?}")),
                None if usages.iter().any(|u| u == "client auth") => Ok(()),
                None => Err("usages must include \"client auth\"".to_owned()),
            }
        }
        _ => Ok(()),
    }
}

fn sign(context: &Context, parsed: &Parsed, usages: &[String], seconds: Option<i64>) -> Result<String, String> {
    let asked = seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs).unwrap_or(CERTIFICATE_LIFETIME);
    let request = Request {
        common_name: parsed.common_name.clone(),
        organizations: parsed.organizations.clone(),
        names: parsed.names.clone(),
        usages: usages.iter().filter_map(|u| extended_usage(u)).collect(),
        key_usages: usages.iter().filter_map(|u| key_usage(u)).collect(),
        lifetime: asked.clamp(SHORTEST_LIFETIME, CERTIFICATE_LIFETIME),
    };
    context.auth.pki.sign(&request, &parsed.public_key).map_err(|e| e.to_string())
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match name {
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        "any" => ExtendedKeyUsagePurpose::Any,
        _ => return None,
    })
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn has(object: &Object, condition: &str) -> bool {
    let conditions = object.list_at(&["status", "conditions"]);
    conditions.iter().any(|c| c.str_at(&["type"]) == condition && !matches!(c.str_at(&["status"]), "False" | "Unknown"))
}

fn add_condition(object: &mut Object, kind: &str, reason: &str, message: &str) {
    let now = super::seconds(Timestamp::now());
    let mut conditions = object.list_at(&["status", "conditions"]).to_vec();
    conditions.push(json!({
        "type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now, "lastTransitionTime": now,
    }));
    object.set_at(&["status", "conditions"], Value::Array(conditions));
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::auth::certificate_request::subject_of;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn request(common_name: &str, organization: &str, names: &[&str]) -> Object {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, common_name);
        let made = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        json!({"spec": {"request": encode(made.pem().unwrap())}})
    }

    fn refusal(object: &Object, usages: &[&str], signer: &str) -> String {
        let usages: Vec<String> = usages.iter().map(|u| (*u).to_owned()).collect();
        parse(object).and_then(|p| check(&p, &usages, signer)).err().unwrap_or_default()
    }

    #[test]
    fn signers_keep_to_their_rules() {
        let node = request("system:node:n1", "system:nodes", &[]);
        assert_eq!(subject_of(&node).unwrap(), ("system:node:n1".to_owned(), vec!["system:nodes".to_owned()]));
        let client = ["digital signature", "client auth"];
        assert_eq!(refusal(&node, &client, KUBELET_CLIENT), "");
        assert_eq!(refusal(&node, &["digital signature", "key encipherment", "client auth"], KUBELET_CLIENT), "");
        assert_eq!(refusal(&node, &["client auth"], KUBELET_CLIENT), "usages did not match [\"digital signature\", \"client auth\"]");
        assert_eq!(refusal(&node, &["digital signature", "server auth"], KUBELET_SERVING), "DNS or IP subjectAltName is required");
        assert_eq!(refusal(&request("ann", "system:nodes", &[]), &client, KUBELET_CLIENT), "subject common name does not begin with system:node:");
        let serving = request("system:node:n1", "system:nodes", &["n1", "10.0.0.1"]);
        assert_eq!(refusal(&serving, &["digital signature", "server auth"], KUBELET_SERVING), "");
        assert_eq!(refusal(&serving, &client, KUBELET_CLIENT), "subjectAltNames are not allowed");
        assert_eq!(refusal(&node, &["client auth"], CLIENT), "");
        assert!(!refusal(&node, &["server auth"], CLIENT).is_empty());
    }

    #[test]
    fn a_broken_request_is_refused() {
        assert!(parse(&json!({"spec": {"request": encode("hello")}})).is_err());
        let mut tampered = STANDARD.decode(request("ann", "dev", &[])["spec"]["request"].as_str().unwrap()).unwrap();
        let middle = tampered.len() / 2;
        tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
        assert!(parse(&json!({"spec": {"request": encode(tampered)}})).is_err());
    }
}
