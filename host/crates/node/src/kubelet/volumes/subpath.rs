//! Sub-paths of volumes, found without ever following a link out of the volume.
//!
//! A container may rename and link as it likes while the path is looked up, so the path is opened beneath the volume
//! by the kernel (`openat2`) and the open file, not its name, is bound to a place of the kubelet's own.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};

/// Binds `volume/sub` to `place` and answers `place`. A missing path becomes a folder.
pub fn bind(volume: &Path, sub: &str, place: &Path) -> io::Result<PathBuf> {
    let sub = Path::new(sub);
    if sub.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} must be relative and stay in the volume", sub.display())));
    }
    let root = open(CWD, volume, ResolveFlags::empty())?;
    let found = match open(&root, sub, ResolveFlags::BENEATH) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(root, volume, sub)?,
        other => other?,
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    release(place)?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    if kind == FileType::Directory {
        fs::create_dir_all(place)?;
    } else {
        fs::write(place, b"")?;
    }
    mount_bind_recursive(format!("/proc/self/fd/{}", found.as_raw_fd()), place)?;
    Ok(place.to_owned())
}

/// Takes one bound place back.
pub fn release(place: &Path) -> io::Result<()> {
    let Ok(meta) = fs::symlink_metadata(place) else { return Ok(()) };
    while unmount(place, UnmountFlags::DETACH).is_ok() {}
    if meta.is_dir() { fs::remove_dir(place) } else { fs::remove_file(place) }
}

fn open(at: impl std::os::fd::AsFd, path: &Path, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn make(root: OwnedFd, volume: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let mode = fs::metadata(volume)?.permissions().mode() & 0o7777;
    let mut at = root;
    for part in sub.components() {
        let Component::Normal(name) = part else { continue };
        let name = Path::new(name);
        at = match open(&at, name, ResolveFlags::BENEATH) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(mode))?;
                let made = open(&at, name, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
                // The process's umask must not count.
                fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), fs::Permissions::from_mode(mode))?;
                made
            }
            other => other?,
        };
    }
    Ok(at)
}
