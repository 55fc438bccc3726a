//! Services and Ingresses from a few words.

use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{labelled, plain};

#[derive(Subcommand, Debug)]
pub enum Service {
    Clusterip {
        name: String,
        /// PORT[:TARGET]
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<String>,
        /// An address of one's own, or None for a headless service
        #[arg(long)]
        clusterip: Option<String>,
    },
    Nodeport {
        name: String,
        #[arg(long, required = true, value_delimiter = ',')]
        tcp: Vec<String>,
        #[arg(long)]
        node_port: Option<u16>,
    },
    Loadbalancer {
        name: String,
        #[arg(long, required = true, value_delimiter = ',')]
        tcp: Vec<String>,
    },
    Externalname {
        name: String,
        #[arg(long)]
        external_name: String,
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<String>,
    },
}

#[derive(clap::Args, Debug)]
pub struct Ingress {
    name: String,
    /// HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; a path that ends with * is a prefix
    #[arg(long)]
    rule: Vec<String>,
    #[arg(long)]
    class: Option<String>,
    /// SERVICE:PORT
    #[arg(long)]
    default_backend: Option<String>,
    /// KEY=VALUE
    #[arg(long)]
    annotation: Vec<String>,
}

impl Service {
    pub fn object(&self) -> Result<Value> {
        let (name, kind, tcp) = match self {
            Self::Clusterip { name, tcp, .. } => (name, "ClusterIP", tcp),
            Self::Nodeport { name, tcp, .. } => (name, "NodePort", tcp),
            Self::Loadbalancer { name, tcp } => (name, "LoadBalancer", tcp),
            Self::Externalname { name, tcp, .. } => (name, "ExternalName", tcp),
        };
        let mut object = labelled(plain("v1", "Service", name), "app", name);
        object["spec"] = json!({"type": kind, "selector": {"app": name}});
        let mut ports = tcp.iter().map(|p| port(p)).collect::<Result<Vec<Value>>>()?;
        match self {
            Self::Clusterip { clusterip, .. } => {
                if let Some(address) = clusterip {
                    object["spec"]["clusterIP"] = address.clone().into();
                }
                if ports.is_empty() && clusterip.as_deref() != Some("None") {
                    bail!("at least one tcp port specifier must be provided");
                }
            }
            Self::Nodeport { node_port: Some(node_port), .. } => ports.iter_mut().for_each(|p| p["nodePort"] = (*node_port).into()),
            Self::Externalname { external_name, .. } => object["spec"]["externalName"] = external_name.clone().into(),
            _ => {}
        }
        if !ports.is_empty() {
            object["spec"]["ports"] = ports.into();
        }
        Ok(object)
    }
}

/// `80:8080` and `80`.
fn port(text: &str) -> Result<Value> {
    let (port, target) = text.split_once(':').unwrap_or((text, text));
    let number: u16 = port.parse().map_err(|_| anyhow!("invalid port specifier {text:?}"))?;
    let target = target.parse::<u16>().map_or_else(|_| Value::from(target), Value::from);
    Ok(json!({"name": text.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target}))
}

impl Ingress {
    pub fn object(&self) -> Result<Value> {
        if self.rule.is_empty() && self.default_backend.is_none() {
            bail!(
                "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)"
            );
        }
        let mut object = plain("networking.k8s.io/v1", "Ingress", &self.name);
        for annotation in &self.annotation {
            let (key, value) = super::pair(annotation)?;
            object["metadata"]["annotations"][key] = value.into();
        }
        if let Some(class) = &self.class {
            object["spec"]["ingressClassName"] = class.clone().into();
        }
        if let Some(service) = &self.default_backend {
            object["spec"]["defaultBackend"] = backend(service)?;
        }
        let (mut rules, mut tls) = (Vec::<Value>::new(), Vec::<Value>::new());
        for rule in &self.rule {
            let rule = Rule::parse(rule)?;
            match rules.iter_mut().find(|r| r["host"].as_str().unwrap_or("") == rule.host) {
                Some(same) => same["http"]["paths"].as_array_mut().into_iter().for_each(|paths| paths.push(rule.path.clone())),
                None if rule.host.is_empty() => rules.push(json!({"http": {"paths": [rule.path]}})),
                None => rules.push(json!({"host": rule.host, "http": {"paths": [rule.path]}})),
            }
            if let Some(secret) = rule.tls {
                let mut entry = if rule.host.is_empty() { json!({}) } else { json!({"hosts": [rule.host]}) };
                if !secret.is_empty() {
                    entry["secretName"] = secret.into();
                }
                tls.push(entry);
            }
        }
        if !rules.is_empty() {
            object["spec"]["rules"] = rules.into();
        }
        if !tls.is_empty() {
            object["spec"]["tls"] = tls.into();
        }
        Ok(object)
    }
}

struct Rule {
    host: String,
    path: Value,
    tls: Option<String>,
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        let invalid = || anyhow!("rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]");
        let (route, rest) = text.split_once('=').ok_or_else(invalid)?;
        let (service, tls) = match rest.split_once(',') {
            Some((service, tls)) => (service, Some(tls.strip_prefix("tls").ok_or_else(invalid)?.trim_start_matches('=').to_owned())),
            None => (rest, None),
        };
        let (host, path) = route.split_once('/').ok_or_else(invalid)?;
        let (path, kind) = match path.strip_suffix('*') {
            Some(prefix) => (prefix, "Prefix"),
            None => (path, "Exact"),
        };
        let path = json!({"path": format!("/{path}"), "pathType": kind, "backend": backend(service)?});
        Ok(Self { host: host.to_owned(), path, tls })
    }
}

fn backend(service: &str) -> Result<Value> {
    let Some((name, port)) = service.split_once(':') else { bail!("service {service:?} should be in format svcname:svcport") };
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    Ok(json!({"service": {"name": name, "port": port}}))
}
