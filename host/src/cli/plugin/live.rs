//! Plugins of a running cluster: listing, rolling back, pausing, logs.

use std::time::Duration;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::succession::{self, Succession};
use super::{plugins, short_digest, text};
use crate::cli::print::{self, Format};
use crate::cli::session::{MERGE_PATCH, Session, collection_path, is_not_found, object_path};
use crate::cli::tabs;
use crate::cli::wait::{condition, duration, until};

/// Between two looks at a log that is followed: the server keeps lines, it does not push them.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

pub async fn list(session: &Session, output: Option<&str>) -> Result<()> {
    let def = plugins(session).await?;
    let found = session.list(&collection_path(def, None)).await?;
    let format = Format::parse(output)?;
    if !format.is_table() {
        let found: Vec<_> = found.into_iter().map(|o| (def.clone(), o)).collect();
        return format.print(&found, false);
    }
    if found.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let mut rows = "NAME\tWORLD\tSTAGE\tREVISION\tDIGEST\tREADY\tAGREEMENT\tAGE\tSERVES\n".to_owned();
    let now = jiff::Timestamp::now();
    for plugin in &found {
        let status = &plugin["status"];
        let or_none = |t: &str| if t.is_empty() { "<none>".to_owned() } else { t.to_owned() };
        let cells = [
            plugin.name().to_owned(),
            text(plugin, &["spec", "world"]).to_owned(),
            or_none(text(status, &["stage"])),
            status.i64_at(&["activeRevision"]).filter(|r| *r > 0).map_or("<none>".to_owned(), |r| r.to_string()),
            or_none(short_digest(text(status, &["activeDigest"]))),
            condition(plugin, "Ready").map_or("Unknown", |c| text(c, &["status"])).to_owned(),
            "<none>".to_owned(),
            pintle_api::table::since(text(plugin, &["metadata", "creationTimestamp"]), now),
            or_none(&pintle_api::plugin::serves(plugin).unwrap_or_default()),
        ];
        rows.push_str(&format!("{}\n", cells.join("\t")));
        if let Some([stage, digest, ready, agreement, age]) = super::stages::row(plugin) {
            let cells = [plugin.name(), text(plugin, &["spec", "world"]), &stage, "<none>", &digest, &ready, &agreement, &age, &cells[8]];
            rows.push_str(&format!("{}\n", cells.join("\t")));
        }
    }
    print::text(&tabs::align(&rows, tabs::TABLE));
    Ok(())
}

pub async fn describe(session: &Session, name: &str) -> Result<()> {
    let def = plugins(session).await?;
    let mut plugin = session.get_object(def, None, name).await?;
    leave_out_bytes(&mut plugin);
    print::text(&crate::cli::describe::one(session, def, &plugin, true).await?);
    Ok(())
}

/// Megabytes of base64 tell a reader nothing.
pub fn leave_out_bytes(plugin: &mut Value) {
    for path in [["spec", "source"].as_slice(), &["spec", "candidate", "source"]] {
        let path = [path, &["inline"]].concat();
        if let Some(inline) = plugin.at(&path).and_then(Value::as_str).map(str::len) {
            plugin.set_at(&path, format!("<{inline} characters>").into());
        }
    }
}

/// Waits until the generation that was written is what serves, and says so; a refusal is an error with its reason.
pub async fn until_serving(session: &Session, written: &Value, timeout: &str) -> Result<Value> {
    let def = plugins(session).await?;
    let generation = written.i64_at(&["metadata", "generation"]).unwrap_or(1);
    let mut last = Value::Null;
    let mut refused = None;
    let settled = until(session, def, None, written.name(), |plugin| {
        let Some(plugin) = plugin else { bail!("plugin {:?} was deleted", written.name()) };
        last = plugin.clone();
        if plugin.i64_at(&["status", "observedGeneration"]).unwrap_or(0) < generation {
            return Ok(false);
        }
        let fresh = |name| condition(plugin, name).filter(|c: &&Value| c.i64_at(&["observedGeneration"]).is_none_or(|g| g >= generation));
        if let Some(fault) = fresh("Loaded").filter(|c| c["status"] == "False") {
            refused = Some(format!("{}: {}", text(fault, &["reason"]), text(fault, &["message"])));
            return Ok(true);
        }
        match fresh("Ready") {
            Some(ready) if ready["status"] == "False" => {
                refused = Some(format!("{}: {}", text(ready, &["reason"]), text(ready, &["message"])));
                Ok(true)
            }
            Some(ready) => Ok(ready["status"] == "True"),
            None => Ok(false),
        }
    });
    match tokio::time::timeout(duration(timeout)?, settled).await {
        Ok(done) => done?,
        Err(_) => bail!("timed out: plugin {:?} is not ready after {timeout}", written.name()),
    }
    match refused {
        Some(why) => bail!("plugin {:?} was refused: {why}", written.name()),
        None => Ok(last),
    }
}

pub fn report(plugin: &Value, verb: &str) {
    let status = &plugin["status"];
    let (stage, revision) = (text(status, &["stage"]), status.i64_at(&["activeRevision"]).unwrap_or(0));
    print::line(&format!("plugin.pintle.dev/{} {verb}", plugin.name()));
    print::line(&format!("Ready: {stage}, revision {revision}, {}", text(status, &["activeDigest"])));
    if stage == "Standby" {
        print::line("It stands by: a newer plugin of the same task serves.");
    }
}

pub async fn rollback(session: &Session, name: &str, to: i64, timeout: &str) -> Result<()> {
    let def = plugins(session).await?;
    let plugin = session.get_object(def, None, name).await?;
    if to == 0 && super::stages::withdraw(session, &plugin).await? {
        return Ok(());
    }
    let active = plugin.i64_at(&["status", "activeRevision"]).unwrap_or(0);
    let revisions = plugin.list_at(&["status", "revisions"]);
    let number = |r: &Value| r.i64_at(&["revision"]).unwrap_or(0);
    let chosen = match to {
        0 => revisions.iter().filter(|r| number(r) < active).max_by_key(|r| number(r)),
        to => revisions.iter().find(|r| number(r) == to),
    };
    let Some(chosen) = chosen else {
        if to != 0 {
            bail!("plugin {name:?} has no revision {to}");
        }
        return give_way(session, &plugin).await;
    };
    let source = json!({"inline": null, "file": null, "https": null, "oci": null, "embedded": null, "digest": chosen["digest"]});
    let patch = json!({"spec": {"source": source, "digest": null, "config": chosen["config"], "paused": null}});
    let written = session.patch(&object_path(def, None, name, ""), MERGE_PATCH, &patch).await?;
    let serving = until_serving(session, &written, timeout).await?;
    report(&serving, &format!("rolled back to revision {}", number(chosen)));
    Ok(())
}

/// Rolls back a plugin that has no earlier revision: what it displaced serves again. Refuses where there is nothing of that kind, for then
/// somebody's work would stay undone.
async fn give_way(session: &Session, plugin: &Value) -> Result<()> {
    let name = plugin.name();
    if plugin["spec"]["paused"] == true {
        bail!("plugin {name:?} has no earlier revision, and it is paused");
    }
    let all = session.list(&collection_path(plugins(session).await?, None)).await?;
    let Succession { taken, orphaned } = succession::without(plugin, &all);
    if !orphaned.is_empty() {
        bail!(
            "plugin {name:?} has no earlier revision and no plugin that stands by for all it does: {}. 'pintle plugin pause {name}' takes it away nevertheless",
            orphaned.join(", ")
        );
    }
    pause(session, name).await?;
    print::line(&format!("It has no earlier revision: {} now. 'pintle plugin promote {name}' brings it back.", taken.join(", ")));
    Ok(())
}

pub async fn pause(session: &Session, name: &str) -> Result<()> {
    let def = plugins(session).await?;
    session.patch(&object_path(def, None, name, ""), MERGE_PATCH, &json!({"spec": {"paused": true}})).await?;
    print::line(&format!("plugin.pintle.dev/{name} paused"));
    Ok(())
}

/// Lets a paused plugin decide again.
pub async fn resume(session: &Session, name: &str, timeout: &str) -> Result<()> {
    let def = plugins(session).await?;
    let plugin = session.get_object(def, None, name).await?;
    if plugin["spec"]["paused"] != true {
        bail!("plugin {name:?} has no candidate to promote, and it is not paused");
    }
    let written = session.patch(&object_path(def, None, name, ""), MERGE_PATCH, &json!({"spec": {"paused": null}})).await?;
    let serving = until_serving(session, &written, timeout).await?;
    report(&serving, "promoted");
    Ok(())
}

pub async fn delete(session: &Session, names: &[String]) -> Result<()> {
    let def = plugins(session).await?;
    for name in names {
        session.delete(&object_path(def, None, name, ""), &json!({"kind": "DeleteOptions", "apiVersion": "v1"})).await?;
        print::line(&format!("plugin.pintle.dev {name:?} deleted"));
    }
    Ok(())
}

/// The server process keeps the last lines of each plugin in memory.
pub async fn logs(session: &Session, name: &str, tail: i64, follow: bool) -> Result<()> {
    let def = plugins(session).await?;
    let path = object_path(def, None, name, "log");
    let mut shown: Vec<String> = Vec::new();
    let mut first = true;
    loop {
        let text = match session.get_text(&path).await {
            Ok(text) => text,
            Err(error) if is_not_found(&error) => {
                session.get_object(def, None, name).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let skip = match (first, usize::try_from(tail)) {
            (true, Ok(tail)) => lines.len().saturating_sub(tail),
            (true, Err(_)) => 0,
            (false, _) => overlap(&shown, &lines),
        };
        lines[skip..].iter().for_each(|l| print::line(l));
        if !follow {
            return Ok(());
        }
        (shown, first) = (lines, false);
        tokio::time::sleep(LOG_INTERVAL).await;
    }
}

/// How many lines of `now` were already there: the longest end of `before` that `now` begins with.
fn overlap(before: &[String], now: &[String]) -> usize {
    (0..=before.len().min(now.len())).rev().find(|n| before[before.len() - n..] == now[..*n]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn only_new_lines_are_shown() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        assert_eq!(overlap(&lines("abc"), &lines("bcde")), 2);
        assert_eq!(overlap(&lines("abc"), &lines("abc")), 3);
        assert_eq!(overlap(&lines("abc"), &lines("xyz")), 0);
        assert_eq!(overlap(&[], &lines("x")), 0);
    }
}
