//! A file that is made beside its place and gets its name when it is whole, for a crash while it is made would leave one that cannot be opened.
//!
//! It is made in a folder of its own, which its maker holds a lock on: so a folder without one is of a process that ended before it was done, and
//! goes when the store is opened next.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::{Error, Result};

/// Behind the file's name, and then as many letters and digits.
const INFIX: &str = ".new.";
const RANDOM_LETTERS: usize = 6;

/// False: another is there by then, and stays.
pub(super) fn make<E: From<Error>>(path: &Path, make: impl FnOnce(&Path) -> std::result::Result<(), E>) -> std::result::Result<bool, E> {
    let in_context = |error: std::io::Error| unavailable_at(path, &error);
    let (workshop, _lock) = workshop(path).map_err(in_context)?;
    let file = tempfile::Builder::new().make_in(workshop.path(), |name| std::fs::File::create_new(name)).map_err(in_context)?.into_temp_path();
    make(&file)?;
    match file.persist_noclobber(path) {
        Ok(()) => {}
        Err(failed) if failed.error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(failed) => return Err(in_context(failed.error).into()),
    }
    sync_parent(path)?;
    Ok(true)
}

/// Removes what those left who ended before they were done. What cannot be removed stays: it costs room and nothing else.
pub(super) fn clear(path: &Path) {
    let Ok(entries) = std::fs::read_dir(folder(path)) else { return };
    let prefix = prefix(path);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        if !random.is_some_and(|letters| letters.len() == RANDOM_LETTERS && letters.iter().all(u8::is_ascii_alphanumeric)) {
            continue;
        }
        // Held until it is gone, so that a maker that was about to take it sees that.
        let Ok(lock) = std::fs::File::open(entry.path()) else { continue };
        // Also where there are no locks: then nobody can tell.
        if lock.try_lock().is_err() {
            continue;
        }
        // Once these were files.
        let removed =
            if entry.file_type().is_ok_and(|t| t.is_dir()) { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        if let Err(error) = removed {
            tracing::debug!(path = %entry.path().display(), %error, "what a start left that did not come to its end cannot be removed");
        }
    }
}

/// The folder and the lock on it.
fn workshop(path: &Path) -> std::io::Result<(TempDir, std::fs::File)> {
    loop {
        let made = tempfile::Builder::new().prefix(&prefix(path)).rand_bytes(RANDOM_LETTERS).tempdir_in(folder(path))?;
        let lock = match std::fs::File::open(made.path()) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // A filesystem without locks has none for whoever clears away either, who then leaves everything.
        let _ = lock.lock();
        // Whoever cleared it away did so before it was locked.
        if lock.metadata()?.nlink() > 0 {
            return Ok((made, lock));
        }
    }
}

fn prefix(path: &Path) -> std::ffi::OsString {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(INFIX);
    prefix
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn unavailable_at(path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", path.display()))
}

/// A new file's name is durable only when its directory is.
pub(super) fn sync_parent(path: &Path) -> Result<()> {
    let parent = folder(path);
    let synced = std::fs::File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| unavailable_at(parent, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_makes_any_more_goes_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        std::fs::write(directory.path().join("store.new.AbC123"), "by an older one").unwrap();
        std::fs::create_dir(directory.path().join("store.new.dEf456")).unwrap();
        std::fs::write(directory.path().join("store.new.dEf456/half"), "made").unwrap();
        for name in ["other.new.AbC123", "store", "store.new.a-copy", "store.new.of-me1", "store.new."] {
            std::fs::write(directory.path().join(name), "somebody's").unwrap();
        }
        clear(&path);
        assert_eq!(names(directory.path()), ["other.new.AbC123", "store", "store.new.", "store.new.a-copy", "store.new.of-me1"]);
    }

    #[test]
    fn what_is_being_made_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let made = make(&path, |aside| {
            clear(&path);
            std::fs::write(aside, "whole").map_err(|error| unavailable_at(aside, &error))
        });
        assert!(made.unwrap());
        assert_eq!(names(directory.path()), ["store"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    /// Folders are cleared away while others take theirs: nobody loses one that was locked.
    #[test]
    fn those_who_make_and_those_who_clear_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let path = |n: usize| directory.path().join(format!("store-{}", n % 2));
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn(move || {
                        for _ in 0..100 {
                            let path = path(n);
                            make(&path, |aside| {
                                std::fs::write(aside, "whole").map_err(|error| unavailable_at(aside, &error))?;
                                assert!(aside.exists());
                                Ok::<_, Error>(())
                            })
                            .unwrap();
                            std::fs::remove_file(path).unwrap_or_default();
                        }
                    })
                })
                .collect();
            while makers.iter().any(|maker| !maker.is_finished()) {
                (0..2).for_each(|n| clear(&path(n)));
            }
        });
        assert!(names(directory.path()).iter().all(|name| !name.contains(INFIX)), "{:?}", names(directory.path()));
    }
}
