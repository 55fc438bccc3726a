//! From bytes to a component whose world is known and whose imports are all the host's: everything that can be wrong with a plugin
//! before it runs is found here, with words for the person who applied it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

pub use crate::contract::Version;
use crate::contract::{self, Contract, Unsupported};
use crate::engine::{Machine, digest};
use crate::source::MAX_INLINE_BYTES;

/// The largest component that is loaded: Python's take 18 MiB.
pub const MAX_COMPONENT_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    Admission,
    Scheduler,
    Controller,
    Ingress,
}

/// A component that fits its world.
#[derive(Clone)]
pub struct Loaded {
    pub component: Component,
    pub world: World,
    /// The version that it was built against.
    pub contract: Contract,
    /// `sha256:...` of the bytes.
    pub digest: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("not a component: {0}")]
    NotAComponent(String),
    #[error("is a core module, not a component: encode it with `pintle plugin build` or `wasm-tools component new`")]
    CoreModule,
    #[error("has {0} bytes; a component may have {mib} MiB", mib = MAX_COMPONENT_BYTES >> 20)]
    TooLarge(usize),
    #[error(
        "spec.source.inline has {0} bytes as decoded; it may have {inline} MiB, and a component up to {mib} MiB comes gzipped, or as file, https or oci",
        inline = MAX_INLINE_BYTES >> 20,
        mib = MAX_COMPONENT_BYTES >> 20
    )]
    InlineTooLarge(usize),
    #[error(
        "exports no world that pintle knows: a scheduler exports `schedule`, a controller `reconcile`, an ingress controller `compile`, an admission policy `admit`; this exports {0}"
    )]
    UnknownWorld(String),
    #[error("is of the world {found}, but the Plugin says {wanted}")]
    WrongWorld { found: World, wanted: World },
    #[error("imports {0}, which no plugin of the world {1} is given")]
    UngrantedImport(String, World),
    #[error("{0}")]
    UnsupportedVersion(Unsupported),
    #[error("does not fit the world {0}: {1}")]
    Mismatch(World, String),
    #[error("the grants lack {verb} on {resource}, which {why}")]
    MissingGrant { verb: &'static str, resource: String, why: String },
    #[error("its digest is {found}, but the Plugin says {wanted}")]
    Digest { found: String, wanted: String },
    #[error("source: {0}")]
    Source(String),
    #[error("is not signed as it must be: {0}")]
    Unverified(String),
    #[error("refuses its configuration: {0}")]
    Configuration(String),
    #[error("failed while it was started: {0}")]
    Start(String),
}

impl LoadError {
    /// The reason of the `Loaded` condition.
    pub fn reason(&self) -> &'static str {
        match self {
            LoadError::NotAComponent(_) | LoadError::CoreModule => "NotAComponent",
            LoadError::TooLarge(_) | LoadError::InlineTooLarge(_) => "TooLarge",
            LoadError::UnknownWorld(_) | LoadError::WrongWorld { .. } => "WrongWorld",
            LoadError::UngrantedImport(..) => "UngrantedImport",
            LoadError::UnsupportedVersion(_) => "UnsupportedVersion",
            LoadError::Mismatch(..) => "Incompatible",
            LoadError::MissingGrant { .. } => "MissingGrant",
            LoadError::Digest { .. } => "DigestMismatch",
            LoadError::Source(_) => "SourceUnavailable",
            LoadError::Unverified(_) => "NotVerified",
            LoadError::Configuration(_) => "BadConfiguration",
            LoadError::Start(_) => "StartFailed",
        }
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            World::Admission => "admission",
            World::Scheduler => "scheduler",
            World::Controller => "controller",
            World::Ingress => "ingress",
        })
    }
}

/// Compiles and checks. Blocks for as long as compilation takes.
pub fn load(machine: &Machine, bytes: &[u8], wanted: World) -> Result<Loaded, LoadError> {
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(LoadError::TooLarge(bytes.len()));
    }
    // The header of a core module: magic, then version 1 in layer 0.
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(LoadError::CoreModule);
    }
    // `precompile` would take the text format as well; a plugin is a binary.
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::NotAComponent("the file does not begin like WebAssembly".to_owned()));
    }
    let digest = digest(bytes);
    let component = machine.compile_digested(bytes, &digest).map_err(|e| LoadError::NotAComponent(format!("{e:#}")))?;
    let found = world_of(machine, &component)?;
    if found != wanted {
        return Err(LoadError::WrongWorld { found, wanted });
    }
    check_imports(machine, &component, found)?;
    let kind = component.component_type();
    let contract = contract::of(found, kind.imports(machine.engine()).map(|(name, _)| name)).map_err(LoadError::UnsupportedVersion)?;
    Ok(Loaded { component, world: found, contract, digest: digest.into() })
}

/// As [`load`], of whatever world it is.
pub fn detect(machine: &Machine, bytes: &[u8]) -> Result<Loaded, LoadError> {
    // The wrong world is told before its imports are looked at.
    match load(machine, bytes, World::Scheduler) {
        Err(LoadError::WrongWorld { found, .. }) => load(machine, bytes, found),
        other => other,
    }
}

fn world_of(machine: &Machine, component: &Component) -> Result<World, LoadError> {
    let kind = component.component_type();
    let exports: Vec<&str> = kind
        .exports(machine.engine())
        .filter(|(_, e)| matches!(e.ty, ComponentItem::ComponentFunc(_) | ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name)
        .collect();
    for (name, world) in [("schedule", World::Scheduler), ("reconcile", World::Controller), ("compile", World::Ingress), ("admit", World::Admission)]
    {
        if exports.contains(&name) {
            return Ok(world);
        }
    }
    Err(LoadError::UnknownWorld(if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }))
}

fn check_imports(machine: &Machine, component: &Component, world: World) -> Result<(), LoadError> {
    for (name, item) in component.component_type().imports(machine.engine()) {
        // Imported types carry no power.
        let is_type = matches!(item.ty, ComponentItem::Type(_));
        if !is_type && !is_given(name, world) {
            return Err(LoadError::UngrantedImport(name.to_owned(), world));
        }
    }
    Ok(())
}

/// The world's own interfaces, and the parts of WASI that reach nothing outside of the plugin.
fn is_given(import: &str, world: World) -> bool {
    let interface = import.split('@').next().unwrap_or(import);
    let Some((package, _)) = interface.split_once('/') else { return false };
    match package {
        "pintle:host" => true,
        "pintle:admission" => world == World::Admission,
        "pintle:controller" => world == World::Controller,
        "pintle:scheduler" => world == World::Scheduler,
        "pintle:ingress" => world == World::Ingress,
        "wasi:cli" | "wasi:io" | "wasi:clocks" | "wasi:random" | "wasi:filesystem" => true,
        _ => false,
    }
}
