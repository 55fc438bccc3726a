//! The project's own tool: `cargo xtask <verb>`. Builds what cargo alone cannot (guests, images, the host with both inside),
//! installs what the machine lacks, and runs the tests. It decides nothing that the product does.

mod contracts;
mod fuzz;
mod layers;
mod machine;
mod plugins;
mod profile;
mod programs;
mod schemathesis;
mod tidy;
mod verify;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask <verb>

  up [args]      build everything, install missing system packages, start the cluster (args go to `pintle up`)
  build          the plugins for wasm32, the image programs, then target/release/pintle with both inside
  plugins [name] only the plugins, as components under target/plugins/
  test [filter]  every test that one machine can run; installs what they need
  bench          end-to-end figures (CPU per operation); see docs/performance.md
  profile        counts anew what a release executes under load, for the compiler (host/pintle.profdata.gz)
  validate-corpus [args]  upstream's refusals side by side with ours; see docs/validation.md
  wit-check      refuses a change to a released WIT package
  wit-freeze [name]  releases the WIT packages as they stand, under wit/released
  fuzz [decoder...] [--seconds N]  libFuzzer over what decodes bytes from outside; wants a nightly compiler
  schemathesis [group...] [--seconds N]  the published tool over the server's own OpenAPI; wants python3 with venv
  tidy           the rules of ARCHITECTURE.md that a machine can check
  schema         regenerates the API schema tables
  placement      regenerates the goldens of placement from upstream's scheduler (Go); `placement live -bin DIR` asks the real one";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    std::env::set_current_dir(root()).context("the workspace folder")?;
    match verb.as_str() {
        "up" => up(&rest),
        "build" => build(),
        "plugins" => plugins::build(&rest),
        "test" => verify::test(&rest),
        "profile" => profile::run_all(),
        "bench" => verify::bench(&rest),
        "validate-corpus" => verify::validate_corpus(&rest),
        "wit-check" => contracts::check(),
        "wit-freeze" => contracts::freeze(&rest),
        "fuzz" => fuzz::run(&rest),
        "schemathesis" => schemathesis::run(&rest),
        "tidy" => tidy::run(),
        "placement" => programs::placement(&rest),
        "schema" => programs::cargo(&["run", "--quiet", "--package", "schema-gen"]),
        "" | "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown verb {other:?}\n\n{USAGE}"),
    }
}

/// Everything that `target/release/pintle` holds, then the binary itself.
pub fn build() -> Result<()> {
    build_contents()?;
    programs::cargo_release(&["build", "--release", "--package", "pintle"])
}

/// What the binary has inside.
pub fn build_contents() -> Result<()> {
    machine::require_build_tools()?;
    plugins::build(&[])?;
    programs::demo()
}

fn up(args: &[String]) -> Result<()> {
    machine::require_node_packages()?;
    build()?;
    let status = std::process::Command::new("target/release/pintle").arg("up").args(args).status()?;
    std::process::exit(status.code().unwrap_or(1));
}

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}
