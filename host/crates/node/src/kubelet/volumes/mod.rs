//! A pod's volumes on the node: made before its containers, refreshed while they run, given back afterwards.
//!
//! Supported: emptyDir, hostPath, configMap, secret, downwardAPI, projected, image, and claims whose volume is a path of the
//! node. Anything else is refused with a message that names the kind.

pub mod atomic;
pub mod content;
pub mod subpath;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_cri::v1::PodSandboxConfig;
use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, ImageVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use pintle_api::client::Target;
use pintle_api::{Client, Reason};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::follow::{CLAIMS, PERSISTENT_VOLUMES};
use super::images::{Images, with_default_tag};
use super::paths::Paths;
use super::resources::units;
use content::Sources;

/// Where a volume lies on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    pub path: PathBuf,
    pub read_only: bool,
}

pub type MountedVolumes = BTreeMap<String, Mounted>;

pub struct Volumes {
    pub paths: Paths,
    pub client: Arc<dyn Client>,
    pub images: Arc<Images>,
    /// containerd's socket, for mounts of images.
    pub runtime_endpoint: PathBuf,
}

impl Volumes {
    /// Makes or refreshes every volume of a pod. Stops at the first that cannot be made.
    pub async fn mount(&self, sources: &Sources<'_>) -> Result<MountedVolumes, String> {
        let pod = sources.pod;
        let mut out = MountedVolumes::new();
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            let failed = |e: String| format!("MountVolume.SetUp failed for volume {:?} : {e}", volume.name);
            out.insert(volume.name.clone(), self.one(volume, sources).await.map_err(failed)?);
        }
        Ok(out)
    }

    /// Writes again what changed in the API. Only volumes made of objects can change.
    pub async fn refresh(&self, sources: &Sources<'_>) -> Result<(), String> {
        for volume in sources.pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            if is_of_objects(volume) {
                self.one(volume, sources).await?;
            }
        }
        Ok(())
    }

    /// Unmounts and deletes all that a pod had on this node; nothing of a hostPath.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        unmount_below(&self.paths.pod(uid));
        for dir in [self.paths.pod(uid), self.paths.memory().join(uid)] {
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// The memory file system for secrets; mounted once, found again after a restart.
    pub fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(self.paths.pods())?;
        let memory = self.paths.memory();
        fs::create_dir_all(&memory)?;
        if !is_mount_point(&memory) {
            mount("tmpfs", &memory, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"mode=0755")?;
        }
        Ok(())
    }

    async fn one(&self, volume: &Volume, sources: &Sources<'_>) -> Result<Mounted, String> {
        let pod = sources.pod;
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        let gid = fs_group(pod);
        if let Some(files) = content::files(volume, sources).await? {
            let secret = volume.secret.is_some() || volume.projected.is_some();
            let path = if secret {
                self.paths.memory_volume(uid, &volume.name)
            } else {
                self.paths.volume(uid, if volume.config_map.is_some() { "configmap" } else { "downward-api" }, &volume.name)
            };
            let dir = path.clone();
            blocking(move || atomic::write(&dir, &files, gid, Timestamp::now()).map(drop)).await?;
            return Ok(Mounted { path, read_only: true });
        }
        if let Some(source) = &volume.empty_dir {
            let path = self.paths.volume(uid, "empty-dir", &volume.name);
            let memory = match source.medium.as_deref() {
                Some("Memory") => Some(source.size_limit.as_ref().map_or(0, |q| units(&q.0))),
                Some(other) if other.starts_with("HugePages") => return Err(format!("medium {other} is not supported by this node")),
                _ => None,
            };
            let dir = path.clone();
            blocking(move || empty_dir(&dir, memory, gid)).await?;
            return Ok(Mounted { path, read_only: false });
        }
        if let Some(source) = &volume.host_path {
            let source = source.clone();
            let path = PathBuf::from(&source.path);
            blocking(move || host_path(&source)).await?;
            return Ok(Mounted { path, read_only: false });
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            return self.claimed(pod, &claim.claim_name, false, claim.read_only == Some(true)).await;
        }
        if volume.ephemeral.is_some() {
            let name = format!("{}-{}", pod.metadata.name.as_deref().unwrap_or(""), volume.name);
            return self.claimed(pod, &name, true, false).await;
        }
        if let Some(source) = &volume.image {
            let path = self.paths.volume(uid, "image", &volume.name);
            self.image(pod, source, &path).await?;
            return Ok(Mounted { path, read_only: true });
        }
        Err(format!("volumes of kind {} are not supported by this node", kind_of(volume)))
    }

    /// The image's file system, read-only. CRI 1.6 cannot mount one, containerd can.
    async fn image(&self, pod: &Pod, source: &ImageVolumeSource, path: &Path) -> Result<(), String> {
        if is_mount_point(path) {
            return Ok(());
        }
        let container = Container { image: source.reference.clone(), image_pull_policy: source.pull_policy.clone(), ..Container::default() };
        let pulled = self.images.ensure(pod, &container, &PodSandboxConfig::default()).await;
        pulled.map_err(|f| format!("{}: {}", f.reason, f.message))?;
        let dir = path.to_owned();
        blocking(move || fs::create_dir_all(dir)).await?;
        let name = with_default_tag(source.reference.as_deref().unwrap_or(""));
        crate::containerd::mount_image(&self.runtime_endpoint, &name, path).await.map_err(|e| e.to_string())
    }

    /// A claim bound to a volume that is a path on this node. `own`: it must have been made for the pod.
    async fn claimed(&self, pod: &Pod, claim: &str, own: bool, read_only: bool) -> Result<Mounted, String> {
        let target = Target::object(CLAIMS, pod.metadata.namespace.as_deref(), claim);
        let claim_object: PersistentVolumeClaim = self
            .client
            .get(&target)
            .await
            .and_then(|s| s.parse_as())
            .map_err(|e| if e.is(Reason::NotFound) { format!("persistentvolumeclaim {claim:?} not found") } else { e.to_string() })?;
        let owners = || claim_object.metadata.owner_references.iter().flatten();
        if own && !owners().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref()) {
            return Err(format!("PVC {claim:?} was not created for the pod (pod is not owner)"));
        }
        let bound = claim_object.status.and_then(|s| s.phase).as_deref() == Some("Bound");
        let name = claim_object.spec.and_then(|s| s.volume_name).filter(|_| bound).ok_or_else(|| format!("PVC {claim:?} is not bound"))?;
        let target = Target::object(PERSISTENT_VOLUMES, None, &name);
        let volume: PersistentVolume = self.client.get(&target).await.and_then(|s| s.parse_as()).map_err(|e| e.to_string())?;
        let spec = volume.spec.unwrap_or_default();
        let path = match (&spec.local, &spec.host_path) {
            (Some(local), _) => local.path.clone(),
            (None, Some(host)) => {
                let host = host.clone();
                let path = host.path.clone();
                blocking(move || host_path(&host)).await?;
                path
            }
            (None, None) => return Err(format!("persistent volume {name:?} is neither local nor a host path: not supported by this node")),
        };
        if let Some(gid) = fs_group(pod).filter(|_| spec.local.is_some() && !read_only) {
            let dir = PathBuf::from(&path);
            blocking(move || atomic::own_tree(&dir, gid, false)).await?;
        }
        Ok(Mounted { path: PathBuf::from(path), read_only })
    }
}

/// Undoes [`Volumes::prepare`] and every mount of pods.
pub fn close(paths: &Paths) {
    unmount_below(paths.root());
}

pub fn is_of_objects(volume: &Volume) -> bool {
    volume.config_map.is_some() || volume.secret.is_some() || volume.downward_api.is_some() || volume.projected.is_some()
}

pub fn fs_group(pod: &Pod) -> Option<u32> {
    let gid = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(gid).ok()
}

/// File work beside the async threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

/// `memory`: size limit in bytes, zero for none.
fn empty_dir(dir: &Path, memory: Option<i64>, gid: Option<u32>) -> io::Result<()> {
    let fresh = !dir.exists();
    fs::create_dir_all(dir)?;
    if let Some(limit) = memory
        && !is_mount_point(dir)
    {
        let options = if limit > 0 { format!("mode=0777,size={limit}") } else { "mode=0777".to_owned() };
        let options = std::ffi::CString::new(options)?;
        mount("tmpfs", dir, "tmpfs", MountFlags::empty(), options.as_c_str())?;
    }
    if fresh {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
        if let Some(gid) = gid {
            atomic::own_tree(dir, gid, false)?;
        }
    }
    Ok(())
}

fn host_path(source: &HostPathVolumeSource) -> io::Result<()> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or("");
    let refuse = |what: &str| Err(io::Error::other(format!("hostPath type check failed: {} is not {what}", path.display())));
    match kind {
        "DirectoryOrCreate" if !path.exists() => fs::create_dir_all(path)?,
        "FileOrCreate" if !path.exists() => fs::write(path, b"")?,
        _ => {}
    }
    let meta = fs::metadata(path);
    let is = |test: fn(&fs::FileType) -> bool| meta.as_ref().is_ok_and(|m| test(&m.file_type()));
    match kind {
        "Directory" | "DirectoryOrCreate" if !is(fs::FileType::is_dir) => refuse("a directory"),
        "File" | "FileOrCreate" if !is(fs::FileType::is_file) => refuse("a file"),
        "Socket" if !is(fs::FileType::is_socket) => refuse("a socket file"),
        "CharDevice" if !is(fs::FileType::is_char_device) => refuse("a character device"),
        "BlockDevice" if !is(fs::FileType::is_block_device) => refuse("a block device"),
        _ => Ok(()),
    }
}

fn kind_of(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let found = value.as_object().into_iter().flatten().find(|(k, v)| k.as_str() != "name" && !v.is_null());
    found.map_or_else(|| "unknown".to_owned(), |(k, _)| k.clone())
}

fn is_mount_point(path: &Path) -> bool {
    mounts_below(path).iter().any(|m| m == path)
}

/// Deepest first, so that each can be unmounted in turn.
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")))
        .filter(|p| p.starts_with(path))
        .collect();
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    found
}

fn unmount_below(path: &Path) {
    for place in mounts_below(path) {
        if let Err(error) = unmount(&place, UnmountFlags::DETACH) {
            tracing::warn!(place = %place.display(), %error, "cannot unmount");
        }
    }
}
