//! A cluster's way through a backup: to another folder, to etcd, and back.

use std::path::Path;
use std::process::Command;

use super::cluster::Server;
use super::run::{output, pintle, wait};
use super::several::Several;

fn restore(file: &Path, data_dir: &Path) -> super::run::Output {
    output(Command::new(pintle()).arg("restore").arg(file).arg("--data-dir").arg(data_dir))
}

#[test]
fn a_backup_moves_a_cluster_between_engines_with_its_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let (first, second) = (file("first"), file("second"));
    let path = |file: &Path| file.to_str().expect("UTF-8").to_owned();

    let old = Server::start();
    old.kubectl(&["create", "configmap", "kept", "--from-literal=k=v"]).ok();
    old.kubectl(&["create", "secret", "generic", "kept", "--from-literal=k=v"]).ok();
    let token = wait("a token", 30, || {
        let seen = old.kubectl(&["create", "token", "default"]);
        if seen.success { Ok(seen.stdout.trim().to_owned()) } else { Err(seen.stderr) }
    });
    let said = old.pintle(&["backup", &path(&first)]).ok();
    assert!(said.contains("entries at revision"), "{said}");
    let again = old.pintle(&["backup", &path(&first)]).refused();
    assert!(again.contains("exists already"), "{again}");
    old.kubectl(&["create", "configmap", "later"]).ok();

    let several = Several::start_from(Some(&first));
    let there = |args: &[&str]| output(Command::new(super::run::kubectl()).args(args).arg("--kubeconfig").arg(several.kubeconfig(1)));
    assert_eq!(there(&["get", "configmap", "kept", "-o", "jsonpath={.data.k}"]).ok(), "v");
    there(&["get", "configmap", "later"]).refused();
    // pintle sends the token alone, where kubectl adds the certificate.
    let told = output(Command::new(pintle()).args(["get", "--raw", "/version", "--token", &token, "--kubeconfig"]).arg(several.kubeconfig(1)));
    assert!(told.success, "a token from before: {}", told.stderr);
    output(Command::new(pintle()).args(["backup", &path(&second), "--kubeconfig"]).arg(several.kubeconfig(2))).ok();

    let new = Server::start_on(|data| {
        restore(&second, data).ok();
        let taken = restore(&second, data).refused();
        assert!(taken.contains("exists already"), "{taken}");
    });
    assert_eq!(new.kubectl(&["get", "secret", "kept", "-o", "jsonpath={.data.k}"]).ok(), "dg==");
    // Who was trusted is trusted: the first cluster's administrator, at the third one's address.
    let address = new.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]).ok();
    old.kubectl(&["get", "configmap", "kept", "--server", &address]).ok();
}

#[test]
fn a_damaged_backup_restores_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, data) = (folder.path().join("backup"), folder.path().join("data"));
    Server::start().pintle(&["backup", file.to_str().expect("UTF-8")]).ok();
    let mut bytes = std::fs::read(&file).expect("a backup");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let said = restore(&file, &data).refused();
    assert!(said.contains("the backup is damaged"), "{said}");
    assert!(!data.join("store.redb").exists());
}
