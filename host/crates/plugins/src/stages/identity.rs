//! What a server is called among several, at whatever address it is reached: drawn once, kept in its data folder. Two servers never share one.

use std::io::{self, ErrorKind};
use std::path::Path;

const FILE: &str = "identity";
/// 128 bits in hexadecimal digits.
const DIGITS: usize = 32;

/// The one in the folder, which is made where there is none.
pub fn of(folder: &Path) -> io::Result<String> {
    let path = folder.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(kept) if kept.len() == DIGITS && kept.bytes().all(|b| b.is_ascii_hexdigit()) => return Ok(kept),
        // A torn one is nobody's.
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let drawn = format!("{:032x}", rand::random::<u128>());
    let partial = path.with_extension("partial");
    std::fs::write(&partial, &drawn)?;
    std::fs::rename(partial, path)?;
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_drawn_once() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let drawn = of(one.path()).expect("an identity");
        assert_eq!(of(one.path()).expect("the same"), drawn);
        assert_ne!(of(other.path()).expect("another"), drawn);
        std::fs::write(one.path().join(FILE), "ab").expect("a file");
        let again = of(one.path()).expect("a new one");
        assert!(again.len() == DIGITS && again != drawn, "{again}");
    }
}
