//! `run`: one pod from an image, perhaps attached to this terminal. `expose`: a Service for what runs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use pintle_api::object::ObjectExt;
use serde_json::{Map, Value, json};

use super::exec::{Streams, attach_to};
use super::print;
use super::resolve::{Found, Selectors, objects};
use super::session::{Global, Session, collection_path, object_path, with_query};
use super::wait::{for_object, path_of};
use super::workloads::{pod_spec_path, selector_text};
use super::written::{self, DryRun, DryRunArgs};

const RUN_MANAGER: &str = "kubectl-run";
const EXPOSE_MANAGER: &str = "kubectl-expose";
/// Until the pod of an attached run has begun, and how often its end is looked for.
const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(clap::Args, Debug)]
pub struct RunArgs {
    pub name: String,
    #[arg(long)]
    pub image: String,
    /// KEY=VALUE environment
    #[arg(long)]
    pub env: Vec<String>,
    /// KEY=VALUE,...
    #[arg(short, long, value_delimiter = ',')]
    pub labels: Vec<String>,
    #[arg(long)]
    pub annotations: Vec<String>,
    #[arg(long)]
    pub port: Option<u16>,
    /// A Service for the port, too
    #[arg(long)]
    pub expose: bool,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always")]
    pub restart: String,
    #[arg(long)]
    pub image_pull_policy: Option<String>,
    /// The words after -- are the command, not its arguments
    #[arg(long)]
    pub command: bool,
    #[arg(short = 'i', long)]
    pub stdin: bool,
    #[arg(short, long)]
    pub tty: bool,
    #[arg(long)]
    pub attach: bool,
    /// Delete the pod afterwards
    #[arg(long)]
    pub rm: bool,
    #[arg(long)]
    pub privileged: bool,
    #[arg(short, long)]
    pub quiet: bool,
    /// A merge patch, in JSON, over the pod
    #[arg(long)]
    pub overrides: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
    #[arg(last = true)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct ExposeArgs {
    /// TYPE NAME or TYPE/NAME
    pub resources: Vec<String>,
    /// The Service's name; the object's when not given
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long)]
    pub port: Option<u16>,
    /// A number or the name of a container's port
    #[arg(long)]
    pub target_port: Option<String>,
    #[arg(long, default_value = "TCP")]
    pub protocol: String,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName
    #[arg(long = "type")]
    pub kind: Option<String>,
    #[arg(long)]
    pub cluster_ip: Option<String>,
    #[arg(long)]
    pub external_ip: Option<String>,
    /// KEY=VALUE,... instead of the object's own selector
    #[arg(long)]
    pub selector: Option<String>,
    #[arg(short, long)]
    pub labels: Option<String>,
    #[arg(long)]
    pub session_affinity: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: RunArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let attached = args.attach || args.stdin;
    if args.tty && !args.stdin {
        bail!("-i/--stdin is required for containers with -t/--tty=true");
    }
    if args.rm && !attached {
        bail!("--rm should only be used for attached containers");
    }
    if args.expose && args.port.is_none() {
        bail!("--port must be set when exposing a service");
    }
    if dry_run != DryRun::None && attached {
        bail!("--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)");
    }
    let pod = args.pod()?;
    if !attached {
        written::create_plainly(&session, pod, dry_run, RUN_MANAGER, args.output.as_deref()).await?;
    } else {
        let def = session.discovery().await?.find("pods")?;
        session.create(&with_query(&collection_path(def, Some(&session.namespace)), &[("fieldManager", RUN_MANAGER)]), &pod).await?;
    }
    if args.expose {
        written::create_plainly(&session, args.service(), dry_run, RUN_MANAGER, args.output.as_deref()).await?;
    }
    if !attached {
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = follow(&session, &args).await;
    if args.rm {
        let def = session.discovery().await?.find("pods")?;
        session
            .delete(&path_of(&session, def, &args.name), &json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}))
            .await?;
        if !args.quiet {
            print::line(&format!("pod {:?} deleted from {} namespace", args.name, session.namespace));
        }
    }
    outcome
}

/// Attaches once the pod runs; a pod that was faster has its log shown.
async fn follow(session: &Session, args: &RunArgs) -> Result<ExitCode> {
    let def = session.discovery().await?.find("pods")?;
    let begun = |pod: &Value| Ok(!matches!(pod.str_at(&["status", "phase"]), "Pending" | ""));
    let pod = for_object(session, def, &args.name, START_LIMIT, begun).await?;
    if pod["status"]["phase"] == "Running" {
        let streams = Streams { stdin: args.stdin, tty: args.tty };
        if let Err(error) = attach_to(session, &pod, None, streams, args.quiet).await {
            eprintln!("warning: couldn't attach to pod/{}, falling back to streaming logs: {error:#}", args.name);
            show_log(session, &args.name).await?;
        }
    } else {
        show_log(session, &args.name).await?;
    }
    if args.restart != "Never" {
        return Ok(ExitCode::SUCCESS);
    }
    let over = |pod: &Value| Ok(matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed"));
    let pod = for_object(session, def, &args.name, START_LIMIT, over).await?;
    let ended = pod.list_at(&["status", "containerStatuses"]).first().and_then(|s| s.i64_at(&["state", "terminated", "exitCode"]));
    Ok(ExitCode::from(u8::try_from(ended.unwrap_or(0)).unwrap_or(1)))
}

async fn show_log(session: &Session, name: &str) -> Result<()> {
    let def = session.discovery().await?.find("pods")?;
    print::text(&session.get_text(&object_path(def, Some(&session.namespace), name, "log")).await?);
    Ok(())
}

impl RunArgs {
    fn pod(&self) -> Result<Value> {
        let mut container = json!({"name": self.name, "image": self.image, "resources": {}});
        if !self.words.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.words);
        }
        let env = self.env.iter().map(|e| super::create::pair(e)).collect::<Result<Vec<_>>>()?;
        if !env.is_empty() {
            container["env"] = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = policy.clone().into();
        }
        if self.privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        if self.attach || self.stdin {
            container["stdin"] = self.stdin.into();
            container["stdinOnce"] = self.stdin.into();
            container["tty"] = self.tty.into();
        }
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "labels": self.labels()?},
            "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": self.restart},
        });
        for annotation in &self.annotations {
            let (key, value) = super::create::pair(annotation)?;
            pod["metadata"]["annotations"][key] = value.into();
        }
        match &self.overrides {
            Some(patch) => {
                let patch = serde_json::from_str(patch).map_err(|e| anyhow!("invalid --overrides: {e}"))?;
                Ok(pintle_api::patch::merge::apply(pod, patch)?)
            }
            None => Ok(pod),
        }
    }

    fn labels(&self) -> Result<Value> {
        if self.labels.is_empty() {
            return Ok(json!({"run": self.name}));
        }
        let pairs = self.labels.iter().map(|l| super::create::pair(l)).collect::<Result<Vec<_>>>()?;
        Ok(Value::Object(pairs.into_iter().map(|(k, v)| (k, v.into())).collect()))
    }

    fn service(&self) -> Value {
        let port = self.port.unwrap_or_default();
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name},
            "spec": {"selector": self.labels().unwrap_or_default(), "ports": [{"port": port, "protocol": "TCP", "targetPort": port}]},
        })
    }
}

pub async fn expose(args: ExposeArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    for target in objects(&session, &args.resources, &Selectors::default(), false).await? {
        let service = args.service(&target)?;
        let def = session.discovery().await?.find("services")?.clone();
        let path = with_query(&collection_path(&def, target.namespace()), &[("fieldManager", EXPOSE_MANAGER), ("dryRun", dry_run.query())]);
        let object = if dry_run == DryRun::Client { service } else { session.create(&path, &service).await? };
        written::show(&def, object, "exposed", dry_run, args.output.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ExposeArgs {
    fn service(&self, target: &Found) -> Result<Value> {
        let selector = match &self.selector {
            Some(selector) => plain_selector(selector)?,
            None if target.object.kind() == "Pod" => {
                let labels = target.object.map_at(&["metadata", "labels"]).cloned().unwrap_or_default();
                if labels.is_empty() {
                    bail!("couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed");
                }
                labels
            }
            None => plain_selector(
                &selector_text(&target.object).map_err(|e| anyhow!("couldn't retrieve selectors via --selector flag or introspection: {e}"))?,
            )?,
        };
        let mut ports = self.ports(target)?;
        if ports.len() > 1 {
            ports.iter_mut().enumerate().for_each(|(at, port)| port["name"] = format!("port-{}", at + 1).into());
        }
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name.as_deref().unwrap_or(target.name())},
            "spec": {"ports": ports, "selector": selector},
        });
        match &self.labels {
            Some(labels) => service["metadata"]["labels"] = plain_selector(labels)?.into(),
            None => {
                if let Some(labels) = target.object.map_at(&["metadata", "labels"]) {
                    service["metadata"]["labels"] = labels.clone().into();
                }
            }
        }
        let optional = [("type", &self.kind), ("clusterIP", &self.cluster_ip), ("sessionAffinity", &self.session_affinity)];
        for (field, value) in optional {
            if let Some(value) = value {
                service["spec"][field] = value.clone().into();
            }
        }
        if let Some(address) = &self.external_ip {
            service["spec"]["externalIPs"] = json!([address]);
        }
        Ok(service)
    }

    fn ports(&self, target: &Found) -> Result<Vec<Value>> {
        let number_or_name = |text: &String| text.parse::<u16>().map_or_else(|_| Value::from(text.clone()), Value::from);
        if let Some(port) = self.port {
            let to = self.target_port.as_ref().map_or(Value::from(port), number_or_name);
            return Ok(vec![json!({"port": port, "protocol": self.protocol, "targetPort": to})]);
        }
        let found: Vec<Value> = if target.object.kind() == "Service" {
            target
                .object
                .list_at(&["spec", "ports"])
                .iter()
                .map(|p| json!({"port": p["port"], "protocol": p["protocol"], "targetPort": p["port"]}))
                .collect()
        } else {
            let spec = pod_spec_path(target.object.kind()).and_then(|path| target.object.at(path));
            let ports = spec.into_iter().flat_map(|s| s.list_at(&["containers"])).flat_map(|c| c.list_at(&["ports"]));
            ports.map(|p| json!({"port": p["containerPort"], "protocol": p["protocol"], "targetPort": self.target_port.as_ref().map_or(p["containerPort"].clone(), number_or_name)})).collect()
        };
        if found.is_empty() {
            bail!("couldn't find port via --port flag or introspection");
        }
        Ok(found)
    }
}

/// `a=b,c=d` as an object.
fn plain_selector(text: &str) -> Result<Map<String, Value>> {
    text.split(',').map(|term| super::create::pair(&term.replace("==", "=")).map(|(k, v)| (k, v.into()))).collect()
}
