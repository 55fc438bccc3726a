//! ConfigMaps and Secrets from literals, files, folders and env files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::plain;

#[derive(clap::Args, Debug, Default)]
pub struct Sources {
    /// KEY=VALUE
    #[arg(long)]
    from_literal: Vec<String>,
    /// [KEY=]FILE, or a folder
    #[arg(long)]
    from_file: Vec<String>,
    /// A file of KEY=VALUE lines
    #[arg(long)]
    from_env_file: Vec<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub struct ConfigMap {
    name: String,
    #[command(flatten)]
    sources: Sources,
}

#[derive(Subcommand, Debug)]
pub enum Secret {
    /// From literals, files, folders
    Generic {
        name: String,
        #[command(flatten)]
        sources: Sources,
        /// The Secret's type
        #[arg(long = "type")]
        kind: Option<String>,
    },
    /// A certificate and its key
    Tls {
        name: String,
        #[arg(long)]
        cert: PathBuf,
        #[arg(long)]
        key: PathBuf,
    },
    /// For pulling images
    DockerRegistry {
        name: String,
        #[arg(long)]
        docker_username: String,
        #[arg(long)]
        docker_password: String,
        #[arg(long, default_value = "")]
        docker_email: String,
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
    },
}

impl ConfigMap {
    pub fn object(&self) -> Result<Value> {
        let mut object = plain("v1", "ConfigMap", &self.name);
        for (key, bytes) in self.sources.read()? {
            match String::from_utf8(bytes) {
                Ok(text) => object["data"][key] = text.into(),
                Err(error) => object["binaryData"][key] = STANDARD.encode(error.as_bytes()).into(),
            }
        }
        Ok(object)
    }
}

impl Secret {
    pub fn object(&self) -> Result<Value> {
        let (name, kind, data) = match self {
            Self::Generic { name, sources, kind } => (name, kind.as_deref(), sources.read()?),
            Self::Tls { name, cert, key } => {
                let (cert, key) = (read(cert)?, read(key)?);
                if !String::from_utf8_lossy(&cert).contains("-----BEGIN") {
                    bail!("tls: failed to find any PEM data in certificate input");
                }
                if !String::from_utf8_lossy(&key).contains("-----BEGIN") {
                    bail!("tls: failed to find any PEM data in key input");
                }
                (name, Some("kubernetes.io/tls"), vec![("tls.crt".to_owned(), cert), ("tls.key".to_owned(), key)])
            }
            Self::DockerRegistry { name, docker_username, docker_password, docker_email, docker_server } => {
                let auth = STANDARD.encode(format!("{docker_username}:{docker_password}"));
                let mut login = json!({"username": docker_username, "password": docker_password, "auth": auth});
                if !docker_email.is_empty() {
                    login["email"] = docker_email.clone().into();
                }
                let config = json!({"auths": {docker_server: login}});
                (name, Some("kubernetes.io/dockerconfigjson"), vec![(".dockerconfigjson".to_owned(), config.to_string().into_bytes())])
            }
        };
        let mut object = plain("v1", "Secret", name);
        let data: Map<String, Value> = data.into_iter().map(|(k, v)| (k, STANDARD.encode(v).into())).collect();
        if !data.is_empty() {
            object["data"] = data.into();
        }
        if let Some(kind) = kind {
            object["type"] = kind.into();
        }
        Ok(object)
    }
}

impl Sources {
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for source in &self.from_file {
            match source.split_once('=') {
                Some((key, file)) => found.push((key.to_owned(), read(Path::new(file))?)),
                None => from_path(Path::new(source), &mut found)?,
            }
        }
        for literal in &self.from_literal {
            let Some((key, value)) = literal.split_once('=') else {
                bail!("invalid literal source {literal}, expected key=value");
            };
            found.push((key.to_owned(), value.trim_matches(['\'', '"']).as_bytes().to_vec()));
        }
        for file in &self.from_env_file {
            let text = String::from_utf8(read(file)?).with_context(|| format!("{} is no text", file.display()))?;
            for line in text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#')) {
                let (key, value) = line
                    .split_once('=')
                    .map_or_else(|| (line.to_owned(), std::env::var(line).unwrap_or_default()), |(k, v)| (k.to_owned(), v.to_owned()));
                found.push((key, value.into_bytes()));
            }
        }
        for (at, (key, _)) in found.iter().enumerate() {
            if found[..at].iter().any(|(other, _)| other == key) {
                bail!("cannot add key {key:?}, another key by that name already exists in Data");
            }
        }
        Ok(found)
    }
}

fn from_path(path: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.is_dir() {
        found.push((name(path), read(path)?));
        return Ok(());
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    for file in files.iter().filter(|f| f.is_file()) {
        found.push((name(file), read(file)?));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("error reading {}", path.display()))
}
