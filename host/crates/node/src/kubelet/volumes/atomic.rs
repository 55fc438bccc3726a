//! Writes a set of files so that readers see either all of the old or all of the new.
//!
//! The layout is the one that programs know: files lie in `..TIMESTAMP`, `..data` points there, and each visible
//! name is a link through `..data`. Swapping that one link is the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    /// Owner, where it must not be root.
    pub uid: Option<u32>,
}

/// Relative path to contents.
pub type Files = BTreeMap<String, File>;

/// Brings `dir` to hold exactly `files`, owned by group `gid` if given. `false`: nothing had to change.
pub fn write(dir: &Path, files: &Files, gid: Option<u32>, now: Timestamp) -> io::Result<bool> {
    for name in files.keys() {
        check(name)?;
    }
    fs::create_dir_all(dir)?;
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && is_same(&dir.join(old), files)
    {
        return Ok(false);
    }
    let fresh = PathBuf::from(format!("..{}.{}", now.strftime("%Y_%m_%d_%H_%M_%S"), now.subsec_nanosecond()));
    let at = dir.join(&fresh);
    fs::create_dir(&at)?;
    fs::set_permissions(&at, fs::Permissions::from_mode(0o755))?;
    for (name, file) in files {
        put(&at, name, file)?;
    }
    if let Some(gid) = gid {
        own_tree(dir, gid, true)?;
    }
    let next = dir.join(DATA_NEXT);
    remove_if_there(&next)?;
    symlink(&fresh, &next)?;
    fs::rename(&next, dir.join(DATA))?;
    link_names(dir, files)?;
    if let Some(old) = old.filter(|o| *o != fresh) {
        fs::remove_dir_all(dir.join(old)).ok();
    }
    Ok(true)
}

/// Gives a volume to a group, as `fsGroup` asks: group access to all, and new files inherit the group.
pub fn own_tree(path: &Path, gid: u32, read_only: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return Ok(());
    }
    chown(path, None, Some(gid))?;
    let mut mode = meta.permissions().mode() & 0o7777;
    mode |= if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            own_tree(&entry?.path(), gid, read_only)?;
        }
    }
    Ok(())
}

/// A path that stays inside the volume and out of the writer's own names.
fn check(name: &str) -> io::Result<()> {
    let path = Path::new(name);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    if name.is_empty() || !plain || name.starts_with("..") || name.len() > 4096 {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("invalid path {name:?}")));
    }
    Ok(())
}

fn put(root: &Path, name: &str, file: &File) -> io::Result<()> {
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, &file.bytes)?;
    // After writing: the mode may take the right to write, and the process's umask must not count.
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode & 0o7777))?;
    if let Some(uid) = file.uid {
        chown(&path, Some(uid), None)?;
    }
    Ok(())
}

fn is_same(at: &Path, files: &Files) -> bool {
    let mut seen = 0;
    for (name, file) in files {
        let path = at.join(name);
        let same_owner = |m: &fs::Metadata| file.uid.is_none_or(|uid| m.uid() == uid);
        match (fs::read(&path), fs::metadata(&path)) {
            (Ok(bytes), Ok(meta)) if bytes == file.bytes && same_owner(&meta) => seen += 1,
            _ => return false,
        }
    }
    count_files(at) == seen
}

fn count_files(at: &Path) -> usize {
    let entries = fs::read_dir(at).into_iter().flatten().flatten();
    entries.map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { count_files(&e.path()) } else { 1 }).sum()
}

fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let tops: BTreeSet<&str> = files.keys().filter_map(|n| n.split('/').next()).collect();
    for top in &tops {
        let link = dir.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link)?;
        }
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !tops.contains(name.as_str()) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(n, t)| ((*n).to_owned(), File { bytes: t.as_bytes().to_vec(), mode: 0o644, uid: None })).collect()
    }

    #[test]
    fn replaces_all_at_once_and_drops_what_left() {
        let dir = tempfile::tempdir().unwrap();
        let now = |n: i64| Timestamp::from_second(n).unwrap();
        assert!(write(dir.path(), &files(&[("a", "1"), ("p/b", "2")]), None, now(1)).unwrap());
        assert!(!write(dir.path(), &files(&[("a", "1"), ("p/b", "2")]), None, now(2)).unwrap());
        assert!(write(dir.path(), &files(&[("a", "3")]), None, now(3)).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "3");
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["..1970_01_01_00_00_03.0", "..data", "a"]);
        assert!(write(dir.path(), &files(&[("../x", "1")]), None, now(4)).is_err());
    }
}
