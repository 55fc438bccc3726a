//! `v1` Secret: values that clients give as text become base64, and each type has the keys that it needs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::configmaps::{MAX_DATA_BYTES, frozen};
use crate::checks::immutable;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, ensure_object};
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, number, text};
use crate::warnings;

const DATA: Path<'static> = Path::root("data");
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub fn kind() -> Kind {
    Kind {
        warn: warnings::secret,
        default,
        validate,
        validate_change: |new, old, _, faults| {
            immutable(new, old, &["type"], faults);
            frozen(new, old, &["data"], faults);
        },
        fields: &[("type", |s| s.str_at(&["type"]).to_owned())],
        ..Kind::new(namespaced("v1", "secrets", "Secret")).table(
            &[NAME, text("Type", "What the data is for."), number("Data", "Number of keys."), AGE],
            |secret, now| {
                let keys = secret.map_at(&["data"]).map_or(0, serde_json::Map::len);
                vec![secret.name().into(), secret.str_at(&["type"]).into(), keys.into(), age(secret, now)]
            },
        )
    }
}

fn default(secret: &mut Value) {
    let Some(fields) = secret.as_object_mut() else { return };
    default_empty(fields, "type", "Opaque");
    if let Some(Value::Object(plain)) = fields.remove("stringData") {
        let data = ensure_object(fields, "data");
        for (key, value) in plain {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or("")).into());
        }
    }
}

fn validate(secret: &Value, faults: &mut Faults) {
    let mut size = 0;
    for (key, value) in secret.map_at(&["data"]).into_iter().flatten() {
        faults.texts(&DATA.key(key), key, names::config_map_key(key));
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > MAX_DATA_BYTES {
        faults.too_long(&DATA, MAX_DATA_BYTES);
    }
    let has = |key: &str| secret.at(&["data", key]).is_some();
    let mut need = |keys: &[&str]| keys.iter().filter(|key| !has(key)).for_each(|key| faults.required(&DATA.key(key), ""));
    match secret.str_at(&["type"]) {
        "kubernetes.io/service-account-token" if secret.annotation(ACCOUNT_NAME).unwrap_or("").is_empty() => {
            faults.required(&Path::root("metadata.annotations").key(ACCOUNT_NAME), "");
        }
        "kubernetes.io/dockercfg" => docker(secret, ".dockercfg", faults),
        "kubernetes.io/dockerconfigjson" => docker(secret, ".dockerconfigjson", faults),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => need(&["username", "password"]),
        "kubernetes.io/ssh-auth" if secret.str_at(&["data", "ssh-privatekey"]).is_empty() => {
            faults.required(&DATA.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn docker(secret: &Value, key: &str, faults: &mut Faults) {
    let Some(encoded) = secret.at(&["data", key]).and_then(Value::as_str) else {
        return faults.required(&DATA.key(key), "");
    };
    let parsed = STANDARD.decode(encoded).map_err(|e| e.to_string());
    let parsed = parsed.and_then(|bytes| {
        serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).map_err(|e| match bytes.trim_ascii_start().first() {
            _ if e.is_eof() => "unexpected end of JSON input".to_owned(),
            // As Go's decoder says it, where no value begins at all.
            Some(first) if first.is_ascii_graphic() && !b"{[\"-0123456789tfn".contains(first) => {
                format!("invalid character '{}' looking for beginning of value", char::from(*first))
            }
            _ => e.to_string(),
        })
    });
    if let Err(why) = parsed {
        faults.invalid_str(&DATA.key(key), "<secret contents redacted>", &why);
    }
}
