//! Writes the tables of built-in types that `pintle-api` carries: `types.txt` (structure, loaded by every process) from the schemas in k8s-openapi,
//! `published.txt.gz` (descriptions, defaults, allowed values; read only for OpenAPI) from what a running kube-apiserver publishes.
//!
//! `cargo run -p schema-gen published FOLDER` writes the latter, and the parameters of requests, from the documents of upstream's `/openapi/v3` in FOLDER.
//! `cargo run -p schema-gen protobuf FOLDER VERSION` writes `messages.txt` (the protobuf form) from upstream's API modules in FOLDER.
//! `cargo run -p schema-gen internal FOLDER VERSION` writes `internal_types.txt` (how messages show whole objects) from upstream's modules in FOLDER.
//! Run `cargo run -p schema-gen` after raising k8s-openapi, `-- --check` to see whether the files are current.
//! A crate of its own, so that neither the host nor xtask compiles k8s-openapi with schemars.
//! What these schemas do not say (list kinds and keys, patch strategies) is the hand-kept `merge.txt` beside them.

mod internal;
mod kinds;
mod protobuf;
mod published;
mod table;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, modules, version] = args.as_slice()
        && verb == "protobuf"
    {
        let rows = protobuf::render(Path::new(modules), version)?;
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/crates/api/src/protobuf");
        return publish(&directory.join("messages.txt"), rows.as_bytes(), false);
    }
    if let [verb, modules, version] = args.as_slice()
        && verb == "internal"
    {
        let rows = internal::render(Path::new(modules), version)?;
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/crates/registry/src");
        return publish(&directory.join("internal_types.txt"), rows.as_bytes(), false);
    }
    let check = std::env::args().skip(1).any(|arg| arg == "--check");
    let (types, descriptions) = table::render(&kinds::collect())?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/crates/api/src/schema");
    publish(&directory.join("types.txt"), types.as_bytes(), check)?;
    match args.as_slice() {
        [verb, documents] if verb == "published" => {
            let parameters = published::parameters(Path::new(documents))?;
            publish(&directory.join("../openapi/parameters.txt"), parameters.as_bytes(), false)?;
            let lines = published::render(&types, &descriptions, Path::new(documents))?;
            publish_compressed(&directory.join("published.txt.gz"), lines.as_bytes(), false)
        }
        _ => Ok(()),
    }
}

fn publish(path: &PathBuf, wanted: &[u8], check: bool) -> Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if check {
        bail!("{} is not what k8s-openapi gives: run `cargo run -p schema-gen`", path.display());
    }
    std::fs::write(path, wanted).with_context(|| format!("write {}", path.display()))?;
    println!("wrote {} ({} bytes)", path.display(), wanted.len());
    Ok(())
}

/// Compares the text, not the compressed bytes, so that another version of the compressor makes no difference.
fn publish_compressed(path: &PathBuf, wanted: &[u8], check: bool) -> Result<()> {
    let mut found = Vec::new();
    let readable = std::fs::File::open(path).is_ok_and(|file| flate2::read::GzDecoder::new(file).read_to_end(&mut found).is_ok());
    if readable && found == wanted {
        return Ok(());
    }
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    encoder.write_all(wanted)?;
    publish(path, &encoder.finish()?, check)
}
