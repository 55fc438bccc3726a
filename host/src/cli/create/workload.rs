//! Deployments, Jobs and CronJobs from a few words.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{labelled, plain};
use crate::cli::session::Session;

#[derive(clap::Args, Debug)]
pub struct Deployment {
    name: String,
    /// One container for each image
    #[arg(long, required = true, value_delimiter = ',')]
    image: Vec<String>,
    #[arg(short, long, default_value_t = 1)]
    replicas: u32,
    /// The port that the container listens on
    #[arg(long)]
    port: Option<u16>,
    /// The container's command
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub struct Job {
    name: String,
    #[arg(long)]
    image: Option<String>,
    /// Copy the template of a CronJob: cronjob/NAME
    #[arg(long)]
    from: Option<String>,
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub struct CronJob {
    name: String,
    #[arg(long)]
    image: String,
    #[arg(long)]
    schedule: String,
    #[arg(long, default_value = "OnFailure")]
    restart: String,
    #[arg(last = true)]
    command: Vec<String>,
}

impl Deployment {
    pub fn object(&self) -> Result<Value> {
        if self.image.len() > 1 && !self.command.is_empty() {
            bail!("cannot specify multiple --image options and command");
        }
        let labels = json!({"app": self.name});
        let containers: Vec<Value> = self.image.iter().map(|image| self.container(image)).collect();
        let mut object = labelled(plain("apps/v1", "Deployment", &self.name), "app", &self.name);
        object["spec"] = json!({
            "replicas": self.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        });
        Ok(object)
    }

    fn container(&self, image: &str) -> Value {
        let mut container = container(&container_name(image), image, &self.command);
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        container
    }
}

impl Job {
    pub async fn object(&self, session: &Session) -> Result<Value> {
        let mut object = plain("batch/v1", "Job", &self.name);
        match (&self.image, &self.from) {
            (Some(image), None) => object["spec"] = job_spec(&self.name, image, &self.command, "Never"),
            (None, Some(from)) => {
                let name = from.split_once('/').map_or(from.as_str(), |(_, name)| name);
                let def = session.discovery().await?.find("cronjobs.batch")?;
                let cron = session.get_object(def, Some(&session.namespace), name).await?;
                let template = &cron["spec"]["jobTemplate"];
                object["spec"] = template["spec"].clone();
                for part in ["labels", "annotations"] {
                    if !template["metadata"][part].is_null() {
                        object["metadata"][part] = template["metadata"][part].clone();
                    }
                }
                object["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] = "manual".into();
                object["metadata"]["ownerReferences"] =
                    json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron["metadata"]["uid"], "controller": true}]);
            }
            _ => bail!("either --image or --from must be specified"),
        }
        Ok(object)
    }
}

impl CronJob {
    pub fn object(&self) -> Value {
        let mut object = plain("batch/v1", "CronJob", &self.name);
        object["spec"] = json!({
            "schedule": self.schedule,
            "jobTemplate": {"metadata": {"name": self.name}, "spec": job_spec(&self.name, &self.image, &self.command, &self.restart)},
        });
        object
    }
}

fn job_spec(name: &str, image: &str, command: &[String], restart: &str) -> Value {
    json!({"template": {"spec": {"containers": [container(name, image, command)], "restartPolicy": restart}}})
}

fn container(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    container
}

/// `registry/team/web:v1` is `web`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split([':', '@']).next().unwrap_or(last);
    let cleaned: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    cleaned.trim_matches('-').to_owned()
}
