//! Makes the claims of generic ephemeral volumes: one for each such volume of a pod, by the template in it, owned by the pod and collected with it
//! (<https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/>).
//!
//! A claim of that name that is somebody else's is left alone, and the pod waits: the scheduler and the kubelet take none but the pod's own.

use memchr::memmem;
use pintle_api::client::{Served, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use serde_json::{Value, json};

use super::Context;
use super::follow::{Change, Interest, follow};
use super::queue::{Outcome, Queue};

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const CLAIMS: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
const WORKERS: usize = 2;

pub async fn run(context: Context) {
    let queue: Queue<(String, String)> = Queue::default();
    let watching = {
        let queue = queue.clone();
        let mark = memmem::Finder::new(b"\"ephemeral\"");
        follow(context.client.clone(), Interest::all(PODS), move |change| {
            let Change::Now(served) = change else { return };
            // Few pods have such volumes: the others are not parsed.
            if mark.find(&served.json).is_some()
                && let Some(key) = wanting(served)
            {
                queue.add(key);
            }
        })
    };
    let working = queue.run(WORKERS, |(namespace, name)| {
        let context = &context;
        async move {
            match make_claims(context, &namespace, &name).await {
                Ok(()) => Outcome::Done,
                Err(status) => {
                    tracing::debug!(namespace, pod = name, error = %status, "an ephemeral volume has no claim yet");
                    Outcome::Retry
                }
            }
        }
    });
    tokio::join!(watching, working);
}

fn wanting(served: &Served) -> Option<(String, String)> {
    let pod = served.parse().ok()?;
    let wants = !pod.is_being_deleted() && templates(&pod).next().is_some();
    wants.then(|| (pod.namespace().to_owned(), pod.name().to_owned()))
}

async fn make_claims(context: &Context, namespace: &str, name: &str) -> Result<(), Status> {
    let pod = match context.client.get(&Target::object(PODS, Some(namespace), name)).await {
        Err(status) if status.is(Reason::NotFound) => return Ok(()),
        found => found?.parse()?,
    };
    if pod.is_being_deleted() {
        return Ok(());
    }
    for (volume, template) in templates(&pod) {
        let claim = claim(&pod, volume, template);
        let collection = Target::collection(CLAIMS, Some(namespace));
        match context.client.create(&collection, claim.clone(), &WriteOptions::default()).await {
            Err(status) if status.is(Reason::AlreadyExists) => must_be_of(context, &pod, claim.name()).await?,
            made => drop(made?),
        }
    }
    Ok(())
}

async fn must_be_of(context: &Context, pod: &Object, name: &str) -> Result<(), Status> {
    let claim = context.client.get(&Target::object(CLAIMS, Some(pod.namespace()), name)).await?.parse()?;
    let owns = |owner: &Value| owner.bool_at(&["controller"]) && owner.str_at(&["uid"]) == pod.uid();
    if claim.list_at(&["metadata", "ownerReferences"]).iter().any(owns) {
        return Ok(());
    }
    Err(Status::internal(format!("PVC {}/{name} was not created for pod {}/{} (pod is not owner)", pod.namespace(), pod.namespace(), pod.name())))
}

/// Names of a pod's ephemeral volumes, and the templates of their claims.
fn templates(pod: &Object) -> impl Iterator<Item = (&str, &Value)> {
    let volumes = pod.list_at(&["spec", "volumes"]).iter();
    volumes.filter_map(|volume| Some((volume.str_at(&["name"]), volume.at(&["ephemeral", "volumeClaimTemplate"])?)))
}

fn claim(pod: &Object, volume: &str, template: &Value) -> Object {
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid(), "controller": true, "blockOwnerDeletion": true});
    let mut metadata = json!({"name": format!("{}-{volume}", pod.name()), "ownerReferences": [owner]});
    for field in ["labels", "annotations"] {
        if let Some(own) = template.at(&["metadata", field]) {
            metadata[field] = own.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template.get("spec").cloned().unwrap_or(Value::Null)})
}
