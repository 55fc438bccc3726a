//! The validation corpus against the server: no case that agreed with upstream may fall.

use std::collections::BTreeMap;

use super::cluster;
use crate::corpus::{Result, cases, drive, score};

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
