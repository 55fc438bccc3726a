//! A container's mounts: its volumes with their sub-paths, `/etc/hosts`, the termination message.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::env::expand;
use super::paths::{Paths, hosts_file};
use super::volumes::{Mounted, MountedVolumes, subpath};

pub struct Place<'a> {
    pub paths: &'a Paths,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub attempt: u32,
    pub pod_ips: &'a [String],
    pub cluster_domain: &'a str,
}

/// The mounts, and where the termination message will lie. Does file work: call it off the async threads.
pub fn build(place: &Place, volumes: &MountedVolumes, env: &[(String, String)]) -> Result<(Vec<Mount>, PathBuf), String> {
    let uid = place.pod.metadata.uid.as_deref().unwrap_or("");
    let mut mounts = Vec::new();
    for (index, wanted) in place.container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes.get(&wanted.name).ok_or_else(|| format!("volume {:?} is not mounted", wanted.name))?;
        mounts.push(volume_mount(place, uid, index, wanted, volume, env)?);
    }
    if !mounts.iter().any(|m| m.container_path.trim_end_matches('/') == "/etc/hosts") {
        mounts.push(hosts_mount(place, uid).map_err(|e| format!("cannot write the pod's hosts file: {e}"))?);
    }
    let message = message_file(place, uid).map_err(|e| format!("cannot make the termination message file: {e}"))?;
    let path = place.container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into());
    mounts.push(plain(path, &message, false));
    Ok((mounts, message))
}

fn volume_mount(place: &Place, uid: &str, index: usize, wanted: &VolumeMount, volume: &Mounted, env: &[(String, String)]) -> Result<Mount, String> {
    let read_only = wanted.read_only == Some(true) || volume.read_only;
    let sub = sub_path(wanted, env)?;
    let host = match sub {
        Some(sub) => {
            let to = place.paths.subpaths(uid).join(&wanted.name).join(&place.container.name).join(index.to_string());
            subpath::bind(&volume.path, &sub, &to)
                .map_err(|e| format!("failed to prepare subPath for volumeMount {:?} of container {:?}: {e}", wanted.name, place.container.name))?
        }
        None => volume.path.clone(),
    };
    if wanted.recursive_read_only.as_deref() == Some("Enabled") {
        return Err("recursiveReadOnly is not supported by the container runtime".into());
    }
    let mut path = wanted.mount_path.clone();
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let propagation = match wanted.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    Ok(Mount { propagation: propagation.into(), ..plain(path, &host, read_only) })
}

fn sub_path(wanted: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
    if let Some(plain) = wanted.sub_path.as_deref().filter(|s| !s.is_empty()) {
        return checked(plain.to_owned()).map(Some);
    }
    let Some(pattern) = wanted.sub_path_expr.as_deref().filter(|s| !s.is_empty()) else { return Ok(None) };
    let missing = std::cell::RefCell::new(None);
    let text = expand(pattern, |name| {
        let value = env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        if value.is_none() {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        value
    });
    match missing.into_inner() {
        Some(name) => Err(format!("missing value for {name:?}")),
        None => checked(text).map(Some),
    }
}

fn checked(sub: String) -> Result<String, String> {
    if sub.starts_with('/') {
        return Err(format!("error SubPath `{sub}` must not be an absolute path"));
    }
    if sub.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{sub}`: must not contain '..'"));
    }
    Ok(sub)
}

fn hosts_mount(place: &Place, uid: &str) -> io::Result<Mount> {
    let host_network = place.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
    let host = if host_network { Some(fs::read_to_string("/etc/hosts").unwrap_or_default()) } else { None };
    let text = hosts_file(place.pod, place.pod_ips, place.cluster_domain, host.as_deref());
    let file = place.paths.hosts(uid);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    // In place, so that containers that mounted it see the same file; and not over what they wrote.
    if !file.exists() {
        fs::write(&file, text)?;
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let read_only = place.container.security_context.as_ref().is_some_and(|s| s.read_only_root_filesystem == Some(true));
    Ok(plain("/etc/hosts".into(), &file, read_only))
}

fn message_file(place: &Place, uid: &str) -> io::Result<PathBuf> {
    let dir = place.paths.container(uid, &place.container.name);
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("message-{}", place.attempt));
    fs::write(&file, b"")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
    Ok(file)
}

fn plain(container_path: String, host: &Path, readonly: bool) -> Mount {
    Mount { container_path, host_path: host.to_string_lossy().into_owned(), readonly, ..Mount::default() }
}
