//! `pintle backup`, from a server that serves, and `pintle restore`, for one that does not run.
//!
//! The file has Secrets and the cluster's keys in it: it is for its owner's eyes only.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use pintle_apiserver::backup;
use tokio::io::AsyncWriteExt;

use super::session::{Global, Session};

#[derive(clap::Args, Debug)]
pub struct BackupArgs {
    /// The file to write; one that exists is left alone
    file: PathBuf,
    #[command(flatten)]
    global: Global,
}

#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    /// What `pintle backup` wrote
    file: PathBuf,
    /// The data folder of the server or cluster that is to start from it; it must have no store yet
    #[arg(long)]
    data_dir: PathBuf,
    /// `embedded`, or `etcd=URL,...` of an etcd that holds nothing of pintle's yet
    #[arg(long, default_value = "embedded")]
    storage: String,
}

pub async fn backup(args: BackupArgs) -> Result<()> {
    let session = Session::open(&args.global)?;
    if args.file.exists() {
        bail!("{} exists already", args.file.display());
    }
    let mut partial = args.file.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let contents = download(&session, &partial).await;
    if contents.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    let contents = contents?;
    std::fs::rename(&partial, &args.file).with_context(|| format!("writing {}", args.file.display()))?;
    println!("{}: {} entries at revision {}", args.file.display(), contents.entries, contents.revision);
    Ok(())
}

async fn download(session: &Session, file: &Path) -> Result<backup::Contents> {
    let writing = || format!("writing {}", file.display());
    let mut body = session.stream(backup::PATH, false).await?;
    let opened = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(file);
    let mut out = tokio::fs::File::from_std(opened.with_context(writing)?);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.context("the backup ended early")?.into_data() {
            out.write_all(&data).await.with_context(writing)?;
        }
    }
    out.sync_all().await.with_context(writing)?;
    drop(out);
    let file = file.to_owned();
    Ok(tokio::task::spawn_blocking(move || backup::verify(&file)).await??)
}

pub async fn restore(args: RestoreArgs) -> Result<()> {
    let storage = crate::server::storage(&args.storage)?;
    // The folder of a whole cluster has the server's inside.
    let whole = args.data_dir.join("cluster.json").exists() || args.data_dir.join("server").exists();
    let data_dir = if whole { args.data_dir.join("server") } else { args.data_dir };
    let from = args.file.display().to_string();
    let revision = match storage {
        pintle_apiserver::Storage::Embedded => tokio::task::spawn_blocking(move || backup::restore(&args.file, &data_dir)).await?,
        storage => backup::restore_into(&args.file, &storage, &data_dir).await,
    }
    .with_context(|| format!("restoring {from}"))?;
    println!("restored {from}; the store stands at revision {revision}");
    Ok(())
}
