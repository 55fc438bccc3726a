//! `postStart` and `preStop`: run once, by command, HTTP request or sleep.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::check::{self, Outcome};
use super::cri::Cri;

/// What a hook without a limit of its own may take: as long as the longest image pull.
const HOOK_SECONDS: u64 = 1800;

pub async fn run(
    cri: &Cri,
    handler: &LifecycleHandler,
    container: &Container,
    id: &str,
    pod_ip: &str,
    limit: Option<Duration>,
) -> Result<(), String> {
    let limit = limit.unwrap_or(Duration::from_secs(HOOK_SECONDS));
    let outcome = if let Some(exec) = &handler.exec {
        check::exec(cri, id, exec.command.clone().unwrap_or_default(), limit).await
    } else if let Some(get) = &handler.http_get {
        match check::http(get, container, pod_ip, "kube-lifecycle/1.36", limit).await {
            // A server that answers plain HTTP on an HTTPS port is asked again without TLS.
            Outcome::Failed(_) if get.scheme.as_deref() == Some("HTTPS") => {
                let mut plain = get.clone();
                plain.scheme = Some("HTTP".into());
                check::http(&plain, container, pod_ip, "kube-lifecycle/1.36", limit).await
            }
            other => other,
        }
    } else if let Some(sleep) = &handler.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(limit)).await;
        Outcome::Healthy
    } else {
        return Err("invalid handler".into());
    };
    match outcome {
        Outcome::Healthy | Outcome::Warning(_) => Ok(()),
        Outcome::Failed(message) | Outcome::Error(message) => Err(message),
    }
}
