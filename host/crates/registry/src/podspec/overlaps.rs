//! Files of a volume that would lie on top of each other: the same path twice, or one below the other. Upstream warns of them.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::warnings::{ENOUGH, MAX_COMPARED};
use crate::fields::is_set;

struct File<'a> {
    path: &'a str,
    /// Of a projected volume: which source brings it.
    source: String,
}

/// Called with a pod's volumes.
pub fn warn(volumes: &[Value], said: &mut Vec<String>) {
    for volume in volumes {
        for (kind, what, name) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")] {
            let Some(source) = volume.get(kind).filter(|source| is_set(source.get("items"))) else { continue };
            let what = if name.is_empty() { what.to_owned() } else { format!("{what} {:?}", source.str_at(&[name])) };
            tell(volume, &what, files(source, "").collect(), said);
        }
        if let Some(projected) = volume.get("projected").filter(|p| !p.is_null()) {
            let mut all = Vec::new();
            for source in projected.list_at(&["sources"]) {
                match projection(source) {
                    Some(some) => all.extend(some),
                    None => said.push(format!("volume {:?} (Projected) has no sources provided", volume.str_at(&["name"]))),
                }
            }
            tell(volume, "Projected", all, said);
        }
    }
}

/// `None`: it names no source.
fn projection(source: &Value) -> Option<Vec<File<'_>>> {
    let of = |kind: &str| source.get(kind).filter(|value| !value.is_null());
    let named = |kind: &str, what: &str| of(kind).map(|s| files(s, &format!("{what} {:?}", s.str_at(&["name"]))).collect());
    named("configMap", "ConfigMap")
        .or_else(|| named("secret", "Secret"))
        .or_else(|| of("downwardAPI").map(|s| files(s, "DownwardAPI").collect()))
        .or_else(|| of("serviceAccountToken").map(|s| vec![file(s, "path", "ServiceAccountToken".to_owned())]))
        .or_else(|| {
            of("clusterTrustBundle").map(|s| {
                let name = if s.str_at(&["name"]).is_empty() { s.str_at(&["signerName"]) } else { s.str_at(&["name"]) };
                vec![file(s, "path", format!("ClusterTrustBundle {name:?}"))]
            })
        })
        .or_else(|| {
            of("podCertificate").map(|s| {
                let parts = [("certificateChainPath", "chain"), ("keyPath", "key"), ("credentialBundlePath", "credential bundle")];
                let there = parts.iter().filter(|(field, _)| !s.str_at(&[field]).is_empty());
                there.map(|(field, part)| file(s, field, format!("PodCertificate {part}"))).collect()
            })
        })
}

fn files<'a>(source: &'a Value, told: &str) -> impl Iterator<Item = File<'a>> {
    let told = told.to_owned();
    source.list_at(&["items"]).iter().map(move |item| file(item, "path", told.clone()))
}

fn file<'a>(of: &'a Value, field: &str, source: String) -> File<'a> {
    File { path: of.str_at(&[field]).trim_end_matches('/'), source }
}

fn tell(volume: &Value, what: &str, files: Vec<File<'_>>, said: &mut Vec<String>) {
    let shown = |file: &File<'_>| {
        if file.source.is_empty() { format!("{:?}", file.path) } else { format!("{:?} ({})", file.path, file.source) }
    };
    let below = |inner: &str, outer: &str| inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    for (i, file) in files.iter().enumerate().take(MAX_COMPARED).filter(|(_, file)| !file.path.is_empty()) {
        if said.len() >= ENOUGH {
            break;
        }
        let earlier = files.iter().take(i).filter(|other| !other.path.is_empty());
        for other in earlier.filter(|other| below(file.path, other.path) || below(other.path, file.path)) {
            let volume = volume.str_at(&["name"]);
            said.push(format!("volume {volume:?} ({what}): overlapping paths: {} with {}", shown(file), shown(other)));
        }
    }
}
