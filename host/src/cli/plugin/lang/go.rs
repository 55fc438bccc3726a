//! Go: the machine's own compiler for wasip1, and the module into a component. Needs nothing but Go: the SDK has no dependencies, and what
//! stands for WASI (`go/wasi.wat`) is in this binary. Experimental, which `plugin new` says.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{File, Language, embedded, exit_code, run, world_of};
use crate::cli::plugin::World;

const ADVICE: &str = "a project in Go needs Go 1.24 or later (https://go.dev/dl; Debian: apt install golang)";
/// Where the compiler leaves the module, below the project.
const MODULE: &str = ".pintle/build/policy.wasm";

const SDK: &[File] = embedded![
    "sdk/go/admission/exports.go",
    "sdk/go/admission/fake.go",
    "sdk/go/admission/object.go",
    "sdk/go/admission/policy.go",
    "sdk/go/admission/types.go",
    "sdk/go/admission/wit.go",
    "sdk/go/env/env.go",
    "sdk/go/env/env_native.go",
    "sdk/go/env/env_wasip1.go",
    "sdk/go/go.mod",
    "sdk/go/internal/abi/abi.go",
    "sdk/go/scheduler/cluster.go",
    "sdk/go/scheduler/domains.go",
    "sdk/go/scheduler/exports.go",
    "sdk/go/scheduler/lift.go",
    "sdk/go/scheduler/loop.go",
    "sdk/go/scheduler/policy.go",
    "sdk/go/scheduler/rules.go",
    "sdk/go/scheduler/snapshot.go",
    "sdk/go/scheduler/types.go",
    "sdk/go/scheduler/wit.go",
];

/// The name under which Go imports WASI, and what answers there.
const WASI: &str = "wasi_snapshot_preview1";
const STAND_IN: &str = include_str!("go/wasi.wat");
/// What the stand-in imports.
const ITS_WORLD: &str = "package pintle:stand-in; world stand-in { import pintle:host/env@0.1.0; }";

pub struct Go;

impl Language for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn template(&self, world: World) -> Option<Vec<File>> {
        let (policy, test) = match world {
            World::Scheduler => (include_str!("../templates/go/scheduler.go"), include_str!("../templates/go/scheduler_test.go")),
            World::Admission => (include_str!("../templates/go/admission.go"), include_str!("../templates/go/admission_test.go")),
            World::Controller | World::Ingress => return None,
        };
        Some(vec![
            ("go.mod", include_str!("../templates/go/go.mod")),
            ("policy.go", policy),
            ("policy_test.go", test),
            (".gitignore", include_str!("../templates/go/gitignore")),
        ])
    }

    fn sdk(&self) -> Vec<File> {
        SDK.to_vec()
    }

    fn build(&self, folder: &Path) -> Result<Vec<u8>> {
        let world = world_of(folder)?;
        if !matches!(world, World::Scheduler | World::Admission) {
            bail!("the SDK for Go has no {} yet", world.name());
        }
        let mut command = go(folder);
        command.env("GOOS", "wasip1").env("GOARCH", "wasm");
        // A library: it is initialized once, and its functions are called then.
        command.args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", MODULE, "."]);
        run(&mut command, ADVICE)?;
        let module = folder.join(MODULE);
        let core = std::fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        component(core, &folder.join(".pintle/wit"), world)
    }

    fn test(&self, folder: &Path) -> Result<ExitCode> {
        exit_code(go(folder).args(["test", "./..."]))
    }

    fn caution(&self) -> Option<&'static str> {
        Some(
            "Go is experimental: only schedulers and admission policies, and what it costs and how it fails is not known as well as for the other languages.",
        )
    }
}

fn go(folder: &Path) -> Command {
    let mut command = Command::new("go");
    // A workspace around the project is none of its business.
    command.current_dir(folder).env("GOWORK", "off");
    command
}

fn component(mut core: Vec<u8>, wit: &Path, world: World) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let wrong = |e: anyhow::Error| anyhow!("{e:#}");
    resolve.push_dir(wit.join("host")).map_err(wrong).context("the WIT of host")?;
    let (package, _) = resolve.push_dir(wit.join(world.name())).map_err(wrong).with_context(|| format!("the WIT of {}", world.name()))?;
    let own = resolve.select_world(&[package], Some(world.name())).map_err(wrong)?;
    let package = resolve.push_str("stand-in.wit", ITS_WORLD).map_err(wrong)?;
    let of_stand_in = resolve.select_world(&[package], None).map_err(wrong)?;
    let mut stand_in = wat::parse_str(STAND_IN).context("what stands for WASI")?;
    embed_component_metadata(&mut stand_in, &resolve, of_stand_in, StringEncoding::UTF8, false)?;
    embed_component_metadata(&mut core, &resolve, own, StringEncoding::UTF8, false)?;
    ComponentEncoder::default().module(&core)?.adapter(WASI, &stand_in)?.validate(true).encode().context("making the component")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use expect_test::expect_file;
    use wit_parser::{Resolve, SizeAlign, Type, TypeDefKind, TypeId};

    /// What lies in memory is read by these structs, so they are made from the contract: `UPDATE_EXPECT=1 cargo test -p pintle wit.go`.
    #[test]
    fn the_sdk_lays_values_out_as_the_contract_has_them() {
        let layout = |world: &str, contract: &str| {
            let mut resolve = Resolve::default();
            resolve.push_str("host.wit", include_str!("../../../../../wit/host/host.wit")).unwrap();
            let package = resolve.push_str(format!("{world}.wit"), contract).unwrap();
            Layout::of(&resolve, package, world)
        };
        expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/go/scheduler/wit.go")]
            .assert_eq(&layout("scheduler", include_str!("../../../../../wit/scheduler/scheduler.wit")));
        expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/go/admission/wit.go")]
            .assert_eq(&layout("admission", include_str!("../../../../../wit/admission/admission.wit")));
    }

    struct Layout<'r> {
        resolve: &'r Resolve,
        sizes: SizeAlign,
        /// By their names in Go. Two interfaces may use one type.
        defined: BTreeSet<String>,
        text: String,
    }

    impl<'r> Layout<'r> {
        fn of(resolve: &'r Resolve, package: wit_parser::PackageId, world: &str) -> String {
            let mut sizes = SizeAlign::default();
            sizes.fill(resolve).unwrap();
            let text = format!(
                "// Code generated from wit/{world} by the tests of host/src/cli/plugin/lang/go.rs. DO NOT EDIT.\n\n//go:build wasip1\n\n\
                 package {world}\n\nimport (\n\t\"unsafe\"\n\n\t\"pintle.dev/sdk/internal/abi\"\n)\n"
            );
            let mut layout = Self { resolve, sizes, defined: BTreeSet::new(), text };
            for interface in resolve.packages[package].interfaces.values() {
                for (name, id) in &resolve.interfaces[*interface].types {
                    layout.define(name, *id);
                }
            }
            layout.text
        }

        fn define(&mut self, name: &str, id: TypeId) {
            let go = format!("wit{}", pascal(name));
            let kind = &self.resolve.types[id].kind;
            if !matches!(kind, TypeDefKind::Type(_)) && !self.defined.insert(go.clone()) {
                return;
            }
            match kind {
                TypeDefKind::Type(Type::Id(of)) => return self.define(name, *of),
                TypeDefKind::Type(_) => return,
                TypeDefKind::Enum(kind) => {
                    self.cases(&go, kind.cases.iter().map(|c| c.name.as_str()));
                    return;
                }
                TypeDefKind::Record(record) => {
                    record.fields.iter().for_each(|field| self.require(&field.ty));
                    let fields: Vec<_> = record.fields.iter().map(|f| (camel(&f.name), self.go(&f.ty))).collect();
                    self.structure(&go, &fields);
                }
                TypeDefKind::Variant(variant) => {
                    self.cases(&go, variant.cases.iter().map(|c| c.name.as_str()));
                    // The largest stands for all.
                    let all: Vec<Type> = variant.cases.iter().filter_map(|c| c.ty).collect();
                    let largest = all.iter().max_by_key(|t| self.sizes.size(t).size_wasm32()).unwrap();
                    assert!(all.iter().all(|t| self.sizes.align(t) <= self.sizes.align(largest)), "{name}");
                    let fields = [("tag".to_owned(), "uint8".to_owned()), ("value".to_owned(), self.go(largest))];
                    self.structure(&go, &fields);
                }
                other => panic!("{name}: {}", other.as_str()),
            }
            let size = self.sizes.size(&Type::Id(id)).size_wasm32();
            writeln!(self.text, "\nvar _ = [1]struct{{}}{{}}[unsafe.Sizeof({go}{{}})-{size}]").unwrap();
        }

        /// What a package that is only used has of records stands in no interface of this one.
        fn require(&mut self, kind: &Type) {
            let Type::Id(id) = kind else { return };
            let named = &self.resolve.types[*id];
            match &named.kind {
                TypeDefKind::Option(of) | TypeDefKind::List(of) | TypeDefKind::Type(of) => self.require(of),
                TypeDefKind::Tuple(of) => of.types.iter().for_each(|kind| self.require(kind)),
                TypeDefKind::Record(_) | TypeDefKind::Variant(_) => self.define(named.name.as_deref().unwrap(), *id),
                _ => {}
            }
        }

        fn cases<'c>(&mut self, go: &str, names: impl Iterator<Item = &'c str>) {
            self.text.push_str("\nconst (\n");
            for (at, name) in names.enumerate() {
                let value = if at == 0 { " = iota" } else { "" };
                writeln!(self.text, "\t{go}{}{value}", pascal(name)).unwrap();
            }
            self.text.push_str(")\n");
        }

        /// As gofmt would have it.
        fn structure(&mut self, go: &str, fields: &[(String, String)]) {
            let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            writeln!(self.text, "\ntype {go} struct {{").unwrap();
            for (name, kind) in fields {
                writeln!(self.text, "\t{name:width$} {kind}").unwrap();
            }
            self.text.push_str("}\n");
        }

        fn go(&self, kind: &Type) -> String {
            let id = match kind {
                Type::Bool => return "bool".to_owned(),
                Type::U8 => return "uint8".to_owned(),
                Type::U16 => return "uint16".to_owned(),
                Type::U32 => return "uint32".to_owned(),
                Type::U64 => return "uint64".to_owned(),
                Type::S32 => return "int32".to_owned(),
                Type::S64 => return "int64".to_owned(),
                Type::String => return "abi.String".to_owned(),
                Type::Id(id) => *id,
                other => panic!("{other:?} is not laid out yet"),
            };
            let named = &self.resolve.types[id];
            match &named.kind {
                TypeDefKind::Record(_) | TypeDefKind::Variant(_) => format!("wit{}", pascal(named.name.as_deref().unwrap())),
                TypeDefKind::Enum(_) => "uint8".to_owned(),
                TypeDefKind::Type(of) => self.go(of),
                TypeDefKind::List(of) => format!("abi.List[{}]", self.go(of)),
                TypeDefKind::Option(of) => format!("abi.Option[{}]", self.go(of)),
                TypeDefKind::Tuple(of) if of.types.len() == 2 => format!("abi.Tuple2[{}, {}]", self.go(&of.types[0]), self.go(&of.types[1])),
                other => panic!("{} is not laid out yet", other.as_str()),
            }
        }
    }

    fn pascal(name: &str) -> String {
        name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
    }

    fn camel(name: &str) -> String {
        let name = pascal(name);
        name[..1].to_lowercase() + &name[1..]
    }
}
