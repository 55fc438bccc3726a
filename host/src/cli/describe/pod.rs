//! Pods and pod templates.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::text::{Text, joined, long_time, or_none};
use crate::cli::jsonpath::{Template, show};

pub fn describe(pod: &Value, text: &mut Text) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    text.head(pod);
    text.some(0, "Priority", &spec["priority"]);
    text.some(0, "Priority Class Name", &spec["priorityClassName"]);
    text.some(0, "Runtime Class Name", &spec["runtimeClassName"]);
    text.some(0, "Service Account", &spec["serviceAccountName"]);
    match spec.str_at(&["nodeName"]) {
        "" => text.field(0, "Node", "<none>"),
        node => text.field(0, "Node", format!("{node}/{}", status.str_at(&["hostIP"]))),
    }
    if let Some(start) = status["startTime"].as_str() {
        text.field(0, "Start Time", long_time(start));
    }
    text.labels_and_annotations(pod);
    let phase = status.str_at(&["phase"]);
    if pod.is_being_deleted() && !matches!(phase, "Failed" | "Succeeded") {
        let age = pintle_api::table::since(pod.str_at(&["metadata", "deletionTimestamp"]), jiff::Timestamp::now());
        text.field(0, "Status", format!("Terminating (lasts {age})"));
        text.field(0, "Termination Grace Period", format!("{}s", pod.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0)));
    } else {
        text.field(0, "Status", phase);
    }
    text.some(0, "Reason", &status["reason"]);
    text.some(0, "Message", &status["message"]);
    text.some(0, "SeccompProfile", &spec["securityContext"]["seccompProfile"]["type"]);
    text.field(0, "IP", status.str_at(&["podIP"]));
    match status.list_at(&["podIPs"]) {
        [] => text.field(0, "IPs", "<none>"),
        ips => {
            text.line(0, "IPs:");
            ips.iter().for_each(|ip| text.field(1, "IP", ip.str_at(&["ip"])));
        }
    }
    text.controlled_by(pod);
    text.some(0, "NominatedNodeName", &status["nominatedNodeName"]);
    containers(pod, text);
    conditions(pod, text);
    volumes(spec.list_at(&["volumes"]), "", text);
    text.field(0, "QoS Class", status.str_at(&["qosClass"]));
    text.pairs("Node-Selectors", "=", spec.at(&["nodeSelector"]));
    text.tolerations("Tolerations", spec.list_at(&["tolerations"]));
    spread(spec.list_at(&["topologySpreadConstraints"]), "", text);
}

/// The template of a workload.
pub fn template(template: &Value, text: &mut Text) {
    let spec = &template["spec"];
    text.line(0, "Pod Template:");
    text.pairs("  Labels", "=", template.at(&["metadata", "labels"]));
    if template.map_at(&["metadata", "annotations"]).is_some_and(|a| !a.is_empty()) {
        text.annotations("  Annotations", template.at(&["metadata", "annotations"]));
    }
    text.some(1, "Service Account", &spec["serviceAccountName"]);
    if !spec.list_at(&["initContainers"]).is_empty() {
        container_list("Init Containers", spec.list_at(&["initContainers"]), None, None, "  ", text);
    }
    container_list("Containers", spec.list_at(&["containers"]), None, None, "  ", text);
    volumes(spec.list_at(&["volumes"]), "  ", text);
    spread(spec.list_at(&["topologySpreadConstraints"]), "  ", text);
    text.some(1, "Priority Class Name", &spec["priorityClassName"]);
    text.pairs("  Node-Selectors", "=", spec.at(&["nodeSelector"]));
    text.tolerations("  Tolerations", spec.list_at(&["tolerations"]));
}

fn containers(pod: &Value, text: &mut Text) {
    let lists = [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ];
    for (title, list, statuses) in lists {
        let containers = pod.list_at(&["spec", list]);
        if !containers.is_empty() || list == "containers" {
            container_list(title, containers, Some(pod.list_at(&["status", statuses])), Some(pod), "", text);
        }
    }
}

fn container_list(title: &str, containers: &[Value], statuses: Option<&[Value]>, pod: Option<&Value>, space: &str, text: &mut Text) {
    let none = if containers.is_empty() { " <none>" } else { "" };
    text.line(0, &format!("{space}{title}:{none}"));
    for container in containers {
        let name = container.str_at(&["name"]);
        let status = statuses.unwrap_or_default().iter().find(|s| s.str_at(&["name"]) == name);
        let indent = if space.is_empty() { "" } else { " " };
        text.line(1, &format!("{indent}{name}:"));
        basics(container, status, text);
        words("Command", container.list_at(&["command"]), text);
        words("Args", container.list_at(&["args"]), text);
        if let Some(status) = status {
            state("State", &status["state"], text);
            if status["lastState"]["terminated"].is_object() {
                state("Last State", &status["lastState"], text);
            }
            text.field(2, "Ready", if status.bool_at(&["ready"]) { "True" } else { "False" });
            text.field(2, "Restart Count", status.i64_at(&["restartCount"]).unwrap_or(0));
        }
        for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
            let Some(amounts) = container.map_at(&["resources", field]).filter(|a| !a.is_empty()) else { continue };
            text.line(2, &format!("{title}:"));
            amounts.iter().for_each(|(name, amount)| text.field(3, name, show(amount)));
        }
        for (title, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
            if container[field].is_object() {
                text.field(2, title, probe(&container[field]));
            }
        }
        environment(container, pod, text);
        mounts(container, text);
    }
}

fn basics(container: &Value, status: Option<&Value>, text: &mut Text) {
    if let Some(status) = status {
        text.field(2, "Container ID", status.str_at(&["containerID"]));
    }
    text.field(2, "Image", container.str_at(&["image"]));
    if let Some(status) = status {
        text.field(2, "Image ID", status.str_at(&["imageID"]));
    }
    for (title, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let ports: Vec<String> = container
            .list_at(&["ports"])
            .iter()
            .map(|p| {
                let name = p.str_at(&["name"]);
                let number =
                    format!("{}/{}", p.i64_at(&[field]).unwrap_or(0), Some(p.str_at(&["protocol"])).filter(|p| !p.is_empty()).unwrap_or("TCP"));
                if name.is_empty() { number } else { format!("{number} ({name})") }
            })
            .collect();
        let title = if ports.len() > 1 { format!("{title}s") } else { title.to_owned() };
        text.field(2, &title, or_none(&ports.join(", ")));
    }
    text.some(2, "SeccompProfile", &container["securityContext"]["seccompProfile"]["type"]);
}

fn words(title: &str, list: &[Value], text: &mut Text) {
    if list.is_empty() {
        return;
    }
    text.line(2, &format!("{title}:"));
    for word in list {
        show(word).split('\n').for_each(|line| text.line(3, line));
    }
}

fn state(title: &str, state: &Value, text: &mut Text) {
    if let Some(running) = state.at(&["running"]) {
        text.field(2, title, "Running");
        text.field(3, "Started", long_time(running.str_at(&["startedAt"])));
    } else if let Some(ended) = state.at(&["terminated"]) {
        text.field(2, title, "Terminated");
        text.some(3, "Reason", &ended["reason"]);
        text.some(3, "Message", &ended["message"]);
        text.field(3, "Exit Code", ended.i64_at(&["exitCode"]).unwrap_or(0));
        if let Some(signal @ 1..) = ended.i64_at(&["signal"]) {
            text.field(3, "Signal", signal);
        }
        text.field(3, "Started", long_time(ended.str_at(&["startedAt"])));
        text.field(3, "Finished", long_time(ended.str_at(&["finishedAt"])));
    } else {
        text.field(2, title, "Waiting");
        text.some(3, "Reason", &state["waiting"]["reason"]);
    }
}

fn probe(probe: &Value) -> String {
    let number = |field, default| probe.i64_at(&[field]).unwrap_or(default);
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    );
    if let Some(exec) = probe.at(&["exec"]) {
        return format!("exec [{}] {attributes}", joined(exec.list_at(&["command"]), " "));
    }
    if let Some(http) = probe.at(&["httpGet"]) {
        let scheme = http.str_at(&["scheme"]).to_lowercase();
        return format!("http-get {scheme}://{}:{}{} {attributes}", http.str_at(&["host"]), show(&http["port"]), http.str_at(&["path"]));
    }
    if let Some(tcp) = probe.at(&["tcpSocket"]) {
        return format!("tcp-socket {}:{} {attributes}", tcp.str_at(&["host"]), show(&tcp["port"]));
    }
    if let Some(grpc) = probe.at(&["grpc"]) {
        return format!("grpc <pod>:{} {} {attributes}", show(&grpc["port"]), grpc.str_at(&["service"]));
    }
    format!("unknown {attributes}")
}

fn environment(container: &Value, pod: Option<&Value>, text: &mut Text) {
    let sources = container.list_at(&["envFrom"]);
    if !sources.is_empty() {
        text.line(2, "Environment Variables from:");
        for source in sources {
            let (kind, from) =
                if source["configMapRef"].is_object() { ("ConfigMap", &source["configMapRef"]) } else { ("Secret", &source["secretRef"]) };
            let prefix = match source.str_at(&["prefix"]) {
                "" => String::new(),
                prefix => format!(" with prefix '{prefix}'"),
            };
            text.line(3, &format!("{}\t{kind}{prefix}\tOptional: {}", from.str_at(&["name"]), from.bool_at(&["optional"])));
        }
    }
    let variables = container.list_at(&["env"]);
    text.line(2, if variables.is_empty() { "Environment:\t<none>" } else { "Environment:" });
    for variable in variables {
        let (name, from) = (variable.str_at(&["name"]), &variable["valueFrom"]);
        let field = |which: &str, part: &str| from.str_at(&[which, part]).to_owned();
        if from.is_null() {
            let mut lines = variable.str_at(&["value"]).split('\n');
            text.field(3, name, lines.next().unwrap_or_default());
            lines.for_each(|line| text.line(3, &format!("\t{line}")));
        } else if from["fieldRef"].is_object() {
            let path = field("fieldRef", "fieldPath");
            let value = pod.and_then(|p| Template::relaxed(&path).ok()?.find(p).first().map(|v| show(v))).unwrap_or_default();
            text.field(3, name, format!("{value} ({}:{path})", field("fieldRef", "apiVersion")));
        } else if from["resourceFieldRef"].is_object() {
            let resource = field("resourceFieldRef", "resource");
            let value = resource.split_once('.').and_then(|(list, what)| container.at(&["resources", list, what])).map(show);
            text.field(3, name, format!("{} ({resource})", value.as_deref().unwrap_or("node allocatable")));
        } else if from["secretKeyRef"].is_object() {
            let (key, secret) = (field("secretKeyRef", "key"), field("secretKeyRef", "name"));
            text.field(3, name, format!("<set to the key '{key}' in secret '{secret}'>\tOptional: {}", from.bool_at(&["secretKeyRef", "optional"])));
        } else {
            let (key, map) = (field("configMapKeyRef", "key"), field("configMapKeyRef", "name"));
            text.field(
                3,
                name,
                format!("<set to the key '{key}' of config map '{map}'>\tOptional: {}", from.bool_at(&["configMapKeyRef", "optional"])),
            );
        }
    }
}

fn mounts(container: &Value, text: &mut Text) {
    let mut mounts: Vec<&Value> = container.list_at(&["volumeMounts"]).iter().collect();
    mounts.sort_by_key(|m| m.str_at(&["mountPath"]).to_owned());
    text.line(2, if mounts.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    for mount in mounts {
        let mut flags = if mount.bool_at(&["readOnly"]) { "ro" } else { "rw" }.to_owned();
        if !mount.str_at(&["subPath"]).is_empty() {
            flags.push_str(&format!(",path={:?}", mount.str_at(&["subPath"])));
        }
        text.line(3, &format!("{} from {} ({flags})", mount.str_at(&["mountPath"]), mount.str_at(&["name"])));
    }
}

fn conditions(pod: &Value, text: &mut Text) {
    let conditions = pod.list_at(&["status", "conditions"]);
    let gates = pod.list_at(&["spec", "readinessGates"]);
    if !gates.is_empty() {
        text.line(0, "Readiness Gates:");
        text.line(1, "Type\tStatus");
        for gate in gates {
            let kind = gate.str_at(&["conditionType"]);
            let status = conditions.iter().find(|c| c.str_at(&["type"]) == kind).map_or("<none>", |c| c.str_at(&["status"]));
            text.line(1, &format!("{kind} \t{status} "));
        }
    }
    if conditions.is_empty() {
        return;
    }
    text.line(0, "Conditions:");
    text.line(1, "Type\tStatus");
    for condition in conditions {
        text.line(1, &format!("{} \t{} ", condition.str_at(&["type"]), condition.str_at(&["status"])));
    }
}

fn volumes(volumes: &[Value], space: &str, text: &mut Text) {
    if volumes.is_empty() {
        return text.line(0, &format!("{space}Volumes:\t<none>"));
    }
    text.line(0, &format!("{space}Volumes:"));
    for volume in volumes {
        let indent = if space.is_empty() { "" } else { " " };
        text.line(1, &format!("{indent}{}:", volume.str_at(&["name"])));
        let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
        let Some((kind, source)) = source else { continue };
        volume_source(kind, source, text);
    }
}

fn volume_source(kind: &str, source: &Value, text: &mut Text) {
    let optional = |s: &Value| s.bool_at(&["optional"]);
    let part = |name| source.str_at(&[name]).to_owned();
    let unset = |value: String| if value.is_empty() { "<unset>".to_owned() } else { value };
    let fields: Vec<(&str, String)> = match kind {
        "hostPath" => vec![("Type", "HostPath (bare host directory volume)".into()), ("Path", part("path")), ("HostPathType", part("type"))],
        "emptyDir" => vec![
            ("Type", "EmptyDir (a temporary directory that shares a pod's lifetime)".into()),
            ("Medium", part("medium")),
            ("SizeLimit", unset(show(&source["sizeLimit"]))),
        ],
        "secret" => vec![
            ("Type", "Secret (a volume populated by a Secret)".into()),
            ("SecretName", part("secretName")),
            ("Optional", optional(source).to_string()),
        ],
        "configMap" => {
            vec![("Type", "ConfigMap (a volume populated by a ConfigMap)".into()), ("Name", part("name")), ("Optional", optional(source).to_string())]
        }
        "persistentVolumeClaim" => vec![
            ("Type", "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)".into()),
            ("ClaimName", part("claimName")),
            ("ReadOnly", source.bool_at(&["readOnly"]).to_string()),
        ],
        "nfs" => vec![
            ("Type", "NFS (an NFS mount that lasts the lifetime of a pod)".into()),
            ("Server", part("server")),
            ("Path", part("path")),
            ("ReadOnly", source.bool_at(&["readOnly"]).to_string()),
        ],
        "downwardAPI" => vec![("Type", "DownwardAPI (a volume populated by information about the pod)".into())],
        "projected" => return projected(source, text),
        other => vec![("Type", other.to_owned())],
    };
    fields.into_iter().for_each(|(name, value)| text.field(2, name, value));
    if kind == "downwardAPI" {
        text.line(2, "Items:");
        for item in source.list_at(&["items"]) {
            let from =
                Some(item.str_at(&["fieldRef", "fieldPath"])).filter(|f| !f.is_empty()).unwrap_or(item.str_at(&["resourceFieldRef", "resource"]));
            text.line(3, &format!("{from} -> {}", item.str_at(&["path"])));
        }
    }
}

fn projected(volume: &Value, text: &mut Text) {
    text.field(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for source in volume.list_at(&["sources"]) {
        if let Some(secret) = source.at(&["secret"]) {
            text.field(2, "SecretName", secret.str_at(&["name"]));
            text.field(2, "Optional", secret.bool_at(&["optional"]));
        } else if source["downwardAPI"].is_object() {
            text.field(2, "DownwardAPI", "true");
        } else if let Some(map) = source.at(&["configMap"]) {
            text.field(2, "ConfigMapName", map.str_at(&["name"]));
            text.field(2, "Optional", map.bool_at(&["optional"]));
        } else if let Some(token) = source.at(&["serviceAccountToken"]) {
            text.field(2, "TokenExpirationSeconds", token.i64_at(&["expirationSeconds"]).unwrap_or(3600));
        }
    }
}

fn spread(constraints: &[Value], space: &str, text: &mut Text) {
    if constraints.is_empty() {
        return;
    }
    let mut sorted: Vec<&Value> = constraints.iter().collect();
    sorted.sort_by_key(|c| c.str_at(&["topologyKey"]).to_owned());
    let line = |c: &Value| {
        let mut line = format!(
            "{}:{} when max skew {} is exceeded",
            c.str_at(&["topologyKey"]),
            c.str_at(&["whenUnsatisfiable"]),
            c.i64_at(&["maxSkew"]).unwrap_or(1)
        );
        if c["labelSelector"].is_object() {
            line.push_str(&format!(" for selector {}", crate::cli::workloads::label_selector(&c["labelSelector"])));
        }
        line
    };
    let lines: Vec<String> = sorted.into_iter().map(line).collect();
    text.column(&format!("{space}Topology Spread Constraints"), &lines);
}
