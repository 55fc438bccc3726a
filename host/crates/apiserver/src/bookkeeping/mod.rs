//! The control loops that are mechanics and not policy: what a cluster starts with, garbage collection, namespaces that
//! end, service accounts, signing of certificates, aggregated roles, use of quotas, claims of ephemeral volumes, type checks of policies.
//!
//! They act through a [`Client`] like everyone else, as superusers. The server calls [`bootstrap`] before it is ready and
//! [`start`] once; dropping [`Bookkeeping`] ends the loops. Of several servers one runs them, see [`leader`]. Nothing here decides
//! where a pod runs or how many there are.

pub mod bootstrap;
pub mod certificates;
mod ephemeral_claims;
mod follow;
mod garbage;
pub mod leader;
mod meta;
mod namespaces;
mod node_ipam;
mod policy_types;
mod queue;
mod quota;
mod rbac;
pub mod servers;
mod service_accounts;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pintle_api::openapi::{self, Published};
use pintle_api::{Client, GroupVersion, ResourceDef, Status};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::GIT_VERSION;
use crate::LocalClient;
use crate::auth::{Auth, User};
use crate::config::Config;
use crate::handlers::Core;

/// Every resource that is served now, custom ones too.
pub type Discover = Arc<dyn Fn() -> Vec<ResourceDef> + Send + Sync>;

/// Resources that other servers serve.
pub struct Elsewhere {
    pub resources: Vec<ResourceDef>,
    /// Group versions, as `group/version`, of servers that do not say what they serve.
    pub silent: Vec<String>,
}

/// What the loops need of the server.
#[derive(Clone)]
pub struct Context {
    /// With a superuser's identity ([`crate::auth::User::loopback`]).
    pub client: Arc<dyn Client>,
    pub auth: Arc<Auth>,
    pub discover: Discover,
    pub elsewhere: Arc<dyn Fn() -> Elsewhere + Send + Sync>,
    pub schemas: policy_types::Schemas,
    /// Where clients reach this server.
    pub advertise: IpAddr,
    pub port: u16,
    /// The address of the service default/kubernetes.
    pub service: IpAddr,
    pub service_cidr: String,
    /// Other servers have the same store.
    pub shared: bool,
}

impl Context {
    /// Of a server that is starting. `external`: where clients reach it.
    pub fn new(core: &Arc<Core>, auth: &Arc<Auth>, config: &Config, external: SocketAddr) -> Self {
        let resources = core.resources.clone();
        let served = core.resources.clone();
        let (foreign, extensions) = (core.resources.clone(), core.extensions.clone());
        Self {
            client: Arc::new(LocalClient::new(core.clone(), User::loopback())),
            auth: auth.clone(),
            discover: Arc::new(move || resources.load().all.iter().map(|r| r.def().clone()).collect()),
            elsewhere: Arc::new(move || {
                // In this order: what is shown between the two was silent.
                let silent = extensions.unanswered();
                Elsewhere { resources: foreign.load().foreign.clone(), silent }
            }),
            schemas: Arc::new(move |group, version| {
                let table = served.load();
                let all: Vec<Published<'_>> = table.all.iter().map(|r| Published { def: r.def(), schema: r.strategy.openapi_schema() }).collect();
                let path = openapi::v3_document_path(&GroupVersion { group: group.to_owned().into(), version: version.to_owned().into() });
                serde_json::from_slice(&openapi::v3_json(&all, &path, GIT_VERSION)?).ok()
            }),
            advertise: external.ip(),
            port: external.port(),
            service: config.service_address(),
            service_cidr: config.service_cidr.to_string(),
            shared: core.cache.store().is_shared(),
        }
    }
}

/// The loops, running while this server leads. Dropping it ends them.
pub struct Bookkeeping {
    _task: JoinSet<()>,
}

/// Makes what every cluster has. Idempotent; returns when all of it is stored.
pub async fn bootstrap(context: &Context) -> Result<(), Status> {
    bootstrap::run(context).await
}

/// Runs the loops whenever `leads` says so; needs a tokio runtime.
pub fn start(context: Context, mut leads: watch::Receiver<bool>) -> Bookkeeping {
    let mut task = JoinSet::new();
    task.spawn(async move {
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let _loops = loops(&context);
            // Without anybody to tell otherwise it stays as it is.
            if leads.wait_for(|leads| !*leads).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    Bookkeeping { _task: task }
}

fn loops(context: &Context) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(rbac::aggregate(context.client.clone()));
    tasks.spawn(namespaces::run(context.clone()));
    tasks.spawn(node_ipam::run(context.clone()));
    tasks.spawn(service_accounts::run(context.clone()));
    tasks.spawn(certificates::run(context.clone()));
    tasks.spawn(ephemeral_claims::run(context.clone()));
    tasks.spawn(garbage::run(context.clone()));
    tasks.spawn(quota::run(context.clone()));
    tasks.spawn(policy_types::run(context.clone()));
    if context.shared {
        tasks.spawn(servers::publish(context.clone()));
    }
    tasks
}

/// A time as API objects carry it: whole seconds.
fn seconds(time: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests;
