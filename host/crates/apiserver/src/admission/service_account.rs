//! ServiceAccount: gives each new pod an account, the account's pull secrets, and a mounted token.

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;
use pintle_registry::fields::is_zero;
use pintle_registry::podspec::annotations::MIRROR;
use serde_json::{Value, json};

use super::{AdmissionAttributes, Operation};

const ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and seven seconds: old clients that never read the file again are told apart by this odd figure.
const TOKEN_SECONDS: i64 = 3607;
const FILE_MODE: i64 = 0o644;

pub fn admit(pod: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    if attributes.operation != Operation::Create || !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    if pod.annotation(MIRROR).is_some() {
        return mirror_pod(pod, attributes);
    }
    let name = match pod.str_at(&["spec", "serviceAccountName"]) {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    pod.set_at(&["spec", "serviceAccountName"], name.clone().into());
    pod.set_at(&["spec", "serviceAccount"], name.clone().into());
    let namespace = attributes.namespace;
    let Some(account) = context.objects.get(&ACCOUNTS, Some(namespace), &name) else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(attributes.forbidden(&why));
    };
    if wants_token(pod, &account) {
        mount_token(pod);
    }
    if pod.list_at(&["spec", "imagePullSecrets"]).is_empty()
        && let Some(secrets) = account.get("imagePullSecrets").filter(|s| !is_zero(s))
    {
        pod.set_at(&["spec", "imagePullSecrets"], secrets.clone());
    }
    Ok(())
}

fn mirror_pod(pod: &Object, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
    if !pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    let volumes = pod.list_at(&["spec", "volumes"]);
    if volumes.iter().any(|v| v.get("secret").is_some_and(|s| !s.is_null())) {
        return Err(attributes.forbidden("a mirror pod may not reference secrets"));
    }
    let tokens = volumes.iter().flat_map(|v| v.list_at(&["projected", "sources"])).any(|s| s.get("serviceAccountToken").is_some());
    if tokens { Err(attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections")) } else { Ok(()) }
}

/// The pod's word goes before the account's.
fn wants_token(pod: &Object, account: &Object) -> bool {
    let said = |v: Option<&Value>| v.and_then(Value::as_bool);
    said(pod.at(&["spec", "automountServiceAccountToken"])).or_else(|| said(account.get("automountServiceAccountToken"))).unwrap_or(true)
}

fn mount_token(pod: &mut Object) {
    let present = pod.list_at(&["spec", "volumes"]).iter().map(|v| v.str_at(&["name"])).find(|n| n.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", random_suffix()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let mut mounts = container.list_at(&["volumeMounts"]).to_vec();
            if mounts.iter().any(|m| m.str_at(&["mountPath"]) == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            container.set_at(&["volumeMounts"], mounts.into());
            needed = true;
        }
    }
    if needed && present.is_none() {
        let mut volumes = pod.list_at(&["spec", "volumes"]).to_vec();
        volumes.push(token_volume(&name));
        pod.set_at(&["spec", "volumes"], volumes.into());
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": FILE_MODE, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// Five letters and digits without vowels, as generated names end.
fn random_suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}
