//! `cargo xtask validate-corpus`: upstream's refusals side by side with ours.
//!
//!     corpus                              drives target/release/pintle (or $PINTLE_BIN) and prints what differs and the score
//!     corpus --accept                     the same, and writes the cases that differ to known.txt
//!     corpus --kubeconfig F --record      takes the answers of the server there, a real kube-apiserver, as those wanted
//!     corpus --kubeconfig F               compares the server there
//!     ... KIND...                         only these sheets
//!     ... --managed                       instead of refusals the owners of fields (tests/goldens/managed)
//!
//! A server must be fresh and without controllers. docs/validation.md tells how upstream's is started.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[path = "../corpus/mod.rs"]
mod corpus;
mod started;

use corpus::{Result, cases, drive, managed, score};
use started::Started;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut kubeconfig, mut record, mut accept, mut owners, mut only) = (None, false, false, false, Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--kubeconfig" => kubeconfig = Some(PathBuf::from(args.next().ok_or("--kubeconfig wants a file")?)),
            "--record" => record = true,
            "--accept" => accept = true,
            "--managed" => owners = true,
            kind => only.push(kind.to_owned()),
        }
    }
    let sheets = cases::read_all(&score::folder())?;
    let started = if kubeconfig.is_none() { Some(Started::new(&["--no-plugins"])?) } else { None };
    let file = kubeconfig.or(started.as_ref().map(Started::kubeconfig)).ok_or("no server")?;
    let server = drive::Server::open(&file).await?;
    if owners {
        return drive_owners(&server, record).await;
    }
    let (mut wanted, mut had) = (BTreeMap::new(), BTreeMap::new());
    for (kind, sheet) in sheets {
        if !only.is_empty() && !only.contains(&kind) {
            continue;
        }
        let answers = server.answers(&sheet).await.map_err(|e| format!("{kind}: {e}"))?;
        if record {
            score::write_wanted(&kind, &answers)?;
            println!("{kind}: {} answers", answers.len());
        } else {
            wanted.insert(kind.clone(), score::read_wanted(&kind).unwrap_or_default());
            had.insert(kind, answers);
        }
    }
    if record {
        return Ok(());
    }
    let report = score::compare(&wanted, &had);
    for difference in &report.differing {
        println!("{}", difference.told());
    }
    println!("{}", report.table());
    if accept {
        return report.write_known();
    }
    match report.fallen()?.len() {
        0 => Ok(()),
        fallen => Err(format!("{fallen} cases differ that are not in known.txt").into()),
    }
}

async fn drive_owners(server: &drive::Server, record: bool) -> Result<()> {
    let had = managed::outcomes(server, &managed::read()?).await?;
    if record {
        return managed::write_wanted(&had);
    }
    let differences = managed::differences(&managed::read_wanted()?, &had);
    differences.iter().for_each(|difference| println!("{difference}"));
    if differences.is_empty() { Ok(()) } else { Err(format!("{} differences", differences.len()).into()) }
}
