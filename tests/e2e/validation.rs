//! What was recorded of upstream's server against ours: no case of the validation corpus that agreed may fall, and every write leaves
//! the same owners.

use std::collections::BTreeMap;

use super::cluster;
use crate::corpus::{Result, cases, drive, managed, score};

#[tokio::test]
async fn refusals_are_upstreams() -> Result<()> {
    let server = cluster::Server::start_without_plugins();
    let driven = drive::Server::open(&server.kubeconfig()).await?;
    let (mut wanted, mut had) = (BTreeMap::new(), BTreeMap::new());
    for (kind, sheet) in cases::read_all(&score::folder())? {
        had.insert(kind.clone(), driven.answers(&sheet).await?);
        wanted.insert(kind.clone(), score::read_wanted(&kind)?);
    }
    let report = score::compare(&wanted, &had);
    println!("{}", report.table());
    let fallen: Vec<String> = report.fallen()?.iter().map(|difference| difference.told()).collect();
    assert!(fallen.is_empty(), "{} cases fell:\n{}", fallen.len(), fallen.join("\n"));
    Ok(())
}

#[tokio::test]
async fn owners_are_upstreams() -> Result<()> {
    let server = cluster::Server::start_without_plugins();
    let driven = drive::Server::open(&server.kubeconfig()).await?;
    let had = managed::outcomes(&driven, &managed::read()?).await?;
    let differences = managed::differences(&managed::read_wanted()?, &had);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    Ok(())
}
