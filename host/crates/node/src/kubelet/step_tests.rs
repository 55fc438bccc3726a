//! Lives of pods, told as events, with the actions and the phase that follow each.

use std::fmt::Write;
use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::super::status::{self, HostFacts};
use super::*;

struct Life {
    state: PodState,
    second: i64,
    story: String,
}

impl Life {
    fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec});
        Self { state: PodState::new(Arc::new(serde_json::from_value::<Pod>(pod).unwrap()), at(0)), second: 0, story: String::new() }
    }
    fn then(mut self, seconds: i64, event: Event) -> Self {
        self.second += seconds;
        let name = format!("{event:?}").split([' ', '(', '{']).next().unwrap_or("").to_owned();
        let (state, actions) = step(self.state, event, at(self.second));
        self.state = state;
        let seen = status::of(&self.state, &PodStatus::default(), &HostFacts::default(), at(self.second));
        let containers = seen.init_container_statuses.iter().chain(&seen.container_statuses).flatten();
        let shown: Vec<String> = containers
            .map(|c| {
                let s = c.state.clone().unwrap_or_default();
                let word = match (s.running, s.terminated, s.waiting) {
                    (Some(_), _, _) => {
                        if c.ready {
                            "ready".into()
                        } else {
                            "running".into()
                        }
                    }
                    (_, Some(t), _) => format!("exit {}", t.exit_code),
                    (_, _, Some(w)) => w.reason.unwrap_or_default(),
                    _ => "?".into(),
                };
                format!("{}#{}={word}", c.name, c.restart_count)
            })
            .collect();
        writeln!(self.story, "{} s {name}: {} [{}]", self.second, seen.phase.unwrap_or_default(), shown.join(" ")).unwrap();
        for action in actions {
            writeln!(self.story, "    {action:?}").unwrap();
        }
        self
    }
    fn up(self) -> Self {
        self.then(0, Event::Timer)
            .then(0, Event::VolumesMounted(Ok(())))
            .then(0, Event::SandboxStarted(Ok(SandboxUp { id: "s".into(), ips: vec!["10.0.0.2".into()] })))
    }
    fn started(self, name: &str, id: &str) -> Self {
        let at = at(self.second);
        let up = Started { id: id.into(), image_id: "i".into(), started_at: at, hook_pending: false };
        self.then(0, Event::ContainerStarted { name: name.into(), result: Ok(up) })
    }
    fn exited(self, seconds: i64, name: &str, id: &str, exit_code: i32) -> Self {
        let when = at(self.second + seconds);
        let exit = Terminated { id: id.into(), exit_code, reason: "Error".into(), message: String::new(), started_at: when, finished_at: when };
        self.then(seconds, Event::ContainerExited { name: name.into(), exit })
    }
    fn deleted(self, seconds: i64, grace: i64) -> Self {
        let mut pod = (*self.state.pod).clone();
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(self.second + seconds + grace)));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.then(seconds, Event::Pod(Arc::new(pod)))
    }
    fn tells(self, expected: Expect) {
        expected.assert_eq(&self.story);
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn init_containers_run_before_and_sidecars_beside() {
    Life::new(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}]}))
    .up()
    .started("i", "i0")
    .exited(1, "i", "i0", 0)
    .started("side", "s0")
    .started("a", "a0")
    .exited(5, "a", "a0", 0)
    .exited(1, "side", "s0", 143)
    .then(0, Event::SandboxStopped(Ok(())))
    .then(0, Event::Released(Ok(())))
    .tells(expect![[r#"
        0 s Timer: Pending [i#0=PodInitializing side#0=PodInitializing a#0=PodInitializing]
            MountVolumes
            StartSandbox { attempt: 0 }
        0 s VolumesMounted: Pending [i#0=PodInitializing side#0=PodInitializing a#0=PodInitializing]
        0 s SandboxStarted: Pending [i#0=PodInitializing side#0=PodInitializing a#0=PodInitializing]
            StartContainer { name: "i", attempt: 0 }
        0 s ContainerStarted: Pending [i#0=running side#0=PodInitializing a#0=PodInitializing]
        1 s ContainerExited: Pending [i#0=exit 0 side#0=PodInitializing a#0=PodInitializing]
            StartContainer { name: "side", attempt: 0 }
        1 s ContainerStarted: Pending [i#0=exit 0 side#0=ready a#0=PodInitializing]
            StartContainer { name: "a", attempt: 0 }
        1 s ContainerStarted: Running [i#0=exit 0 side#0=ready a#0=ready]
        6 s ContainerExited: Running [i#0=exit 0 side#0=ready a#0=exit 0]
            Kill { name: "side", id: "s0", grace_seconds: 30, pre_stop: true, message: "Stopping container side" }
        7 s ContainerExited: Succeeded [i#0=exit 0 side#0=exit 143 a#0=exit 0]
            StopSandbox { id: "s" }
        7 s SandboxStopped: Succeeded [i#0=exit 0 side#0=exit 143 a#0=exit 0]
            Release
        7 s Released: Succeeded [i#0=exit 0 side#0=exit 143 a#0=exit 0]
    "#]]);
}

#[test]
fn crashes_wait_ever_longer() {
    Life::new(json!({"containers": [{"name": "a"}]}))
        .up()
        .started("a", "a0")
        .exited(1, "a", "a0", 1)
        .started("a", "a1")
        .exited(1, "a", "a1", 1)
        .then(9, Event::Timer)
        .then(1, Event::Timer)
        .started("a", "a2")
        .exited(0, "a", "a2", 1)
        .then(20, Event::Timer)
        .tells(expect![[r#"
            0 s Timer: Pending [a#0=ContainerCreating]
                MountVolumes
                StartSandbox { attempt: 0 }
            0 s VolumesMounted: Pending [a#0=ContainerCreating]
            0 s SandboxStarted: Pending [a#0=ContainerCreating]
                StartContainer { name: "a", attempt: 0 }
            0 s ContainerStarted: Running [a#0=ready]
            1 s ContainerExited: Running [a#0=exit 1]
                StartContainer { name: "a", attempt: 1 }
            1 s ContainerStarted: Running [a#1=ready]
            2 s ContainerExited: Running [a#1=CrashLoopBackOff]
                Tell { warning: true, reason: "BackOff", message: "Back-off restarting failed container a in pod p_n(u)", container: Some("a") }
            11 s Timer: Running [a#1=CrashLoopBackOff]
            12 s Timer: Running [a#1=exit 1]
                StartContainer { name: "a", attempt: 2 }
            12 s ContainerStarted: Running [a#2=ready]
            12 s ContainerExited: Running [a#2=CrashLoopBackOff]
                Forget { id: "a0" }
                Tell { warning: true, reason: "BackOff", message: "Back-off restarting failed container a in pod p_n(u)", container: Some("a") }
            32 s Timer: Running [a#2=exit 1]
                StartContainer { name: "a", attempt: 3 }
        "#]]);
}

#[test]
fn deletion_stops_then_removes_then_deletes() {
    Life::new(json!({"containers": [{"name": "a"}, {"name": "b"}]}))
        .up()
        .started("a", "a0")
        .deleted(1, 30)
        .started("b", "b0")
        .deleted(1, 0)
        .exited(1, "a", "a0", 0)
        .exited(0, "b", "b0", 137)
        .then(0, Event::SandboxStopped(Ok(())))
        .then(0, Event::TornDown(Err("busy".into())))
        .then(1, Event::Timer)
        .then(0, Event::TornDown(Ok(())))
        .then(0, Event::ObjectDeleted(Ok(())))
        .then(0, Event::Gone)
        .tells(expect![[r#"
            0 s Timer: Pending [a#0=ContainerCreating b#0=ContainerCreating]
                MountVolumes
                StartSandbox { attempt: 0 }
            0 s VolumesMounted: Pending [a#0=ContainerCreating b#0=ContainerCreating]
            0 s SandboxStarted: Pending [a#0=ContainerCreating b#0=ContainerCreating]
                StartContainer { name: "a", attempt: 0 }
            0 s ContainerStarted: Pending [a#0=ready b#0=ContainerCreating]
                StartContainer { name: "b", attempt: 0 }
            1 s Pod: Pending [a#0=ready b#0=ContainerCreating]
                CancelStarts
                Kill { name: "a", id: "a0", grace_seconds: 30, pre_stop: true, message: "Stopping container a" }
            1 s ContainerStarted: Running [a#0=ready b#0=ready]
                Kill { name: "b", id: "b0", grace_seconds: 30, pre_stop: true, message: "Stopping container b" }
            2 s Pod: Running [a#0=ready b#0=ready]
                Kill { name: "a", id: "a0", grace_seconds: 0, pre_stop: false, message: "Stopping container a" }
                Kill { name: "b", id: "b0", grace_seconds: 0, pre_stop: false, message: "Stopping container b" }
            3 s ContainerExited: Running [a#0=exit 0 b#0=ready]
            3 s ContainerExited: Failed [a#0=exit 0 b#0=exit 137]
                StopSandbox { id: "s" }
            3 s SandboxStopped: Failed [a#0=exit 0 b#0=exit 137]
                TearDown
            3 s TornDown: Failed [a#0=exit 0 b#0=exit 137]
            4 s Timer: Failed [a#0=exit 0 b#0=exit 137]
                TearDown
            4 s TornDown: Failed [a#0=exit 0 b#0=exit 137]
                DeleteObject
            4 s ObjectDeleted: Failed [a#0=exit 0 b#0=exit 137]
            4 s Gone: Failed [a#0=exit 0 b#0=exit 137]
                Finish
        "#]]);
}

#[test]
fn a_failed_probe_restarts_and_a_deadline_ends() {
    Life::new(json!({"activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 1}}, "readinessProbe": {"tcpSocket": {"port": 1}}}]}))
    .up()
    .started("a", "a0")
    .then(1, Event::Probed { name: "a".into(), id: "a0".into(), kind: ProbeKind::Readiness, healthy: true })
    .then(1, Event::Probed { name: "a".into(), id: "a0".into(), kind: ProbeKind::Liveness, healthy: false })
    .exited(2, "a", "a0", 137)
    .started("a", "a1")
    .then(60, Event::Timer)
    .exited(1, "a", "a1", 137)
    .tells(expect![[r#"
        0 s Timer: Pending [a#0=ContainerCreating]
            MountVolumes
            StartSandbox { attempt: 0 }
        0 s VolumesMounted: Pending [a#0=ContainerCreating]
        0 s SandboxStarted: Pending [a#0=ContainerCreating]
            StartContainer { name: "a", attempt: 0 }
        0 s ContainerStarted: Running [a#0=running]
        1 s Probed: Running [a#0=ready]
        2 s Probed: Running [a#0=ready]
            Kill { name: "a", id: "a0", grace_seconds: 5, pre_stop: true, message: "Container a failed liveness probe, will be restarted" }
        4 s ContainerExited: Running [a#0=exit 137]
            StartContainer { name: "a", attempt: 1 }
        4 s ContainerStarted: Running [a#1=running]
        64 s Timer: Running [a#1=running]
            Tell { warning: false, reason: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline", container: None }
            Kill { name: "a", id: "a1", grace_seconds: 5, pre_stop: true, message: "Stopping container a" }
        65 s ContainerExited: Failed [a#1=exit 137]
            StopSandbox { id: "s" }
    "#]]);
}

#[test]
fn an_image_that_is_not_there_backs_off() {
    let missing = || StartFailure { reason: "ErrImagePull", message: "no such image".into(), exit: None };
    Life::new(json!({"containers": [{"name": "a", "image": "x"}]}))
        .up()
        .then(0, Event::ContainerStarted { name: "a".into(), result: Err(missing()) })
        .then(1, Event::Timer)
        .then(9, Event::Timer)
        .then(0, Event::ContainerStarted { name: "a".into(), result: Err(missing()) })
        .then(19, Event::Timer)
        .then(1, Event::Timer)
        .tells(expect![[r#"
            0 s Timer: Pending [a#0=ContainerCreating]
                MountVolumes
                StartSandbox { attempt: 0 }
            0 s VolumesMounted: Pending [a#0=ContainerCreating]
            0 s SandboxStarted: Pending [a#0=ContainerCreating]
                StartContainer { name: "a", attempt: 0 }
            0 s ContainerStarted: Pending [a#0=ErrImagePull]
            1 s Timer: Pending [a#0=ImagePullBackOff]
                Tell { warning: false, reason: "BackOff", message: "Back-off pulling image \"x\"", container: Some("a") }
            10 s Timer: Pending [a#0=ContainerCreating]
                StartContainer { name: "a", attempt: 0 }
            10 s ContainerStarted: Pending [a#0=ErrImagePull]
            29 s Timer: Pending [a#0=ImagePullBackOff]
                Tell { warning: false, reason: "BackOff", message: "Back-off pulling image \"x\"", container: Some("a") }
            30 s Timer: Pending [a#0=ContainerCreating]
                StartContainer { name: "a", attempt: 0 }
        "#]]);
}

#[test]
fn a_lost_sandbox_is_made_again() {
    Life::new(json!({"containers": [{"name": "a"}]}))
        .up()
        .started("a", "a0")
        .then(5, Event::SandboxDied { id: "s".into() })
        .exited(0, "a", "a0", 137)
        .then(0, Event::SandboxStarted(Ok(SandboxUp { id: "t".into(), ips: vec!["10.0.0.3".into()] })))
        .tells(expect![[r#"
            0 s Timer: Pending [a#0=ContainerCreating]
                MountVolumes
                StartSandbox { attempt: 0 }
            0 s VolumesMounted: Pending [a#0=ContainerCreating]
            0 s SandboxStarted: Pending [a#0=ContainerCreating]
                StartContainer { name: "a", attempt: 0 }
            0 s ContainerStarted: Running [a#0=ready]
            5 s SandboxDied: Running [a#0=ready]
                Tell { warning: false, reason: "SandboxChanged", message: "Pod sandbox changed, it will be killed and re-created.", container: None }
                Kill { name: "a", id: "a0", grace_seconds: 0, pre_stop: false, message: "Stopping container a" }
            5 s ContainerExited: Running [a#0=exit 137]
                StartSandbox { attempt: 1 }
            5 s SandboxStarted: Running [a#0=exit 137]
                StartContainer { name: "a", attempt: 1 }
        "#]]);
}
