//! When a field of a built-in type is there in Go's JSON, read off the flags of the table of messages.
//!
//! The types need it when they are made, once in the life of a process; nothing of it is kept here. Knows nothing of values.

use std::collections::HashMap;

use super::messages::ROWS;
use crate::schema::kinds::Presence;

type Fields = HashMap<&'static str, Presence>;

/// By full name of the message and the field's name in JSON. What is not named is `Optional`.
pub fn presence_of_fields() -> HashMap<&'static str, Fields> {
    let mut all: HashMap<&str, Fields> = HashMap::with_capacity(800);
    let mut flattened: Vec<(&str, &str)> = Vec::new();
    let mut message = "";
    for row in ROWS.lines().filter(|row| !row.starts_with('#')) {
        if let Some(name) = row.strip_prefix("> ") {
            message = name;
            all.insert(name, Fields::new());
            continue;
        }
        let mut words = row.split(' ').skip(1);
        let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
        let flags = words.next().unwrap_or("");
        if flags.contains('n') {
            flattened.push((message, kind));
        } else if let Some(fields) = all.get_mut(message) {
            fields.insert(name, presence(flags));
        }
    }
    flatten(&mut all, flattened);
    all
}

fn presence(flags: &str) -> Presence {
    // Lists and maps can be nil like pointers.
    let nil = flags.contains(['p', 'r', 'm']);
    match (flags.contains('a'), nil, flags.contains('o')) {
        (true, true, _) => Presence::AlwaysNull,
        (true, false, _) => Presence::Always,
        (false, _, true) => Presence::NonZero,
        (false, _, false) => Presence::Optional,
    }
}

/// Copies the fields of embedded structs into those around them; the inner ones come first where such a struct embeds another.
fn flatten(all: &mut HashMap<&'static str, Fields>, mut open: Vec<(&'static str, &'static str)>) {
    while let Some(at) = open.iter().position(|(_, inner)| open.iter().all(|(outer, _)| outer != inner)) {
        let (outer, inner) = open.swap_remove(at);
        let fields = all.get(inner).cloned().unwrap_or_default();
        if let Some(outer) = all.get_mut(outer) {
            outer.extend(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_follows_the_tags_of_the_go_types() {
        let all = presence_of_fields();
        let of = |message: &str, field: &str| all[format!("k8s.io.{message}").as_str()].get(field).copied().unwrap_or_default();
        assert_eq!(of("api.apps.v1.DeploymentSpec", "template"), Presence::Always);
        assert_eq!(of("api.apps.v1.DeploymentSpec", "strategy"), Presence::Always, "omitempty says nothing of a struct");
        assert_eq!(of("api.apps.v1.DeploymentSpec", "selector"), Presence::AlwaysNull);
        assert_eq!(of("api.apps.v1.DeploymentSpec", "replicas"), Presence::Optional);
        assert_eq!(of("api.apps.v1.DeploymentSpec", "paused"), Presence::NonZero);
        assert_eq!(of("api.core.v1.PodSpec", "containers"), Presence::AlwaysNull);
        assert_eq!(of("api.core.v1.PodSpec", "volumes"), Presence::NonZero);
        assert_eq!(of("api.core.v1.Volume", "emptyDir"), Presence::Optional, "of the embedded source");
        assert_eq!(of("api.core.v1.ContainerPort", "containerPort"), Presence::Always);
        assert_eq!(of("apimachinery.pkg.apis.meta.v1.ObjectMeta", "creationTimestamp"), Presence::NonZero, "omitzero");
        assert_eq!(of("api.core.v1.Event", "lastTimestamp"), Presence::Always);
        assert_eq!(of("api.admissionregistration.v1.NamedRuleWithOperations", "apiGroups"), Presence::NonZero, "two embedded structs deep");
    }
}
