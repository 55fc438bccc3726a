//! One task for each probe of each running container: waits, checks, counts, and tells the pod's worker when a
//! threshold is reached.
//!
//! Until a container is ready for the first time, network checks are also made between the periods, soon after its start and
//! then ever less often: a success there counts, a failure does not. So a pod is ready when it is, not a period later.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc;

use super::check::{self, Outcome, port_of};
use super::context::Context;
use super::state::{Event, ProbeKind};
use super::worker::Input;

/// First delay between early checks, in milliseconds; doubled up to the probe's period.
const EARLY_MS: u64 = 60;

pub struct Subject {
    pub context: Arc<Context>,
    pub pod: Arc<Pod>,
    pub container: Container,
    pub id: String,
    pub started_at: Timestamp,
    pub pod_ip: String,
    pub kind: ProbeKind,
    pub probe: Probe,
    /// The container was ready before (a restart of the kubelet): say nothing until that changes.
    pub healthy: bool,
}

pub async fn run(subject: Subject, tx: mpsc::Sender<Input>) {
    let probe = &subject.probe;
    let positive = |v: Option<i32>, default: u64| v.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default);
    let period = Duration::from_secs(positive(probe.period_seconds, 10));
    let timeout = Duration::from_secs(positive(probe.timeout_seconds, 1));
    let (success, failure) = (positive(probe.success_threshold, 1), positive(probe.failure_threshold, 3));
    let initial = Duration::from_secs(positive(probe.initial_delay_seconds, 0));
    let age = Timestamp::now().duration_since(subject.started_at);
    tokio::time::sleep(initial.saturating_sub(Duration::try_from(age).unwrap_or_default())).await;

    let mut told: Option<bool> = subject.healthy.then_some(true);
    let (mut streak_good, mut streak) = (false, 0);
    let mut early = Duration::from_millis(EARLY_MS);
    let is_early_kind = subject.kind != ProbeKind::Liveness && probe.exec.is_none() && told.is_none();
    let mut next_counted = tokio::time::Instant::now();
    loop {
        let counted = tokio::time::Instant::now() >= next_counted;
        if counted {
            next_counted += period;
        }
        let outcome = check_once(&subject, timeout).await;
        let good = matches!(outcome, Outcome::Healthy | Outcome::Warning(_));
        if counted || good {
            report(&subject, &outcome);
            streak = if streak_good == good { streak + 1 } else { 1 };
            streak_good = good;
            let reached = streak >= if good { success } else { failure };
            // Not ready is what a container starts as.
            let news = told != Some(good) && !(told.is_none() && !good && subject.kind == ProbeKind::Readiness);
            if reached && news {
                told = Some(good);
                if !tell(&subject, good, &tx).await || subject.kind == ProbeKind::Startup || (!good && subject.kind == ProbeKind::Liveness) {
                    return;
                }
            }
        }
        let pause = next_counted.saturating_duration_since(tokio::time::Instant::now());
        if is_early_kind && told.is_none() && early < pause {
            tokio::time::sleep(early).await;
            early = (early * 2).min(period);
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

async fn tell(subject: &Subject, healthy: bool, tx: &mpsc::Sender<Input>) -> bool {
    let event = Event::Probed { name: subject.container.name.clone(), id: subject.id.clone(), kind: subject.kind, healthy };
    tx.send(Input::Event(event)).await.is_ok()
}

fn report(subject: &Subject, outcome: &Outcome) {
    let word = match subject.kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    };
    let (reason, message) = match outcome {
        Outcome::Healthy => return,
        Outcome::Warning(text) => ("ProbeWarning", format!("{word} probe warning: {text}")),
        Outcome::Failed(text) => ("Unhealthy", format!("{word} probe failed: {text}")),
        Outcome::Error(text) => ("Unhealthy", format!("{word} probe errored and resulted in unknown state: {text}")),
    };
    subject.context.recorder.pod(&subject.pod, Some(&subject.container.name), true, reason, message);
}

async fn check_once(s: &Subject, timeout: Duration) -> Outcome {
    let probe = &s.probe;
    if let Some(exec) = &probe.exec {
        return check::exec(&s.context.cri, &s.id, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        return check::http(get, &s.container, &s.pod_ip, "kube-probe/1.36", timeout).await;
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(&s.pod_ip);
        return match port_of(&socket.port, &s.container) {
            Ok(port) => check::tcp(host, port, timeout).await,
            Err(e) => Outcome::Error(e),
        };
    }
    if let Some(grpc) = &probe.grpc {
        let port = u16::try_from(grpc.port).unwrap_or(0);
        return check::grpc(&s.pod_ip, port, grpc.service.as_deref().unwrap_or(""), timeout).await;
    }
    Outcome::Error(format!("missing probe handler for {}", s.container.name))
}
