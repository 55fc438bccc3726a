//! Events of an object, as a table at the end of its description.

use anyhow::Result;
use pintle_api::object::ObjectExt;
use pintle_api::table::since;
use serde_json::Value;

use super::text::Text;
use crate::cli::session::{Session, collection_path, with_query};

/// Appends the events that name the object.
pub async fn append(session: &Session, object: &Value, text: &mut Text) -> Result<()> {
    let def = session.discovery().await?.find("events")?;
    // Events about objects without a namespace are kept in the default one.
    let namespace = Some(object.namespace()).filter(|n| !n.is_empty()).unwrap_or("default");
    let mut terms = vec![format!("involvedObject.name={}", object.name()), format!("involvedObject.kind={}", object.kind())];
    // Nodes are told of under their names, whatever their uid.
    if object.kind() != "Node" && !object.uid().is_empty() {
        terms.push(format!("involvedObject.uid={}", object.uid()));
    }
    let path = with_query(&collection_path(def, Some(namespace)), &[("fieldSelector", &terms.join(","))]);
    let mut events = match session.list(&path).await {
        Ok(events) => events,
        // Whoever may not read events still gets the description.
        Err(_) => return Ok(()),
    };
    events.sort_by_key(|e| last_seen(e).to_owned());
    if events.is_empty() {
        text.line(0, "Events:\t<none>");
        return Ok(());
    }
    text.line(0, "Events:");
    text.line(1, "Type\tReason\tAge\tFrom\tMessage");
    text.line(1, "----\t------\t----\t----\t-------");
    for event in &events {
        let part = |name| event.str_at(&[name]);
        text.line(1, &format!("{}\t{}\t{}\t{}\t{}", part("type"), part("reason"), age(event), source(event), message(event)));
    }
    Ok(())
}

pub fn last_seen(event: &Value) -> &str {
    let candidates = [event.str_at(&["series", "lastObservedTime"]), event.str_at(&["lastTimestamp"]), event.str_at(&["eventTime"])];
    candidates.into_iter().find(|t| !t.is_empty()).unwrap_or_default()
}

/// `3s`, or `3s (x4 over 5m)`.
fn age(event: &Value) -> String {
    let now = jiff::Timestamp::now();
    let first = match event.str_at(&["eventTime"]) {
        "" => since(event.str_at(&["firstTimestamp"]), now),
        time => since(time, now),
    };
    if let Some(count) = event.i64_at(&["series", "count"]) {
        return format!("{} (x{count} over {first})", since(event.str_at(&["series", "lastObservedTime"]), now));
    }
    match event.i64_at(&["count"]) {
        Some(count @ 2..) => format!("{} (x{count} over {first})", since(event.str_at(&["lastTimestamp"]), now)),
        _ => first,
    }
}

fn source(event: &Value) -> &str {
    match event.str_at(&["source", "component"]) {
        "" => event.str_at(&["reportingComponent"]),
        component => component,
    }
}

fn message(event: &Value) -> String {
    let message = event.str_at(&["message"]).trim();
    match event.str_at(&["involvedObject", "fieldPath"]) {
        "" => message.to_owned(),
        path => format!("{path}: {message}"),
    }
}
