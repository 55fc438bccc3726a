//! The verbs that check: `test`, `bench`, `validate-corpus`.

use anyhow::Result;

use crate::{build, machine, plugins, programs};

/// Unit and native plugin tests, then the product as a whole: real etcd, containerd, kubectl, nodes in namespaces of their own.
pub fn test(filter: &[String]) -> Result<()> {
    machine::require_build_tools()?;
    machine::require_node_packages()?;
    machine::require_test_packages()?;
    crate::tidy::run()?;
    crate::contracts::check()?;
    plugins::build(&[])?;
    programs::run("node", &["--test", "sdk/js/test"])?;
    let mut args = vec!["test", "--workspace", "--exclude", "pintle-tests", "--no-fail-fast"];
    let filter: Vec<&str> = filter.iter().map(String::as_str).collect();
    if !filter.is_empty() {
        args.push("--");
        args.extend(&filter);
    }
    programs::cargo(&args)?;
    build()?;
    let mut args = vec!["test", "--package", "pintle-tests", "--", "--test-threads", "1"];
    args.extend(&filter);
    programs::cargo(&args)
}

/// End-to-end figures of the release binary.
pub fn bench(args: &[String]) -> Result<()> {
    build()?;
    let mut all = vec!["run", "--release", "--quiet", "--package", "pintle-tests", "--bin", "bench", "--"];
    all.extend(args.iter().map(String::as_str));
    programs::cargo_release(&all)
}

/// Every case of the validation corpus against the release binary, or against the server that `--kubeconfig` names.
pub fn validate_corpus(args: &[String]) -> Result<()> {
    if !args.iter().any(|a| a == "--kubeconfig") {
        build()?;
    }
    let mut all = vec!["run", "--quiet", "--package", "pintle-tests", "--bin", "corpus", "--"];
    all.extend(args.iter().map(String::as_str));
    programs::cargo(&all)
}
