//! Conditions of an object's status, in both shapes that the API has them.

use serde_json::{Map, Value, json};

use crate::fields::Fields;

pub fn find<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.items(&["status", "conditions"]).iter().find(|c| c.text(&["type"]) == kind)
}

pub fn is_true(object: &Value, kind: &str) -> bool {
    find(object, kind).is_some_and(|c| c.text(&["status"]) == "True")
}

/// A condition to be set; `extra` holds fields that only some kinds have (`lastUpdateTime`, `lastProbeTime`).
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: bool,
    pub reason: &'a str,
    pub message: &'a str,
}

/// Puts the condition into `status.conditions`. `lastTransitionTime` moves only when the status does. True when something changed.
pub fn set(status: &mut Value, condition: &Condition<'_>, now: &str, extra: Map<String, Value>) -> bool {
    let word = if condition.status { "True" } else { "False" };
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let list = status["conditions"].as_array_mut().expect("made a list above");
    let old = list.iter().position(|c| c.text(&["type"]) == condition.kind);
    if let Some(old) = old.map(|i| &list[i])
        && old.text(&["status"]) == word
        && old.text(&["reason"]) == condition.reason
        && old.text(&["message"]) == condition.message
    {
        return false;
    }
    let since = old.map(|i| &list[i]).filter(|c| c.text(&["status"]) == word).map_or(now, |c| c.text(&["lastTransitionTime"])).to_owned();
    let mut new = json!({"type": condition.kind, "status": word, "lastTransitionTime": since});
    for (key, text) in [("reason", condition.reason), ("message", condition.message)] {
        if !text.is_empty() {
            new[key] = json!(text);
        }
    }
    new.as_object_mut().expect("made above").extend(extra);
    match old {
        Some(place) => list[place] = new,
        None => list.push(new),
    }
    true
}

pub fn remove(status: &mut Value, kind: &str) -> bool {
    let Some(list) = status["conditions"].as_array_mut() else { return false };
    let before = list.len();
    list.retain(|c| c.text(&["type"]) != kind);
    list.len() != before
}
