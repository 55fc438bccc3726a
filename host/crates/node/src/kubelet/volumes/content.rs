//! What goes into volumes made of API objects: ConfigMaps, Secrets, the pod's own fields, service account tokens.
//!
//! Gathers through the API and the shared view; writes no file.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeProjection};
use pintle_api::object::ObjectExt;

use super::super::env::{field, not_found, resource};
use super::super::follow::{CONFIG_MAPS, Key, Objects, SECRETS};
use super::super::tokens::Tokens;
use super::atomic::{File, Files};

const DEFAULT_MODE: i32 = 0o644;

/// What contents are drawn from.
pub struct Sources<'a> {
    pub pod: &'a Pod,
    pub objects: &'a Objects,
    pub tokens: &'a Arc<Tokens>,
    pub host_ips: &'a [String],
    pub pod_ips: &'a [String],
    pub allocatable: &'a BTreeMap<String, String>,
}

/// The objects whose changes must reach the volume.
pub fn references(volume: &Volume, namespace: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    if let Some(c) = &volume.config_map {
        keys.push(Key::new(CONFIG_MAPS, namespace, &c.name));
    }
    if let Some(s) = &volume.secret {
        keys.push(Key::new(SECRETS, namespace, s.secret_name.as_deref().unwrap_or("")));
    }
    for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
        keys.extend(source.config_map.iter().map(|c| Key::new(CONFIG_MAPS, namespace, &c.name)));
        keys.extend(source.secret.iter().map(|s| Key::new(SECRETS, namespace, &s.name)));
    }
    keys
}

/// The files of a volume; `None` if the volume is of another kind.
pub async fn files(volume: &Volume, sources: &Sources<'_>) -> Result<Option<Files>, String> {
    let mut out = Files::new();
    let namespace = sources.pod.metadata.namespace.as_deref().unwrap_or("");
    if let Some(c) = &volume.config_map {
        let mode = c.default_mode.unwrap_or(DEFAULT_MODE);
        let key = Key::new(CONFIG_MAPS, namespace, &c.name);
        object_files(&mut out, sources, &key, c.items.as_deref(), mode, c.optional == Some(true)).await?;
    } else if let Some(s) = &volume.secret {
        let mode = s.default_mode.unwrap_or(DEFAULT_MODE);
        let key = Key::new(SECRETS, namespace, s.secret_name.as_deref().unwrap_or(""));
        object_files(&mut out, sources, &key, s.items.as_deref(), mode, s.optional == Some(true)).await?;
    } else if let Some(d) = &volume.downward_api {
        field_files(&mut out, sources, d.items.as_deref().unwrap_or_default(), d.default_mode.unwrap_or(DEFAULT_MODE))?;
    } else if let Some(p) = &volume.projected {
        let mode = p.default_mode.unwrap_or(DEFAULT_MODE);
        for source in p.sources.iter().flatten() {
            projected_files(&mut out, sources, source, namespace, mode).await?;
        }
    } else {
        return Ok(None);
    }
    Ok(Some(out))
}

async fn projected_files(out: &mut Files, sources: &Sources<'_>, source: &VolumeProjection, namespace: &str, mode: i32) -> Result<(), String> {
    if let Some(c) = &source.config_map {
        let key = Key::new(CONFIG_MAPS, namespace, &c.name);
        object_files(out, sources, &key, c.items.as_deref(), mode, c.optional == Some(true)).await?;
    }
    if let Some(s) = &source.secret {
        let key = Key::new(SECRETS, namespace, &s.name);
        object_files(out, sources, &key, s.items.as_deref(), mode, s.optional == Some(true)).await?;
    }
    if let Some(d) = &source.downward_api {
        field_files(out, sources, d.items.as_deref().unwrap_or_default(), mode)?;
    }
    if let Some(t) = &source.service_account_token {
        token_file(out, sources, t, mode).await?;
    }
    if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
        return Err("projection of trust bundles and pod certificates is not supported by this node".into());
    }
    Ok(())
}

async fn object_files(
    out: &mut Files,
    sources: &Sources<'_>,
    key: &Key,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<(), String> {
    let Some(object) = sources.objects.view(key).await.map_err(|e| e.to_string())? else {
        return if optional { Ok(()) } else { Err(not_found(key)) };
    };
    let is_secret = key.resource == SECRETS;
    let mut values: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (name, value) in object.map_at(&["data"]).into_iter().flatten() {
        let text = value.as_str().unwrap_or("");
        values.insert(name, if is_secret { decoded(text)? } else { text.as_bytes().to_vec() });
    }
    for (name, value) in object.map_at(&["binaryData"]).into_iter().flatten() {
        values.insert(name, decoded(value.as_str().unwrap_or(""))?);
    }
    let bits = |m: i32| u32::try_from(m).unwrap_or(0o644);
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        out.extend(values.into_iter().map(|(name, bytes)| (name.to_owned(), File { bytes, mode: bits(mode), uid: None })));
        return Ok(());
    };
    for item in items {
        match values.get(item.key.as_str()) {
            Some(bytes) => {
                let file = File { bytes: bytes.clone(), mode: bits(item.mode.unwrap_or(mode)), uid: None };
                out.insert(item.path.clone(), file);
            }
            None if optional => {}
            None => {
                let kind = if is_secret { "secret" } else { "configmap" };
                return Err(format!("{kind} references non-existent {kind} key: {}", item.key).replacen("configmap key", "config key", 1));
            }
        }
    }
    Ok(())
}

fn field_files(out: &mut Files, sources: &Sources<'_>, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<(), String> {
    for item in items {
        let text = if let Some(f) = &item.field_ref {
            field(&f.field_path, sources.pod, sources.pod_ips, sources.host_ips)?
        } else if let Some(r) = &item.resource_field_ref {
            resource(r, sources.pod, "", sources.allocatable)?
        } else {
            continue;
        };
        let mode = u32::try_from(item.mode.unwrap_or(mode)).unwrap_or(0o644);
        out.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, uid: None });
    }
    Ok(())
}

async fn token_file(out: &mut Files, sources: &Sources<'_>, source: &ServiceAccountTokenProjection, mode: i32) -> Result<(), String> {
    let audience = source.audience.as_deref().filter(|a| !a.is_empty());
    let token = sources.tokens.get(sources.pod, audience, source.expiration_seconds.unwrap_or(3600)).await?;
    let owner = only_user(sources.pod);
    let has_group = sources.pod.spec.iter().any(|s| s.security_context.as_ref().is_some_and(|c| c.fs_group.is_some()));
    // A token is for its container's user alone, where one user can be told.
    let mode = if owner.is_some() || has_group { 0o600 } else { u32::try_from(mode).unwrap_or(0o644) };
    out.insert(source.path.clone(), File { bytes: token.into_bytes(), mode, uid: owner });
    Ok(())
}

/// The user that every container runs as, if the spec says so.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let default = spec.security_context.as_ref().and_then(|c| c.run_as_user);
    let mut users =
        spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(default));
    let first = users.next()??;
    users.all(|u| u == Some(first)).then(|| u32::try_from(first).ok())?
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|e| format!("value is not base64: {e}"))
}
