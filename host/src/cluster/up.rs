//! `pintle up`: from nothing, or from whatever still runs, to a Ready cluster.
//!
//! Each step looks first whether it is done, so that a second `up` repairs what died and changes nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pintle_api::object::ObjectExt;
use pintle_api::resource::GroupVersionResource;
use pintle_api::{Client, ClientExt};
use std::sync::Arc;

use super::layout::Layout;
use super::state::{NodeState, ServerState, State};
use super::{images, machine, network, process};

const API_PORT: u16 = 6443;
const KUBELET_PORT: u16 = 10250;
/// Most nodes on one machine: their addresses share a /24, and each costs a containerd.
const MAX_NODES: usize = 32;
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
const NODE_PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

#[derive(clap::Args, Debug)]
pub struct UpArgs {
    /// Holds everything that the cluster writes
    #[arg(long, default_value = "/var/lib/pintle", env = "PINTLE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Nodes; those after the first live in network namespaces of their own
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
    /// Use this CRI socket for the first node instead of starting a containerd
    #[arg(long)]
    pub runtime_endpoint: Option<String>,
    /// Port of the API server
    #[arg(long, default_value_t = API_PORT)]
    pub port: u16,
    /// Ports of the ingress data plane
    #[arg(long, default_value_t = 80)]
    pub ingress_http_port: u16,
    #[arg(long, default_value_t = 443)]
    pub ingress_https_port: u16,
    /// More arguments for `pintle server`
    #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub server_args: Vec<String>,
}

pub async fn up(args: UpArgs) -> Result<()> {
    let data_dir = args.data_dir.clone();
    bring_up(args).await.inspect_err(|_| tell_of_remains(&data_dir))
}

/// What came up before the failure stays, so that it can be looked at and a second `up` goes on from there.
fn tell_of_remains(data_dir: &Path) {
    let server = Layout::open(data_dir).and_then(|layout| Ok(State::load(&layout)?.server.filter(|s| process::alive(s.pid, &layout.cgroup()))));
    if let Ok(Some(server)) = server {
        eprintln!(
            "The API server (process {}) still runs: `pintle up` goes on from here, `pintle down --data-dir {}` ends it.",
            server.pid,
            data_dir.display()
        );
    }
}

async fn bring_up(args: UpArgs) -> Result<()> {
    if args.nodes == 0 || args.nodes > MAX_NODES {
        bail!("--nodes takes 1 to {MAX_NODES}");
    }
    let begin = Instant::now();
    let layout = Layout::create(&args.data_dir)?;
    let mut state = State::load(&layout)?;
    let fresh = !server_lives(&state, &layout);
    if fresh {
        machine::check(&[args.port, KUBELET_PORT, args.ingress_http_port, args.ingress_https_port])?;
    }
    state.network_namespace = own_network_namespace()?;
    network::make_switch(&mut state)?;
    state.save(&layout)?;
    if fresh {
        let pid = start_server(&args, &layout)?;
        state.server = Some(ServerState { address: format!("https://{}:{}", network::node_address(1), args.port), pid });
        state.save(&layout)?;
    }
    let client = ready_server(&layout, &state).await?;
    say(begin, "the API server is ready");

    let archives = images::bundled(&layout)?;
    let since = jiff::Timestamp::now();
    let mut started = Vec::new();
    for ordinal in 1..=args.nodes.max(state.nodes.len()) {
        started.extend(ensure_node(&args, &layout, &mut state, ordinal, &archives)?);
    }
    for node in &state.nodes {
        let since = started.contains(&node.name).then_some(since);
        wait_node_ready(&client, node, since, &layout).await?;
        say(begin, &format!("node {} is Ready", node.name));
    }
    wait_system(&client).await?;
    say(begin, "kube-system is up");
    print_next_steps(&layout);
    Ok(())
}

fn start_server(args: &UpArgs, layout: &Layout) -> Result<i32> {
    let mut command = Command::new(own_binary()?);
    command
        .arg("server")
        .arg("--data-dir")
        .arg(layout.server())
        .args(["--listen", &format!("0.0.0.0:{}", args.port)])
        .args(["--advertise-address", &network::node_address(1)])
        .arg("--kubeconfig-out")
        .arg(layout.kubeconfig())
        .args(["--ingress-http", &format!("0.0.0.0:{}", args.ingress_http_port)])
        .args(["--ingress-https", &format!("0.0.0.0:{}", args.ingress_https_port)])
        .args(&args.server_args);
    process::start(command, &layout.log("server"), &layout.cgroup())
}

/// Waits until the server answers, or says why it ended.
async fn ready_server(layout: &Layout, state: &State) -> Result<Arc<dyn Client>> {
    let pid = state.server.as_ref().map_or(0, |s| s.pid);
    let end = Instant::now() + SERVER_PATIENCE;
    loop {
        if let Ok(client) = crate::connect(&layout.kubeconfig()) {
            let client: Arc<dyn Client> = client;
            let namespace = pintle_api::client::Target::object(resource("", "namespaces"), None, "kube-system");
            if client.get(&namespace).await.is_ok() {
                return Ok(client);
            }
        }
        if !process::alive(pid, &layout.cgroup()) || Instant::now() > end {
            bail!("the API server did not become ready; the end of {}:\n{}", layout.log("server").display(), tail(&layout.log("server")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Starts the node's process unless it lives, and gives its name if it did. Its containerd, when it lives, is kept, and with it
/// every container.
fn ensure_node(args: &UpArgs, layout: &Layout, state: &mut State, ordinal: usize, archives: &[PathBuf]) -> Result<Option<String>> {
    let name = format!("pintle-{ordinal}");
    if let Some(node) = state.nodes.iter().find(|n| n.name == name)
        && process::alive(node.pid, &layout.cgroup())
    {
        return Ok(None);
    }
    let folder = layout.node(&name);
    std::fs::create_dir_all(&folder)?;
    let netns = if ordinal == 1 { None } else { Some(network::make_namespace(layout, ordinal)?) };
    let address = network::node_address(ordinal);
    write_node_credentials(layout, &name, &address, args.port)?;
    let endpoint = match (&args.runtime_endpoint, ordinal) {
        (Some(given), 1) => given.clone(),
        _ => format!("unix://{}", folder.join("containerd/containerd.sock").display()),
    };
    let mut command = enter_namespaces(&folder, netns.as_deref())?;
    command
        .arg(own_binary()?)
        .arg("node")
        .arg("--kubeconfig")
        .arg(layout.node_kubeconfig(&name))
        .arg("--data-dir")
        .arg(&folder)
        .args(["--node-name", &name])
        .args(["--node-ip", &address])
        .args(["--cgroup-root", &format!("/{}/{name}", layout.cgroup())])
        .arg("--keep-runtime");
    if args.runtime_endpoint.is_some() && ordinal == 1 {
        command.args(["--runtime-endpoint", &endpoint]);
    }
    for archive in archives {
        command.arg("--preload-image").arg(archive);
    }
    let pid = process::start(command, &layout.log(&name), &layout.cgroup())?;
    state.nodes.retain(|n| n.name != name);
    state.nodes.push(NodeState { name: name.clone(), pid, runtime_endpoint: endpoint, address, netns, folder });
    state.nodes.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then_with(|| a.name.cmp(&b.name)));
    state.save(layout)?;
    Ok(Some(name))
}

/// A command prefix that runs what follows in the node's network namespace and in a mount namespace of its own, so that no mount of
/// a pod shows on the machine and all of them vanish with the node. A living containerd's namespace is entered again.
fn enter_namespaces(folder: &Path, netns: Option<&str>) -> Result<Command> {
    let mut command = Command::new("nsenter");
    if let Some(pid) = images::containerd_pid(folder) {
        command.args(["--target", &pid.to_string(), "--mount", "--net", "--"]);
        return Ok(command);
    }
    if let Some(netns) = netns {
        command.arg(format!("--net=/run/netns/{netns}"));
    }
    for part in ["private/cni", "private/netns"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    let script = "set -e; mount --make-rslave /; mkdir -p /var/lib/cni /run/netns; mount --bind \"$0/private/cni\" /var/lib/cni; \
                  mount --bind \"$0/private/netns\" /run/netns; mount --make-rshared /; exec \"$@\"";
    command.args(["--", "unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script]).arg(folder);
    Ok(command)
}

fn write_node_credentials(layout: &Layout, name: &str, address: &str, port: u16) -> Result<()> {
    crate::server::issue_node_kubeconfig(
        &layout.server(),
        name,
        address,
        &format!("https://{}:{port}", network::node_address(1)),
        &layout.node_kubeconfig(name),
    )
}

/// `since`: when its process started now. What the node said before that, it said in an earlier life.
async fn wait_node_ready(client: &Arc<dyn Client>, node: &NodeState, since: Option<jiff::Timestamp>, layout: &Layout) -> Result<()> {
    let target = pintle_api::client::Target::object(resource("", "nodes"), None, &node.name);
    let lease = pintle_api::client::Target::object(resource("coordination.k8s.io", "leases"), Some("kube-node-lease"), &node.name);
    let renewed = |lease: pintle_api::Object| lease.str_at(&["spec", "renewTime"]).parse::<jiff::Timestamp>().ok();
    let end = Instant::now() + NODE_PATIENCE;
    loop {
        let fresh = match since {
            None => true,
            Some(since) => client.get_value(&lease).await.ok().and_then(renewed).is_some_and(|at| at >= since),
        };
        if fresh && client.get_value(&target).await.is_ok_and(|n| is_ready(&n)) {
            return Ok(());
        }
        if !process::alive(node.pid, &layout.cgroup()) || Instant::now() > end {
            let log = layout.log(&node.name);
            bail!("node {} did not become Ready; the end of {}:\n{}", node.name, log.display(), tail(&log));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_ready(node: &pintle_api::Object) -> bool {
    node.list_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True")
}

/// Cluster DNS answers and all pods of kube-system (there may be none) are Ready.
async fn wait_system(client: &Arc<dyn Client>) -> Result<()> {
    let dns = pintle_api::client::Target::object(resource("", "services"), Some("kube-system"), "kube-dns");
    let plugins = pintle_api::client::Target::collection(GroupVersionResource::constant("pintle.dev", "v1alpha1", "plugins"), None);
    let end = Instant::now() + NODE_PATIENCE;
    loop {
        let has_dns = client.get(&dns).await.is_ok();
        let waiting = match client.list(&plugins, &pintle_api::client::ListOptions::default()).await {
            Ok(list) => list.items.iter().filter_map(|p| p.parse().ok()).filter(|p| !is_live(p)).count(),
            Err(_) => 1,
        };
        if has_dns && waiting == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("kube-system did not come up (cluster DNS: {has_dns}; plugins not ready: {waiting}); see `pintle plugin list`");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_live(plugin: &pintle_api::Object) -> bool {
    plugin.bool_at(&["spec", "paused"])
        || plugin.list_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True")
}

fn print_next_steps(layout: &Layout) {
    let kubeconfig = layout.kubeconfig();
    println!(
        "\n  export KUBECONFIG={}\n\nThen try:\n  kubectl get nodes -o wide\n  kubectl create deployment web --image=pintle.dev/hello:v1 --replicas=3\n  pintle plugin list",
        kubeconfig.display()
    );
}

fn say(begin: Instant, what: &str) {
    println!("[{:5.1} s] {what}", begin.elapsed().as_secs_f64());
}

fn server_lives(state: &State, layout: &Layout) -> bool {
    state.server.as_ref().is_some_and(|s| process::alive(s.pid, &layout.cgroup()))
}

fn resource(group: &'static str, name: &'static str) -> GroupVersionResource {
    GroupVersionResource::constant(group, "v1", name)
}

fn own_network_namespace() -> Result<String> {
    Ok(std::fs::read_link("/proc/self/ns/net").context("reading the network namespace")?.to_string_lossy().into_owned())
}

fn own_binary() -> Result<PathBuf> {
    std::env::current_exe().context("the path of this binary")
}

/// The last lines of a log file, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
