//! `config`: what the kubeconfig says, and the choice of its context. It edits nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::Value;

use super::print::{self, Format};
use super::session::Global;
use super::{tabs, yaml};

#[derive(clap::Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// The kubeconfig, without its secrets
    View {
        /// With certificates and tokens
        #[arg(long)]
        raw: bool,
        /// Only what the current context uses
        #[arg(long)]
        minify: bool,
        #[arg(short, long)]
        output: Option<String>,
    },
    CurrentContext,
    GetContexts,
    UseContext {
        name: String,
    },
    /// --namespace NAMESPACE, for the current context or the named one
    SetContext {
        name: Option<String>,
        #[arg(long)]
        current: bool,
    },
}

pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let mut config = args.global.read_kubeconfig()?;
    // Several files are merged into one that none of them is.
    config.api_version = "v1".to_owned();
    config.kind = "Config".to_owned();
    match &args.what {
        What::View { raw, minify, output } => {
            let mut config = config;
            if *minify {
                let current = config.current_context.clone();
                config.contexts.retain(|c| c.name == current);
                let used = config.contexts.first().map(|c| (c.context.cluster.clone(), c.context.user.clone())).unwrap_or_default();
                config.clusters.retain(|c| c.name == used.0);
                config.users.retain(|u| u.name == used.1);
            }
            let mut value = serde_json::to_value(&config)?;
            without_nulls(&mut value);
            if !raw {
                hide_secrets(&mut value);
            }
            match Format::parse(output.as_deref())? {
                Format::Json => print::line(&print::pretty(&value)?),
                Format::JsonPath(template) => print::text(&template.render(&value)?),
                _ => print::text(&yaml::to_string(&value)),
            }
        }
        What::CurrentContext if config.current_context.is_empty() => bail!("current-context is not set"),
        What::CurrentContext => print::line(&config.current_context),
        What::GetContexts => {
            let mut rows = "CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE\n".to_owned();
            for named in &config.contexts {
                let mark = if named.name == config.current_context { "*" } else { "" };
                let namespace = named.context.namespace.as_deref().unwrap_or("");
                rows.push_str(&format!("{mark}\t{}\t{}\t{}\t{namespace}\n", named.name, named.context.cluster, named.context.user));
            }
            print::text(&tabs::align(&rows, tabs::TABLE));
        }
        What::UseContext { name } => {
            if !config.contexts.iter().any(|c| c.name == *name) {
                bail!("no context exists with the name: {name:?}");
            }
            change(args, |file| file["current-context"] = name.clone().into())?;
            print::line(&format!("Switched to context {name:?}."));
        }
        What::SetContext { name, current } => {
            let name = match (name, current) {
                (Some(name), false) => name.clone(),
                (None, true) => config.current_context.clone(),
                _ => bail!("name a context, or say --current"),
            };
            let Some(namespace) = args.global.namespace.clone() else { bail!("there is nothing to set but --namespace") };
            change(args, |file| {
                let contexts = file["contexts"].as_array_mut().into_iter().flatten();
                contexts.filter(|c| c["name"] == name.as_str()).for_each(|c| c["context"]["namespace"] = namespace.clone().into());
            })?;
            print::line(&format!("Context {name:?} modified."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes the first file there is; other fields of it stay as they are.
fn change(args: &ConfigArgs, change: impl FnOnce(&mut Value)) -> Result<()> {
    let path = file(args).context("there is no kubeconfig to change")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut value: Value = serde_saphyr::from_str(&text).with_context(|| format!("{} is no kubeconfig", path.display()))?;
    change(&mut value);
    // Beside it and renamed, so that a fault leaves the old one. It holds keys: nobody else may read it.
    let partial = path.with_extension("partial");
    {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        out.write_all(yaml::to_string(&value).as_bytes())?;
    }
    std::fs::rename(&partial, &path).with_context(|| format!("writing {}", path.display()))
}

fn file(args: &ConfigArgs) -> Option<PathBuf> {
    if let Some(path) = &args.global.kubeconfig {
        return Some(path.clone());
    }
    let listed = std::env::var_os("KUBECONFIG").filter(|l| !l.is_empty());
    let paths: Vec<PathBuf> = match listed {
        Some(list) => std::env::split_paths(&list).collect(),
        None => std::env::home_dir().into_iter().map(|home| home.join(".kube/config")).collect(),
    };
    paths.into_iter().find(|p| p.exists())
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()) && *v != Value::Bool(false));
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "certificate-authority-data" | "client-certificate-data" => *value = "DATA+OMITTED".into(),
                    "client-key-data" | "token" | "password" => *value = if key == "client-key-data" { "DATA+OMITTED" } else { "REDACTED" }.into(),
                    _ => hide_secrets(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}
