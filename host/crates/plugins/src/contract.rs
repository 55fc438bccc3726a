//! Versions of the contracts (`wit/`): which one a component was built against, and which ones this host links.
//!
//! A component names them in its imports, `pintle:scheduler/types@0.3.0`. Before 1.0 a minor version may break the one before, so the
//! host links the current minor of a package and the one before it; a patch only adds, and whoever is built against an older patch is
//! content with the newer. Called by [`crate::load`].

use std::fmt;

use crate::load::World;

/// Of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// What a component was built against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    pub world: World,
    pub version: Version,
}

/// A version that this host does not link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// `pintle:scheduler@0.9.0`
    pub wanted: String,
    /// `pintle:scheduler@0.2.0 and 0.3.0`
    pub supported: String,
}

/// Oldest first; the last is the one in `wit/`, the others are in `wit/released/`.
const fn supported(package: Package) -> &'static [Version] {
    const FIRST: &[Version] = &[Version::new(0, 1, 0)];
    const FIRST_TWO: &[Version] = &[Version::new(0, 1, 0), Version::new(0, 2, 0)];
    const LATER_TWO: &[Version] = &[Version::new(0, 2, 0), Version::new(0, 3, 0)];
    match package {
        Package::Host | Package::World(World::Admission | World::Ingress) => FIRST,
        Package::World(World::Controller) => FIRST_TWO,
        Package::World(World::Scheduler) => LATER_TWO,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Package {
    Host,
    World(World),
}

/// Which version the imports of a component of this world ask for. One that imports nothing of its world's package is taken to be current.
pub fn of<'a>(world: World, imports: impl Iterator<Item = &'a str>) -> Result<Contract, Unsupported> {
    let mut version = newest(Package::World(world));
    for import in imports {
        let Some((interface, wanted)) = import.split_once('@').or(Some((import, ""))) else { continue };
        let package = match interface.split('/').next() {
            Some("pintle:host") => Package::Host,
            Some(name) if name.strip_prefix("pintle:").is_some_and(|name| name == world.to_string()) => Package::World(world),
            _ => continue,
        };
        let found = links(package, wanted).ok_or_else(|| refusal(package, wanted))?;
        if package != Package::Host {
            version = found;
        }
    }
    Ok(Contract { world, version })
}

/// The version to link it by.
fn links(package: Package, wanted: &str) -> Option<Version> {
    let wanted = Version::parse(wanted)?;
    supported(package).iter().copied().find(|ours| (ours.major, ours.minor) == (wanted.major, wanted.minor) && wanted.patch <= ours.patch)
}

fn newest(package: Package) -> Version {
    supported(package).last().copied().unwrap_or(Version::new(0, 0, 0))
}

fn refusal(package: Package, wanted: &str) -> Unsupported {
    let versions: Vec<String> = supported(package).iter().map(Version::to_string).collect();
    let wanted = if wanted.is_empty() { format!("{package} without a version") } else { format!("{package}@{wanted}") };
    Unsupported { wanted, supported: format!("{package}@{}", versions.join(" and ")) }
}

impl Version {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut next = || parts.next()?.parse().ok();
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Package::Host => f.write_str("pintle:host"),
            Package::World(world) => write!(f, "pintle:{world}"),
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", Package::World(self.world), self.version)
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "was built against {}; this host links {}", self.wanted, self.supported)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use expect_test::{Expect, expect};

    fn check(world: World, imports: &[&str], expected: Expect) {
        let told = of(world, imports.iter().copied()).map_or_else(|e| e.to_string(), |c| c.to_string());
        expected.assert_eq(&told);
    }

    #[test]
    fn the_imports_tell() {
        let scheduler = World::Scheduler;
        check(scheduler, &["pintle:host/env@0.1.0", "pintle:scheduler/types@0.2.0"], expect!["pintle:scheduler@0.2.0"]);
        check(scheduler, &["pintle:scheduler/types@0.3.0", "wasi:io/streams@0.2.6"], expect!["pintle:scheduler@0.3.0"]);
        check(scheduler, &[], expect!["pintle:scheduler@0.3.0"]);
        check(World::Controller, &["pintle:controller/objects@0.1.0"], expect!["pintle:controller@0.1.0"]);
        check(World::Controller, &[], expect!["pintle:controller@0.2.0"]);
    }

    #[test]
    fn what_is_not_linked_is_refused_with_what_is() {
        let scheduler = World::Scheduler;
        check(
            scheduler,
            &["pintle:scheduler/types@0.1.0"],
            expect!["was built against pintle:scheduler@0.1.0; this host links pintle:scheduler@0.2.0 and 0.3.0"],
        );
        check(
            scheduler,
            &["pintle:scheduler/types@0.3.1"],
            expect!["was built against pintle:scheduler@0.3.1; this host links pintle:scheduler@0.2.0 and 0.3.0"],
        );
        check(
            scheduler,
            &["pintle:scheduler/types"],
            expect!["was built against pintle:scheduler without a version; this host links pintle:scheduler@0.2.0 and 0.3.0"],
        );
        check(
            World::Ingress,
            &["pintle:ingress/types@0.1.0", "pintle:host/env@1.0.0"],
            expect!["was built against pintle:host@1.0.0; this host links pintle:host@0.1.0"],
        );
    }

    /// The table says what the folders hold: the newest version of each package lies in `wit/`, the others in `wit/released/`.
    #[test]
    fn the_table_is_what_lies_in_the_folders() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../wit");
        for package in [Package::Host, World::Admission.into(), World::Controller.into(), World::Ingress.into(), World::Scheduler.into()] {
            let name = package.to_string();
            let name = name.trim_start_matches("pintle:");
            let current = std::fs::read_to_string(wit.join(name).join(format!("{name}.wit"))).expect("the package");
            assert!(current.contains(&format!("package {package}@{};", newest(package))), "wit/{name} is another version");
            for version in supported(package).iter().rev().skip(1) {
                assert!(wit.join(format!("released/{name}@{version}")).is_dir(), "{name}@{version} is linked and not released");
            }
        }
    }

    impl From<World> for Package {
        fn from(world: World) -> Self {
            Self::World(world)
        }
    }
}
