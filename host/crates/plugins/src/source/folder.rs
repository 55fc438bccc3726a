//! Components on this machine: those inside the object or the binary, and the folder where the host keeps what ran, named by digest, so
//! that every revision can run again. Beside each it is written down which keys had signed it when it came.
//!
//! Refuses paths that leave the folder: a Plugin object must not make the host read other files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;

use crate::engine::digest;
use crate::load::{LoadError, MAX_COMPONENT_BYTES};
use crate::plugin::Source;

/// Bytes of a component inside its Plugin object, as they stand there: gzip takes an interpreter to a third. The object may have 1.5 MiB
/// as base64.
pub const MAX_INLINE_BYTES: usize = 1 << 20;
/// What gzip begins with; no component does.
const GZIP: &[u8] = b"\x1f\x8b";

/// Of a `.sig` file: base64 of a DER signature is under a hundred.
pub const MAX_SIGNATURE_BYTES: u64 = 4096;

pub type Bytes = Cow<'static, [u8]>;

pub struct Components {
    folder: PathBuf,
    embedded: BTreeMap<String, Bytes>,
}

impl Components {
    pub fn new(folder: PathBuf, embedded: BTreeMap<String, Bytes>) -> std::io::Result<Arc<Self>> {
        std::fs::create_dir_all(&folder)?;
        Ok(Arc::new(Self { folder, embedded }))
    }

    /// Keeps a revision's bytes for a rollback, and the fingerprints of the keys that signed them.
    pub fn keep(&self, bytes: &[u8], digest: &str, keys: &[String]) -> std::io::Result<()> {
        let Some(path) = self.by_digest(digest) else { return Ok(()) };
        if !path.exists() {
            replace(&path, bytes)?;
        }
        let mut known = self.signers(digest);
        let new: Vec<&String> = keys.iter().filter(|k| !known.contains(k)).collect();
        if new.is_empty() {
            return Ok(());
        }
        known.extend(new.into_iter().cloned());
        replace(&path.with_extension("signers"), known.join("\n").as_bytes())
    }

    pub fn forget(&self, digest: &str) {
        if let Some(path) = self.by_digest(digest) {
            let _ = std::fs::remove_file(path.with_extension("signers"));
            let _ = std::fs::remove_file(path);
        }
    }

    /// Fingerprints of the keys that are known to have signed these bytes.
    pub fn signers(&self, digest: &str) -> Vec<String> {
        let path = self.by_digest(digest).map(|p| p.with_extension("signers"));
        let text = path.and_then(|p| std::fs::read_to_string(p).ok()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The bytes are part of the binary, which whoever installed it trusts.
    pub fn is_embedded(&self, wanted: &str) -> bool {
        self.embedded.values().any(|bytes| digest(bytes) == wanted)
    }

    /// `FILE.sig` beside a source's file.
    pub fn signature_beside(&self, source: &Source) -> Option<String> {
        let path = self.file(&source.file).ok()?;
        let mut text = String::new();
        std::fs::File::open(format!("{}.sig", path.display())).ok()?.take(MAX_SIGNATURE_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// A source that is on this machine. Reads files: call it aside.
    pub fn read(&self, source: &Source) -> Result<Bytes, LoadError> {
        let Source { inline, file, embedded, digest, .. } = source;
        if !inline.is_empty() {
            let bytes = base64::engine::general_purpose::STANDARD.decode(inline).map_err(|e| LoadError::Source(format!("inline: {e}")))?;
            return match bytes.len() > MAX_INLINE_BYTES {
                true => Err(LoadError::InlineTooLarge(bytes.len())),
                false if bytes.starts_with(GZIP) => unpacked(&bytes),
                false => Ok(bytes.into()),
            };
        }
        if !embedded.is_empty() {
            let known = self.embedded.get(embedded).cloned();
            return known.ok_or_else(|| LoadError::Source(format!("this binary embeds no plugin {embedded:?}")));
        }
        if !digest.is_empty() {
            if let Some((_, bytes)) = self.embedded.iter().find(|(_, b)| crate::engine::digest(b) == *digest) {
                return Ok(bytes.clone());
            }
            let path = self.by_digest(digest).ok_or_else(|| LoadError::Source(format!("{digest:?} is no sha256 digest")))?;
            return read_file(&path);
        }
        read_file(&self.file(file)?)
    }

    /// A bare name, or the whole path of a file in the folder.
    fn file(&self, file: &str) -> Result<PathBuf, LoadError> {
        let name = Path::new(file).strip_prefix(&self.folder).unwrap_or(Path::new(file));
        if name.components().count() != 1 || name.file_name().is_none() {
            return Err(LoadError::Source(format!("file must be a name in {}, not {file:?}", self.folder.display())));
        }
        Ok(self.folder.join(name))
    }

    fn by_digest(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        let plain = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| self.folder.join(format!("{hex}.wasm")))
    }
}

/// Stops where a component would be too large, whatever the archive holds.
fn unpacked(bytes: &[u8]) -> Result<Bytes, LoadError> {
    let mut unpacked = Vec::new();
    let limit = MAX_COMPONENT_BYTES as u64 + 1;
    let read = flate2::read::GzDecoder::new(bytes).take(limit).read_to_end(&mut unpacked);
    read.map_err(|e| LoadError::Source(format!("inline: gzip: {e}")))?;
    if unpacked.len() > MAX_COMPONENT_BYTES { Err(LoadError::TooLarge(unpacked.len())) } else { Ok(unpacked.into()) }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes)?;
    std::fs::rename(partial, path)
}

fn read_file(path: &Path) -> Result<Bytes, LoadError> {
    let fault = |e: std::io::Error| LoadError::Source(format!("{}: {e}", path.display()));
    let length = std::fs::metadata(path).map_err(fault)?.len();
    if length > MAX_COMPONENT_BYTES as u64 {
        return Err(LoadError::TooLarge(usize::try_from(length).unwrap_or(usize::MAX)));
    }
    std::fs::read(path).map(Bytes::from).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Source {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        let packed = encoder.finish().expect("memory");
        Source { inline: base64::engine::general_purpose::STANDARD.encode(packed), ..Source::default() }
    }

    #[test]
    fn inline_bytes_may_be_gzipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let components = Components::new(folder.path().to_owned(), BTreeMap::new()).expect("a folder");
        let read = components.read(&packed(b"\0asm and so on")).expect("the bytes");
        assert_eq!(read.as_ref(), b"\0asm and so on");
        let bomb = components.read(&packed(&vec![0; MAX_COMPONENT_BYTES + (1 << 20)]));
        assert_eq!(bomb, Err(LoadError::TooLarge(MAX_COMPONENT_BYTES + 1)));
        let unpacked = Source { inline: base64::engine::general_purpose::STANDARD.encode(vec![0; MAX_INLINE_BYTES + 1]), ..Source::default() };
        expect![
            "spec.source.inline has 1048577 bytes as decoded; it may have 1 MiB, and a component up to 64 MiB comes gzipped, or as file, https or oci"
        ]
        .assert_eq(&components.read(&unpacked).expect_err("too many bytes").to_string());
        expect!["has 67108865 bytes; a component may have 64 MiB"].assert_eq(&bomb.expect_err("a bomb").to_string());
        let broken = Source { inline: base64::engine::general_purpose::STANDARD.encode(b"\x1f\x8bnonsense"), ..Source::default() };
        assert!(matches!(components.read(&broken), Err(LoadError::Source(_))));
    }
}
