//! Where a plugin's bytes come from and where the host keeps them: a folder of components named by digest, so that every revision that
//! ran can run again.
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

    /// The bytes, checked against the digest that the Plugin asks for. Reads files: call it on a blocking thread.
    pub fn fetch(&self, source: &Source, wanted: &str) -> Result<Bytes, LoadError> {
        let bytes = self.read(source)?;
        let found = digest(&bytes);
        if !wanted.is_empty() && wanted != found {
            return Err(LoadError::Digest { found, wanted: wanted.to_owned() });
        }
        Ok(bytes)
    }

    /// Keeps a revision's bytes for a rollback.
    pub fn keep(&self, bytes: &[u8], digest: &str) -> std::io::Result<()> {
        let Some(path) = self.by_digest(digest).filter(|p| !p.exists()) else { return Ok(()) };
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes)?;
        std::fs::rename(partial, path)
    }

    pub fn forget(&self, digest: &str) {
        if let Some(path) = self.by_digest(digest) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn read(&self, source: &Source) -> Result<Bytes, LoadError> {
        let Source { inline, file, embedded, digest } = source;
        let given = [inline, file, embedded, digest].into_iter().filter(|s| !s.is_empty()).count();
        if given != 1 {
            return Err(LoadError::Source(format!("exactly one of inline, file, embedded and digest must be given, not {given}")));
        }
        if !inline.is_empty() {
            let bytes = base64::engine::general_purpose::STANDARD.decode(inline).map_err(|e| LoadError::Source(format!("inline: {e}")))?;
            return match bytes.len() > MAX_INLINE_BYTES {
                true => Err(LoadError::TooLarge(bytes.len())),
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
        // A bare name, or the whole path of a file in the folder.
        let name = Path::new(file).strip_prefix(&self.folder).unwrap_or(Path::new(file));
        if name.components().count() != 1 || name.file_name().is_none() {
            return Err(LoadError::Source(format!("file must be a name in {}, not {file:?}", self.folder.display())));
        }
        read_file(&self.folder.join(name))
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
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Source {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        let packed = encoder.finish().expect("memory");
        Source { inline: base64::engine::general_purpose::STANDARD.encode(packed), ..Source::default() }
    }

    #[test]
    fn inline_bytes_may_be_gzipped_and_their_digest_is_the_components() {
        let folder = tempfile::tempdir().expect("a folder");
        let components = Components::new(folder.path().to_owned(), BTreeMap::new()).expect("a folder");
        let read = components.fetch(&packed(b"\0asm and so on"), &digest(b"\0asm and so on")).expect("the bytes");
        assert_eq!(read.as_ref(), b"\0asm and so on");
        let bomb = components.fetch(&packed(&vec![0; MAX_COMPONENT_BYTES + (1 << 20)]), "");
        assert_eq!(bomb, Err(LoadError::TooLarge(MAX_COMPONENT_BYTES + 1)));
        let broken = Source { inline: base64::engine::general_purpose::STANDARD.encode(b"\x1f\x8bnonsense"), ..Source::default() };
        assert!(matches!(components.fetch(&broken, ""), Err(LoadError::Source(_))));
    }
}
