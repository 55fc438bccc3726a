//! `schemathesis`: the published tool over the server's own OpenAPI, in a Python environment under `target/`. What it asks and what it leaves out,
//! `tests/schemathesis/run.py` tells.

use std::path::Path;

use anyhow::Result;

use crate::programs;

/// The version whose options the script knows.
const PACKAGE: &str = "schemathesis==4.32.5";
const ENVIRONMENT: &str = "target/schemathesis/venv";
const SCRIPT: &str = "tests/schemathesis/run.py";
/// With its debug assertions, so that an overflow shows.
const BINARY: &str = "target/debug/pintle";

/// `[api/v1 apis/apps/v1 ...] [--phases coverage,fuzzing] [--seconds N] [--seed N]`
pub fn run(args: &[String]) -> Result<()> {
    let python = format!("{ENVIRONMENT}/bin/python");
    if !Path::new(&python).exists() {
        programs::run("python3", &["-m", "venv", ENVIRONMENT])?;
    }
    programs::run(&python, &["-m", "pip", "install", "--quiet", PACKAGE])?;
    programs::cargo(&["build", "--package", "pintle"])?;
    let mut all = vec![SCRIPT, BINARY];
    all.extend(args.iter().map(String::as_str));
    programs::run(&python, &all)
}
