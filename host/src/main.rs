//! `pintle`: one binary that is the API server, a node, and the command line. Composition only: each part lives in a crate of its
//! own, and this one ties them to arguments, identities and each other.

mod access;
mod cli;
mod cluster;
mod decisions;
mod ingress;
mod node;
mod server;
mod told;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "pintle", version, about = "A Kubernetes-API orchestrator whose policies are WebAssembly components")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine, in the background; ready when it returns
    Up(cluster::up::UpArgs),
    /// Stop the cluster and remove everything it made
    Down(cluster::down::DownArgs),
    /// What runs, and where the kubeconfig is
    Status(cluster::status::StatusArgs),
    /// Container images
    #[command(subcommand)]
    Image(ImageCommand),
    /// The control plane alone, in the foreground
    Server(server::ServerArgs),
    /// A node, in the foreground
    Node(node::NodeArgs),
    /// Compiles a plugin from standard input to standard output; called by the server
    #[command(name = pintle_plugins::compiler::ARGUMENT, hide = true)]
    CompileComponent {
        /// What its calls are measured by
        bounds: String,
        /// Where compiled functions are kept
        functions: Option<std::path::PathBuf>,
    },
    #[command(flatten)]
    Client(cli::ClientCommand),
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Load archives into every node of this machine
    Import(cluster::ImportArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", told::told(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Server(args) => runtime(None)?.block_on(server::run(args)).map(|()| ExitCode::SUCCESS),
        Command::Node(args) => runtime(None)?.block_on(node::run(args)).map(|()| ExitCode::SUCCESS),
        Command::Up(args) => runtime(Some(1))?.block_on(cluster::up::up(args)).map(|()| ExitCode::SUCCESS),
        Command::Down(args) => cluster::down::down(&args).map(|()| ExitCode::SUCCESS),
        Command::Status(args) => Ok(if cluster::status::status(&args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Command::Image(ImageCommand::Import(args)) => cluster::import(&args).map(|()| ExitCode::SUCCESS),
        Command::CompileComponent { bounds, functions } => Ok(ExitCode::from(pintle_plugins::compiler::serve(&bounds, functions.as_deref()))),
        Command::Client(command) => runtime(Some(1))?.block_on(cli::run(command)),
    }
}

/// A client for the cluster that a kubeconfig names.
pub fn connect(kubeconfig: &Path) -> Result<Arc<pintle_client::HttpClient>> {
    let config = pintle_client::kubeconfig::Kubeconfig::load(kubeconfig).context("reading the kubeconfig")?;
    Ok(Arc::new(pintle_client::HttpClient::new(&config)?))
}

/// One worker thread is enough for a command; servers take what the machine has.
fn runtime(threads: Option<usize>) -> Result<tokio::runtime::Runtime> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("starting the runtime")
}

/// Log lines go to standard error; `RUST_LOG` chooses what.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,hyper=warn,h2=warn,wasmtime=warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// Ends at SIGTERM or Ctrl-C.
pub async fn until_stopped() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGTERM");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
