//! JavaScript: a module through componentize-qjs, which npm installs in the project's folder. The component holds QuickJS and the
//! evaluated module; the interpreter's WASI imports are stubbed, so it imports its world's packages alone.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::{File, Language, embedded, exit_code, run};
use crate::cli::plugin::World;

/// The tool's folder below a project; `templates/javascript/package.json` says which version.
const TOOL: &str = "node_modules/componentize-qjs/package.json";
/// The SDK as the project's module sees it: a link that npm makes.
const LINK: &str = "node_modules/pintle/package.json";
const BUILD: &str = ".pintle/sdk/js/build.mjs";
/// Where the build leaves the component, below the project.
const OUTPUT: &str = ".pintle/build/component.wasm";
const ADVICE: &str = "a project in JavaScript needs Node.js 20 or later and its npm";

const SDK: &[File] = embedded![
    "sdk/js/build.mjs",
    "sdk/js/package.json",
    "sdk/js/src/bytes.js",
    "sdk/js/src/controller.d.ts",
    "sdk/js/src/controller.js",
    "sdk/js/src/globals.d.ts",
    "sdk/js/src/host.js",
    "sdk/js/src/ingress.d.ts",
    "sdk/js/src/ingress.js",
    "sdk/js/src/scheduler.d.ts",
    "sdk/js/src/scheduler.js",
    "sdk/js/src/scheduler/affinity.js",
    "sdk/js/src/scheduler/cluster.js",
    "sdk/js/src/scheduler/filters.js",
    "sdk/js/src/scheduler/preempt.js",
    "sdk/js/src/scheduler/spread.js",
    "sdk/js/src/selector.js",
    "sdk/js/src/testing.d.ts",
    "sdk/js/src/testing.js",
    "sdk/js/src/testing/cluster.js",
    "sdk/js/src/testing/ingress.js",
    "sdk/js/src/testing/reading.js",
    "sdk/js/src/testing/scheduler.js",
];

pub struct JavaScript;

impl Language for JavaScript {
    fn name(&self) -> &'static str {
        "js"
    }

    fn template(&self, world: World) -> Option<Vec<File>> {
        let (policy, test) = match world {
            World::Admission => return None,
            World::Scheduler => (include_str!("../templates/javascript/scheduler.js"), include_str!("../templates/javascript/scheduler.test.js")),
            World::Controller => (include_str!("../templates/javascript/controller.js"), include_str!("../templates/javascript/controller.test.js")),
            World::Ingress => (include_str!("../templates/javascript/ingress.js"), include_str!("../templates/javascript/ingress.test.js")),
        };
        Some(vec![
            ("package.json", include_str!("../templates/javascript/package.json")),
            ("package-lock.json", include_str!("../templates/javascript/package-lock.json")),
            ("jsconfig.json", include_str!("../templates/javascript/jsconfig.json")),
            (".gitignore", include_str!("../templates/javascript/gitignore")),
            ("policy.js", policy),
            ("policy.test.js", test),
        ])
    }

    fn sdk(&self) -> Vec<File> {
        SDK.to_vec()
    }

    fn build(&self, folder: &Path) -> Result<Vec<u8>> {
        build(folder, &[])
    }

    /// The interpreter that is optimized for size takes the tool and the host two thirds of the time.
    fn build_quickly(&self, folder: &Path) -> Result<Vec<u8>> {
        build(folder, &["--small"])
    }

    fn test(&self, folder: &Path) -> Result<ExitCode> {
        install(folder)?;
        exit_code(Command::new("node").current_dir(folder).arg("--test"))
    }
}

fn build(folder: &Path, options: &[&str]) -> Result<Vec<u8>> {
    install(folder)?;
    let output = folder.join(OUTPUT);
    run(Command::new("node").current_dir(folder).args([BUILD, OUTPUT]).args(options), ADVICE)?;
    std::fs::read(&output).with_context(|| format!("reading {}", output.display()))
}

/// What the project's lock file names, when it is not there or the lock file has changed since.
fn install(folder: &Path) -> Result<()> {
    let written = |name: &str| folder.join(name).metadata().and_then(|m| m.modified()).ok();
    let stamp = "node_modules/.package-lock.json";
    let fresh = written(TOOL).is_some() && written(LINK).is_some() && written(stamp) >= written("package-lock.json").max(written("package.json"));
    if fresh {
        return Ok(());
    }
    run(Command::new("npm").current_dir(folder).args(["install", "--no-audit", "--no-fund", "--loglevel=error"]), ADVICE)
}

#[cfg(test)]
mod tests {
    use wit_parser::{Resolve, TypeDefKind};

    const HOST: &str = include_str!("../../../../../wit/host/host.wit");
    /// Records that the SDK keeps to itself, or gives another shape.
    const HIDDEN: &[&str] = &[
        "delta",
        "assumption",
        "scope",
        "ranked",
        "ranking",
        "rejection",
        "choice",
        "preemption",
        "reason",
        "placement",
        "namespace",
        "budget",
        "object",
        "problem",
        "object-name",
        "resource-id",
        "pair",
    ];

    /// Fields that hold records whose fields the SDK gives as those of the pod.
    const FLAT: &[&str] = &["constraints.nodes", "constraints.pods", "constraints.volumes", "constraints.spread", "pod.constraints"];
    /// Fields of those that it gives another name there.
    const RENAMED: &[(&str, &str)] = &[
        ("node-affinity.selector", "nodeSelector"),
        ("node-affinity.required", "requiredNodes"),
        ("node-affinity.preferred", "preferredNodes"),
        ("pod-affinity.required", "requiredAffinity"),
        ("pod-affinity.preferred", "preferredAffinity"),
        ("pod-affinity.required-anti", "requiredAntiAffinity"),
        ("pod-affinity.preferred-anti", "preferredAntiAffinity"),
        ("volume-use.nodes", "volumeNodes"),
        ("volume-use.reasons", "volumeReasons"),
        ("volume-use.images", "volumeImages"),
        ("spread.constraints", "spread"),
        ("spread.by-default", "spreadByDefault"),
    ];

    /// A field that the contract gains must not stay unknown to those who write by the types.
    #[test]
    fn the_types_have_every_field_of_the_contract() {
        check(include_str!("../../../../../wit/scheduler/scheduler.wit"), include_str!("../../../../../sdk/js/src/scheduler.d.ts"));
        check(include_str!("../../../../../wit/ingress/ingress.wit"), include_str!("../../../../../sdk/js/src/ingress.d.ts"));
        check(HOST, include_str!("../../../../../sdk/js/src/controller.d.ts"));
    }

    #[track_caller]
    fn check(wit: &str, types: &str) {
        let mut resolve = Resolve::default();
        if wit != HOST {
            resolve.push_str("host.wit", HOST).unwrap();
        }
        let package = resolve.push_str("package.wit", wit).unwrap();
        let mut looked_at = 0;
        for interface in resolve.packages[package].interfaces.values() {
            for (name, id) in &resolve.interfaces[*interface].types {
                let TypeDefKind::Record(record) = &resolve.types[*id].kind else { continue };
                for field in record.fields.iter().filter(|_| !HIDDEN.contains(&name.as_str())) {
                    let place = format!("{name}.{}", field.name);
                    if FLAT.contains(&&*place) {
                        continue;
                    }
                    let renamed = RENAMED.iter().find(|(known, _)| *known == place).map(|(_, given)| (*given).to_owned());
                    let wanted = renamed.unwrap_or_else(|| camel(&field.name));
                    let there = types.lines().any(|l| l.trim_start().trim_start_matches("readonly ").split([':', '?']).next() == Some(&wanted));
                    assert!(there, "{name}.{wanted} is missing");
                    looked_at += 1;
                }
            }
        }
        assert!(looked_at > 0);
    }

    fn camel(name: &str) -> String {
        let mut words = name.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |all, word| format!("{all}{}{}", word[..1].to_uppercase(), &word[1..]))
    }
}
