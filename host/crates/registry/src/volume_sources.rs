//! What upstream asks of the sources of volumes, in pods and in PersistentVolumes alike: texts that must be there, by table, and the few
//! rules that are more than that. Called by both kinds' validations; sources of their own they check themselves.

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, names};
use serde_json::Value;

use super::checks::one_of_if_set;
use super::faults::{Faults, Path};
use super::fields::is_set;

/// Texts without which a source names nothing.
const NEEDED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cinder", &["volumeID"]),
    ("csi", &["driver"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("image", &["reference"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("nfs", &["server", "path"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["volume"]),
    ("rbd", &["image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];
/// Sources that are reached at several addresses.
const MONITORED: [&str; 2] = ["cephfs", "rbd"];
const MAX_LUN: i64 = 255;
const DRIVER_NAME_BYTES: usize = 63;
/// Those that are looked at: `nodeStageSecretRef` is not.
const CSI_SECRETS: [&str; 4] = ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];

/// `path` is the volume's; the source's name is added here, since upstream writes one of them in its own way.
pub fn validate(kind: &str, source: &Value, is_pod: bool, path: &Path<'_>, faults: &mut Faults) {
    let here = path.field(if kind == "gcePersistentDisk" { "persistentDisk" } else { kind });
    let of = |field: &str| source.str_at(&[field]);
    for field in NEEDED.iter().filter(|(name, _)| *name == kind).flat_map(|(_, fields)| *fields).filter(|f| of(f).is_empty()) {
        faults.required(&here.field(field), "");
    }
    if MONITORED.contains(&kind) && source.list_at(&["monitors"]).is_empty() {
        faults.required(&here.field("monitors"), "");
    }
    match kind {
        "nfs" if !of("path").starts_with('/') => faults.invalid_str(&here.field("path"), of("path"), "must be an absolute path"),
        "iscsi" => iscsi(source, is_pod, &here, faults),
        "fc" => fibre_channel(source, &here, faults),
        "azureDisk" => azure_disk(source, &here, faults),
        "azureFile" if source.get("secretNamespace").and_then(Value::as_str) == Some("") => faults.required(&here.field("secretNamespace"), ""),
        "awsElasticBlockStore" | "gcePersistentDisk" => {
            if let Some(part) = source.i64_at(&["partition"]).filter(|p| *p != 0 && !(1..=255).contains(p)) {
                faults.invalid(&here.field("partition"), &part.into(), "must be between 1 and 255, inclusive");
            }
        }
        "quobyte" if of("registry").is_empty() => {
            faults.required(&here.field("registry"), "must be a host:port pair or multiple pairs separated by commas");
        }
        "flocker" if of("datasetName").is_empty() && of("datasetUUID").is_empty() => {
            faults.required(&here, "one of datasetName and datasetUUID is required");
        }
        "gitRepo" => super::podspec::volumes::no_backsteps(of("directory"), &here.field("directory"), faults),
        "image" => one_of_if_set(of("pullPolicy"), &["Always", "IfNotPresent", "Never"], &here.field("pullPolicy"), faults),
        "csi" => csi(source, is_pod, &here, faults),
        _ => {}
    }
}

fn iscsi(source: &Value, is_pod: bool, path: &Path<'_>, faults: &mut Faults) {
    let name = source.str_at(&["iqn"]);
    let here = path.field("iqn");
    let known = ["iqn", "eui", "naa"].into_iter().find(|form| name.starts_with(form));
    match known {
        _ if name.is_empty() => {}
        None => faults.invalid_str(&here, name, if is_pod { "must be valid format starting with iqn, eui, or naa" } else { "must be valid format" }),
        Some(form) if !is_qualified_target(form, &name[form.len()..]) => faults.invalid_str(&here, name, "must be valid format"),
        Some(_) => {}
    }
    lun(source, path, faults);
    let authenticates = source.bool_at(&["chapAuthDiscovery"]) || source.bool_at(&["chapAuthSession"]);
    if authenticates && !is_set(source.get("secretRef")) {
        faults.required(&path.field("secretRef"), "");
    }
}

/// `iqn.yyyy-mm.domain[:any]`, or 16 or 32 hexadecimal digits.
fn is_qualified_target(form: &str, rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix('.') else { return false };
    let is_hex = |lengths: &[usize]| lengths.contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit());
    match form {
        "eui" => is_hex(&[16]),
        "naa" => is_hex(&[16, 32]),
        _ => {
            let bytes = rest.as_bytes();
            let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
            bytes.len() > 8 && digits(0..4) && bytes[4] == b'-' && digits(5..7) && bytes[7] == b'.'
        }
    }
}

fn lun(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    let lun = source.i64_at(&["lun"]).unwrap_or(0);
    if !(0..=MAX_LUN).contains(&lun) {
        faults.invalid(&path.field("lun"), &lun.into(), &format!("must be between 0 and {MAX_LUN}, inclusive"));
    }
}

fn fibre_channel(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (targets, ids) = (source.list_at(&["targetWWNs"]), source.list_at(&["wwids"]));
    let here = path.field("targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        faults.required(&here, "must specify either targetWWNs or wwids, but not both");
    }
    if !targets.is_empty() && !ids.is_empty() {
        faults.invalid(&here, &source["targetWWNs"], "targetWWNs and wwids can not be specified simultaneously");
    }
    if !targets.is_empty() {
        if is_set(source.get("lun")) {
            lun(source, path, faults);
        } else {
            faults.required(&path.field("lun"), "lun is required if targetWWNs is specified");
        }
    }
}

fn azure_disk(source: &Value, path: &Path<'_>, faults: &mut Faults) {
    const KINDS: [&str; 3] = ["Dedicated", "Managed", "Shared"];
    one_of_if_set(source.str_at(&["cachingMode"]), &["None", "ReadOnly", "ReadWrite"], &path.field("cachingMode"), faults);
    one_of_if_set(source.str_at(&["kind"]), &KINDS, &path.field("kind"), faults);
    let (is_managed, uri) = (source.str_at(&["kind"]) == "Managed", source.str_at(&["diskURI"]));
    let (start, form) = if is_managed {
        ("/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}")
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !uri.starts_with(start) {
        faults.push(Cause::not_supported(path.field("diskURI").to_string(), &uri.into(), &[form]));
    }
}

fn csi(source: &Value, is_pod: bool, path: &Path<'_>, faults: &mut Faults) {
    let driver = source.str_at(&["driver"]);
    let here = path.field("driver");
    if driver.len() > DRIVER_NAME_BYTES {
        faults.too_long(&here, DRIVER_NAME_BYTES);
    }
    if !driver.is_empty() {
        faults.texts(&here, driver, names::dns1123_subdomain(&driver.to_lowercase()));
    }
    if !is_pod && source.str_at(&["volumeHandle"]).is_empty() {
        faults.required(&path.field("volumeHandle"), "");
    }
    for field in CSI_SECRETS {
        let Some(secret) = source.get(field).filter(|s| !s.is_null()) else { continue };
        let here = path.field(field);
        let needed: &[&str] = if is_pod { &["name"] } else { &["name", "namespace"] };
        for part in needed.iter().filter(|part| secret.str_at(&[part]).is_empty()) {
            faults.required(&here.field(part), "");
        }
    }
}
