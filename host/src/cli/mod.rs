//! The command line: Kubernetes' usual verbs with their usual words, for people without another client, and the verbs for plugins.
//!
//! One file a verb or family. What they share: [`session`] (connection, requests, refusals), [`discovery`] and [`resolve`] (from words
//! to resources), [`files`] (manifests), [`print`], [`tabs`], [`yaml`] and [`jsonpath`] (output). The server decides everything;
//! nothing here keeps state or knows a kind that it could ask for. `main` calls [`run`].

mod about;
mod apply;
mod backup;
mod channels;
mod config;
mod create;
mod delete;
mod describe;
mod difference;
mod discovery;
mod drain;
mod events;
mod exec;
mod files;
mod get;
mod jsonpath;
mod label;
mod logs;
mod patch;
mod plugin;
mod portforward;
mod print;
mod proxy;
mod resolve;
mod rollout;
mod run;
mod scale;
mod session;
mod set;
mod tabs;
mod threeway;
mod wait;
mod why;
mod workloads;
mod written;
mod yaml;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum ClientCommand {
    /// Show objects
    Get(get::GetArgs),
    /// Show an object with what belongs to it, and its events
    Describe(describe::DescribeArgs),
    /// Make the cluster hold what manifests say
    Apply(apply::ApplyArgs),
    /// What apply would change
    Diff(apply::DiffArgs),
    /// Create objects
    Create(Box<create::CreateArgs>),
    /// Delete objects
    Delete(delete::DeleteArgs),
    /// What a container wrote
    Logs(logs::LogsArgs),
    /// Run a command in a container
    Exec(exec::ExecArgs),
    /// Talk to a container's own process
    Attach(exec::AttachArgs),
    /// Lead local ports into a pod
    PortForward(portforward::PortForwardArgs),
    /// Set the number of replicas
    Scale(scale::ScaleArgs),
    /// Follow, undo, restart changes of workloads
    Rollout(rollout::RolloutArgs),
    /// Wait for a condition
    Wait(wait::WaitArgs),
    /// Start one pod from an image
    Run(run::RunArgs),
    /// A Service for what runs
    Expose(run::ExposeArgs),
    /// Change images, environment or resources of a pod template
    Set(Box<set::SetArgs>),
    /// Set and remove labels
    Label(label::LabelArgs),
    /// Set and remove annotations
    Annotate(label::LabelArgs),
    /// Set and remove taints of nodes
    Taint(label::TaintArgs),
    /// Change fields of an object
    Patch(patch::PatchArgs),
    /// Replace objects by manifests
    Replace(patch::ReplaceArgs),
    /// Change an object in an editor
    Edit(patch::EditArgs),
    /// Close nodes to new pods
    Cordon(drain::CordonArgs),
    /// Open nodes to new pods
    Uncordon(drain::CordonArgs),
    /// Empty a node
    Drain(drain::DrainArgs),
    /// What happened
    Events(events::EventsArgs),
    /// Who may do what
    Auth(about::AuthArgs),
    /// What the server serves
    ApiResources(about::ApiResourcesArgs),
    /// Groups and versions that the server serves
    ApiVersions(about::PlainArgs),
    /// Where the server and its services are
    ClusterInfo(about::PlainArgs),
    /// Fields of a kind
    Explain(about::ExplainArgs),
    /// Versions of this client and of the server
    Version(about::VersionArgs),
    /// The kubeconfig and its contexts
    Config(config::ConfigArgs),
    /// The API on a local port
    Proxy(proxy::ProxyArgs),
    /// Who decided about an object, and on what grounds
    Why(why::WhyArgs),
    /// Write everything that the cluster's store holds into a file
    Backup(backup::BackupArgs),
    /// Make a server's store from a backup
    Restore(backup::RestoreArgs),
    /// Policies: schedulers, controllers, ingress controllers, admission policies
    Plugin(Box<plugin::PluginArgs>),
}

/// Runs a verb. Refusals of the server are printed here, in the form that scripts know; other errors are the caller's to print.
pub async fn run(command: ClientCommand) -> Result<ExitCode> {
    let outcome = match command {
        ClientCommand::Get(args) => get::run(args).await,
        ClientCommand::Describe(args) => describe::run(args).await,
        ClientCommand::Apply(args) => apply::run(args).await,
        ClientCommand::Diff(args) => apply::diff(args).await,
        ClientCommand::Create(args) => create::run(*args).await,
        ClientCommand::Delete(args) => delete::run(args).await,
        ClientCommand::Logs(args) => logs::run(args).await,
        ClientCommand::Exec(args) => exec::exec(args).await,
        ClientCommand::Attach(args) => exec::attach(args).await,
        ClientCommand::PortForward(args) => portforward::run(args).await,
        ClientCommand::Scale(args) => scale::run(args).await,
        ClientCommand::Rollout(args) => rollout::run(args).await,
        ClientCommand::Wait(args) => wait::run(args).await,
        ClientCommand::Run(args) => run::run(args).await,
        ClientCommand::Expose(args) => run::expose(args).await,
        ClientCommand::Set(args) => set::run(*args).await,
        ClientCommand::Label(args) => label::run(args, label::What::Labels).await,
        ClientCommand::Annotate(args) => label::run(args, label::What::Annotations).await,
        ClientCommand::Taint(args) => label::taint(args).await,
        ClientCommand::Patch(args) => patch::patch(args).await,
        ClientCommand::Replace(args) => patch::replace(args).await,
        ClientCommand::Edit(args) => patch::edit(args).await,
        ClientCommand::Cordon(args) => drain::cordon(args, true).await,
        ClientCommand::Uncordon(args) => drain::cordon(args, false).await,
        ClientCommand::Drain(args) => drain::drain(args).await,
        ClientCommand::Events(args) => events::run(args).await,
        ClientCommand::Auth(args) => about::auth(args).await,
        ClientCommand::ApiResources(args) => about::api_resources(args).await,
        ClientCommand::ApiVersions(args) => about::api_versions(args).await,
        ClientCommand::ClusterInfo(args) => about::cluster_info(args).await,
        ClientCommand::Explain(args) => about::explain(args).await,
        ClientCommand::Version(args) => about::version(args).await,
        ClientCommand::Config(args) => config::run(&args),
        ClientCommand::Proxy(args) => proxy::run(args).await,
        ClientCommand::Why(args) => why::run(args).await,
        ClientCommand::Backup(args) => backup::backup(args).await.map(|()| ExitCode::SUCCESS),
        ClientCommand::Restore(args) => backup::restore(args).await.map(|()| ExitCode::SUCCESS),
        ClientCommand::Plugin(args) => plugin::run(*args).await,
    };
    match outcome {
        Err(error) if error.is::<session::Refused>() => {
            complain(&error);
            Ok(ExitCode::FAILURE)
        }
        other => other,
    }
}

/// One error of several objects' work.
fn complain(error: &anyhow::Error) {
    if error.is::<session::Refused>() { eprintln!("{error}") } else { eprintln!("error: {}", crate::told::told(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_well_formed() {
        ClientCommand::augment_subcommands(clap::Command::new("pintle")).debug_assert();
    }
}
