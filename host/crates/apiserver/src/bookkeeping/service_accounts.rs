//! What every namespace has for its pods (the account `default`, the ConfigMap `kube-root-ca.crt`), and the tokens that live
//! in Secrets.
//!
//! A Secret of type `kubernetes.io/service-account-token` is filled in for its account, and deleted when the account is gone.

use pintle_api::client::{DeleteOptions, ListOptions, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use serde_json::json;

use super::Context;
use super::bootstrap::encode;
use super::follow::{Change, Interest, follow};
use super::meta::Meta;
use super::queue::{Outcome, Queue};
use crate::auth::tokens::Reference;

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");
const ROOT_CA: &str = "kube-root-ca.crt";
const TOKEN_TYPE: &str = "type=kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const WORKERS: usize = 4;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Task {
    /// Give the namespace its account and its ConfigMap.
    Furnish(String),
    /// Fill in or delete the Secret (namespace, name).
    Fill(String, String),
    /// Look at all tokens of the account (namespace, name).
    Tokens(String, String),
}

pub async fn run(context: Context) {
    let queue: Queue<Task> = Queue::default();
    let hear = |interest: Interest, tasks: fn(&Meta, bool) -> Option<Task>| {
        let queue = queue.clone();
        follow(context.client.clone(), interest, move |change| {
            let (object, gone) = match change {
                Change::Now(object) => (object, false),
                Change::Gone(object) => (object, true),
                Change::Restart | Change::Synced => return,
            };
            let Ok(meta) = Meta::read(object) else { return };
            if let Some(task) = tasks(&meta, gone) {
                queue.add(task);
            }
        })
    };
    let namespaces =
        hear(Interest::all(NAMESPACES), |meta, gone| (!gone && !meta.metadata.is_being_deleted()).then(|| Task::Furnish(meta.metadata.name.clone())));
    let accounts = hear(Interest::all(ACCOUNTS), |meta, gone| {
        let (namespace, name) = (meta.metadata.namespace.clone(), meta.metadata.name.clone());
        gone.then(|| if name == "default" { Task::Furnish(namespace) } else { Task::Tokens(namespace, name) })
    });
    let bundles =
        hear(Interest::all(CONFIG_MAPS).fields(&format!("metadata.name={ROOT_CA}")), |meta, _| Some(Task::Furnish(meta.metadata.namespace.clone())));
    let secrets = hear(Interest::all(SECRETS).fields(TOKEN_TYPE), |meta, gone| {
        (!gone).then(|| Task::Fill(meta.metadata.namespace.clone(), meta.metadata.name.clone()))
    });
    let working = queue.run(WORKERS, |task| {
        let context = &context;
        async move {
            match work(context, task).await {
                Ok(()) => Outcome::Done,
                // The namespace ends, or somebody else was quicker.
                Err(status) if status.is(Reason::NotFound) || status.is(Reason::Forbidden) => Outcome::Done,
                Err(_) => Outcome::Retry,
            }
        }
    });
    tokio::join!(namespaces, accounts, bundles, secrets, working);
}

async fn work(context: &Context, task: Task) -> Result<(), Status> {
    match task {
        Task::Furnish(namespace) => furnish(context, &namespace).await,
        Task::Fill(namespace, name) => fill(context, &namespace, &name).await,
        Task::Tokens(namespace, account) => {
            if account == "default" {
                furnish(context, &namespace).await?;
            }
            review_tokens(context, &namespace, &account).await
        }
    }
}

async fn furnish(context: &Context, namespace: &str) -> Result<(), Status> {
    let live = Meta::read(&context.client.get(&Target::object(NAMESPACES, None, namespace)).await?)?;
    if live.metadata.is_being_deleted() {
        return Ok(());
    }
    if let Err(status) = context.client.get(&Target::object(ACCOUNTS, Some(namespace), "default")).await {
        if !status.is(Reason::NotFound) {
            return Err(status);
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
        create(context, ACCOUNTS, namespace, account).await?;
        review_tokens(context, namespace, "default").await?;
    }
    let data = json!({"ca.crt": context.auth.pki.ca_pem()});
    let target = Target::object(CONFIG_MAPS, Some(namespace), ROOT_CA);
    match context.client.get(&target).await {
        Ok(served) => {
            let mut bundle = served.parse()?;
            if bundle.is_being_deleted() || (bundle.at(&["data"]) == Some(&data) && bundle.at(&["binaryData"]).is_none()) {
                return Ok(());
            }
            bundle.set_at(&["data"], data);
            bundle.remove_at(&["binaryData"]);
            context.client.update(&target, bundle, &WriteOptions::default()).await.map(|_| ())
        }
        Err(status) if status.is(Reason::NotFound) => {
            let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
                         service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
            let bundle = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": {"name": ROOT_CA, "namespace": namespace, "annotations": {"kubernetes.io/description": about}},
            });
            create(context, CONFIG_MAPS, namespace, bundle).await
        }
        Err(status) => Err(status),
    }
}

async fn create(context: &Context, resource: GroupVersionResource, namespace: &str, object: Object) -> Result<(), Status> {
    match context.client.create(&Target::collection(resource, Some(namespace)), object, &WriteOptions::default()).await {
        Err(status) if !status.is(Reason::AlreadyExists) => Err(status),
        _ => Ok(()),
    }
}

/// Writes the token into the Secret, or deletes the Secret of an account that is gone.
async fn fill(context: &Context, namespace: &str, name: &str) -> Result<(), Status> {
    let target = Target::object(SECRETS, Some(namespace), name);
    let mut secret = context.client.get(&target).await?.parse()?;
    let Some(account_name) = secret.annotation(ACCOUNT_NAME).map(str::to_owned) else { return Ok(()) };
    if secret.is_being_deleted() {
        return Ok(());
    }
    let account = match context.client.get(&Target::object(ACCOUNTS, Some(namespace), &account_name)).await {
        Ok(served) => Some(served.parse()?),
        Err(status) if status.is(Reason::NotFound) => None,
        Err(status) => return Err(status),
    };
    let wanted_uid = secret.annotation(ACCOUNT_UID).unwrap_or_default();
    let Some(account) = account.filter(|a| wanted_uid.is_empty() || wanted_uid == a.uid()) else {
        let options = DeleteOptions { uid: Some(secret.uid().to_owned()), ..DeleteOptions::default() };
        return context.client.delete(&target, &options).await.map(|_| ());
    };
    let before = secret.clone();
    let (ca, in_namespace) = (encode(context.auth.pki.ca_pem()), encode(namespace));
    secret.set_at(&["metadata", "annotations", ACCOUNT_UID], json!(account.uid()));
    secret.set_at(&["data", "ca.crt"], json!(ca));
    if secret.str_at(&["data", "namespace"]).is_empty() {
        secret.set_at(&["data", "namespace"], json!(in_namespace));
    }
    if secret.str_at(&["data", "token"]).is_empty() {
        let reference = Reference { name: account_name, uid: account.uid().to_owned() };
        let token = context.auth.tokens.issue_legacy(namespace, &reference, name).map_err(Status::internal)?;
        secret.set_at(&["data", "token"], json!(encode(token)));
    }
    if secret == before {
        return Ok(());
    }
    context.client.update(&target, secret, &WriteOptions::default()).await.map(|_| ())
}

async fn review_tokens(context: &Context, namespace: &str, account: &str) -> Result<(), Status> {
    let options = ListOptions { field_selector: TOKEN_TYPE.to_owned(), ..ListOptions::default() };
    for served in context.client.list(&Target::collection(SECRETS, Some(namespace)), &options).await?.items {
        let secret = served.parse()?;
        if secret.annotation(ACCOUNT_NAME) == Some(account) {
            fill(context, namespace, secret.name()).await?;
        }
    }
    Ok(())
}
