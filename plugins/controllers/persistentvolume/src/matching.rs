//! Which volume a claim takes: one that is meant for it, else the smallest free one that has what it asks for.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::numbers::quantity;
use pintle_sdk::selector::Selector;
use serde_json::Value;

const CLASS_BEFORE_IT_WAS_A_FIELD: &str = "volume.beta.kubernetes.io/storage-class";

/// Of a claim or a volume; empty: none.
pub fn class_of(object: &Value) -> &str {
    match object.annotation(CLASS_BEFORE_IT_WAS_A_FIELD) {
        "" => object.text(&["spec", "storageClassName"]),
        class => class,
    }
}

/// Whether the volume names this claim, by its uid as well where it has one.
pub fn is_for(volume: &Value, claim: &Value) -> bool {
    let Some(reference) = volume.at(&["spec", "claimRef"]) else { return false };
    let uid = reference.text(&["uid"]);
    reference.text(&["name"]) == claim.name() && reference.text(&["namespace"]) == claim.namespace() && (uid.is_empty() || uid == claim.uid())
}

/// Where the volume must be reached from.
pub enum Reach<'a> {
    Anywhere,
    Node(&'a Value),
    /// Nobody has chosen a node yet: a volume that is meant for the claim, no other.
    Unknown,
}

pub fn choose<'a>(claim: &Value, volumes: &'a [Value], reach: &Reach<'_>) -> Option<&'a Value> {
    let fits = |volume: &&Value| !volume.deleting() && mismatch(claim, volume).is_none();
    if let Some(meant) = volumes.iter().filter(fits).find(|volume| is_for(volume, claim)) {
        return Some(meant);
    }
    let reached = |volume: &&Value| match reach {
        Reach::Anywhere => true,
        Reach::Node(node) => reaches(volume, node),
        Reach::Unknown => false,
    };
    let free = volumes.iter().filter(fits).filter(|volume| is_free(claim, volume)).filter(reached);
    // What comes nearest to what was asked for: few access modes first, as upstream.
    let modes = |volume: &Value| volume.items(&["spec", "accessModes"]).len();
    free.min_by(|a, b| modes(a).cmp(&modes(b)).then(size(a).total_cmp(&size(b))).then(a.name().cmp(b.name())))
}

/// Why a claim cannot have the volume that it names.
pub fn mismatch(claim: &Value, volume: &Value) -> Option<&'static str> {
    let asked = quantity(claim.text(&["spec", "resources", "requests", "storage"])).unwrap_or(0.0);
    let mode = |object: &Value| if object.text(&["spec", "volumeMode"]) == "Block" { "Block" } else { "Filesystem" };
    let attributes = |object: &Value| object.text(&["spec", "volumeAttributesClassName"]).to_owned();
    let modes = volume.items(&["spec", "accessModes"]);
    if size(volume) < asked {
        Some("requested PV is too small")
    } else if class_of(volume) != class_of(claim) {
        Some("storageClassName does not match")
    } else if attributes(volume) != attributes(claim) {
        Some("volumeAttributesClassName does not match")
    } else if mode(volume) != mode(claim) {
        Some("incompatible volumeMode")
    } else if !claim.items(&["spec", "accessModes"]).iter().all(|mode| modes.contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

fn is_free(claim: &Value, volume: &Value) -> bool {
    let selector = claim.at(&["spec", "selector"]).filter(|selector| !selector.is_null());
    volume.text(&["status", "phase"]) == "Available"
        && volume.at(&["spec", "claimRef"]).is_none()
        && selector.is_none_or(|selector| Selector::from_object(Some(selector)).is_some_and(|selector| selector.matches(volume.labels())))
}

fn size(volume: &Value) -> f64 {
    quantity(volume.text(&["spec", "capacity", "storage"])).unwrap_or(0.0)
}

/// Terms are alternatives, the expressions of one hold together.
fn reaches(volume: &Value, node: &Value) -> bool {
    let Some(required) = volume.at(&["spec", "nodeAffinity", "required"]) else { return true };
    required.items(&["nodeSelectorTerms"]).iter().any(|term| {
        let (labels, fields) = (term.items(&["matchExpressions"]), term.items(&["matchFields"]));
        let value = |key: &str| node.labels().and_then(|labels| labels.get(key)).and_then(Value::as_str);
        (!labels.is_empty() || !fields.is_empty())
            && labels.iter().all(|expression| holds(expression, value(expression.text(&["key"]))))
            && fields.iter().all(|expression| holds(expression, Some(node.name())))
    })
}

fn holds(expression: &Value, value: Option<&str>) -> bool {
    let values = expression.items(&["values"]);
    let listed = value.is_some_and(|value| values.iter().any(|known| known == value));
    let compared = |holds: fn(i64, i64) -> bool| {
        let bound = values.first().and_then(Value::as_str).and_then(|bound| bound.parse().ok());
        value.and_then(|value| value.parse().ok()).zip(bound).is_some_and(|(value, bound)| holds(value, bound))
    };
    match expression.text(&["operator"]) {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|value, bound| value > bound),
        "Lt" => compared(|value, bound| value < bound),
        _ => false,
    }
}
