//! From a container's spec to the runtime's configuration: command, environment, mounts, resources, security. Pure:
//! environment, mounts and the image's user are found by the caller.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_cri::v1::{
    Capability, ContainerConfig, ContainerMetadata, Image, ImageSpec, Int64Value, KeyValue, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, Mount, NamespaceMode,
};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::cri::*;
use super::env::expand;
use super::paths::log_file;
use super::resources::{CPU_PERIOD_US, limit_milli, oom_score_adj, quota_us, request_milli, shares};
use super::sandbox_config::{namespaces, seccomp};

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub attempt: u32,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub image: &'a Image,
    pub node_memory_bytes: i64,
    /// The container whose processes an ephemeral container wants to see.
    pub target_id: Option<String>,
    /// Where the termination message lies on the node.
    pub message_file: String,
}

pub fn build(inputs: Inputs) -> Result<ContainerConfig, String> {
    let Inputs { pod, container, attempt, env, image, .. } = &inputs;
    let known: HashMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expanded =
        |list: &Option<Vec<String>>| -> Vec<String> { list.iter().flatten().map(|t| expand(t, |n| known.get(n).map(|v| (*v).to_owned()))).collect() };
    let meta = &pod.metadata;
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let labels = HashMap::from([
        (LABEL_POD.to_owned(), text(&meta.name)),
        (LABEL_NAMESPACE.to_owned(), text(&meta.namespace)),
        (LABEL_UID.to_owned(), text(&meta.uid)),
        (LABEL_CONTAINER.to_owned(), container.name.clone()),
    ]);
    let path = container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into());
    let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".into());
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    let annotations = HashMap::from([
        (ANNOTATION_RESTARTS.to_owned(), attempt.to_string()),
        (ANNOTATION_HASH.to_owned(), hash(container)),
        (ANNOTATION_MESSAGE_PATH.to_owned(), path),
        (ANNOTATION_MESSAGE_POLICY.to_owned(), policy),
        (ANNOTATION_MESSAGE_FILE.to_owned(), inputs.message_file.clone()),
        (ANNOTATION_GRACE.to_owned(), grace.to_string()),
    ]);
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: *attempt }),
        image: Some(ImageSpec { image: image.id.clone(), user_specified_image: container.image.clone().unwrap_or_default(), ..ImageSpec::default() }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: text(&container.working_dir),
        envs: env.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
        labels,
        annotations,
        log_path: log_file(&container.name, *attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources(pod, container, inputs.node_memory_bytes)),
            security_context: Some(security(pod, container, image, inputs.target_id.clone())?),
        }),
        mounts: inputs.mounts,
        ..ContainerConfig::default()
    })
}

/// What of a spec decides whether a running container is still the wanted one.
pub fn hash(container: &Container) -> String {
    let mut hasher = DefaultHasher::new();
    container.name.hash(&mut hasher);
    container.image.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

pub fn resources(pod: &Pod, container: &Container, node_memory_bytes: i64) -> LinuxContainerResources {
    let cpu_limit = limit_milli(container, "cpu");
    let has_request = container.resources.as_ref().and_then(|r| r.requests.as_ref()).is_some_and(|r| r.contains_key("cpu"));
    let cpu_request = if has_request { request_milli(container, "cpu") } else { cpu_limit.unwrap_or(0) };
    let memory = limit_milli(container, "memory").and_then(|m| i64::try_from(m / 1000).ok()).unwrap_or(0);
    let spec = pod.spec.clone().unwrap_or_default();
    LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: quota_us(cpu_limit),
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: memory,
        oom_score_adj: oom_score_adj(&spec, container, node_memory_bytes),
        ..LinuxContainerResources::default()
    }
}

fn security(pod: &Pod, container: &Container, image: &Image, target: Option<String>) -> Result<LinuxContainerSecurityContext, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let pod_context = spec.security_context.clone().unwrap_or_default();
    let context = container.security_context.clone().unwrap_or_default();
    let privileged = context.privileged == Some(true);
    let user = context.run_as_user.or(pod_context.run_as_user);
    let group = context.run_as_group.or(pod_context.run_as_group);
    let non_root = context.run_as_non_root.or(pod_context.run_as_non_root) == Some(true);
    if non_root {
        check_non_root(pod, container, user, image)?;
    }
    // A group needs a user beside it: the image's, or root.
    let uid = user.or_else(|| image.uid.as_ref().map(|u| u.value)).or_else(|| group.filter(|_| image.username.is_empty()).map(|_| 0));
    let mut groups: Vec<i64> = pod_context.supplemental_groups.clone().unwrap_or_default();
    groups.extend(pod_context.fs_group);
    let mut options = namespaces(&spec);
    if let Some(id) = target {
        options.pid = NamespaceMode::Target.into();
        options.target_id = id;
    }
    let caps = context.capabilities.clone().unwrap_or_default();
    let unmasked = context.proc_mount.as_deref() == Some("Unmasked");
    let own = |list: &[&str]| if unmasked || privileged { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    let profile = context.seccomp_profile.or(pod_context.seccomp_profile);
    Ok(LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: caps.add.unwrap_or_default(),
            drop_capabilities: caps.drop.unwrap_or_default(),
            ..Capability::default()
        }),
        privileged,
        namespace_options: Some(options),
        run_as_user: uid.map(|value| Int64Value { value }),
        run_as_group: group.map(|value| Int64Value { value }),
        run_as_username: if uid.is_none() { image.username.clone() } else { String::new() },
        readonly_rootfs: context.read_only_root_filesystem == Some(true),
        supplemental_groups: groups,
        no_new_privs: context.allow_privilege_escalation == Some(false),
        masked_paths: own(&MASKED),
        readonly_paths: own(&READ_ONLY),
        seccomp: Some(seccomp(profile.as_ref(), privileged)),
        ..LinuxContainerSecurityContext::default()
    })
}

fn check_non_root(pod: &Pod, container: &Container, user: Option<i64>, image: &Image) -> Result<(), String> {
    let place = format!("pod: {:?}, container: {}", super::step::pod_title(pod), container.name);
    match (user, &image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy ({place})")),
        (Some(_), _) => Ok(()),
        (None, Some(uid)) if uid.value == 0 => Err(format!("container has runAsNonRoot and image will run as root ({place})")),
        (None, Some(_)) => Ok(()),
        (None, None) if !image.username.is_empty() => {
            Err(format!("container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root ({place})", image.username))
        }
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root ({place})")),
    }
}
