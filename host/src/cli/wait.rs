//! `wait`: until a condition, a field or a deletion. Also the waiting that other verbs do.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::files::FileArgs;
use super::get::lines;
use super::jsonpath::{Template, show};
use super::print;
use super::resolve::{Found, Selectors, objects, picks};
use super::session::{Global, Session, collection_path, is_not_found, object_path, with_query};

/// A pause before the watch is opened again, should the server close it.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
pub struct WaitArgs {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    #[arg(long)]
    pub all: bool,
    /// condition=NAME[=VALUE], jsonpath=PATH[=VALUE], delete, or create
    #[arg(long = "for", required = true)]
    pub condition: Vec<String>,
    /// How long for each object; 0s: look once; negative: a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    pub timeout: String,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

enum Goal {
    Deleted,
    Created,
    Condition { name: String, value: String },
    Path { template: Template, value: Option<String> },
}

pub async fn run(args: WaitArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let limit = if args.timeout.starts_with('-') { Duration::from_secs(7 * 24 * 3600) } else { duration(&args.timeout)? };
    for condition in &args.condition {
        let goal = Goal::parse(condition)?;
        let targets = match targets(&session, &args, &goal, limit).await {
            Ok(targets) => targets,
            Err(error) if matches!(goal, Goal::Deleted) && is_not_found(&error) => continue,
            Err(error) => return Err(error),
        };
        if targets.is_empty() && !matches!(goal, Goal::Deleted) {
            bail!("no matching resources found");
        }
        for target in &targets {
            one(&session, target, &goal, limit).await?;
            match args.output.as_deref() {
                Some("name") => print::line(&target.title()),
                _ => print::line(&format!("{} {}", target.title(), goal.met())),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn targets(session: &Session, args: &WaitArgs, goal: &Goal, limit: Duration) -> Result<Vec<Found>> {
    if !args.files.is_empty() {
        return args.files.found(session).await;
    }
    if !matches!(goal, Goal::Created) {
        return objects(session, &args.resources, &args.selectors, args.all).await;
    }
    let mut found = Vec::new();
    for pick in picks(session.discovery().await?, &args.resources)? {
        let Some(name) = pick.name else { bail!("resource name must be provided") };
        let namespace = session.namespace_for(&pick.def);
        let exists = until(session, &pick.def, namespace, &name, |object| Ok(object.is_some()));
        let timed_out = || anyhow!("timed out waiting for the condition on {}/{name}", pick.def.resource);
        tokio::time::timeout(limit, exists).await.map_err(|_| timed_out())??;
        found.push(Found { object: session.get_object(&pick.def, namespace, &name).await?, def: pick.def });
    }
    Ok(found)
}

async fn one(session: &Session, target: &Found, goal: &Goal, limit: Duration) -> Result<()> {
    let uid = target.object.uid().to_owned();
    let reached = until(session, &target.def, target.namespace(), target.name(), |object| match (goal, object) {
        (Goal::Deleted, object) => Ok(object.is_none_or(|o| o.uid() != uid)),
        (Goal::Created, object) => Ok(object.is_some()),
        (_, None) => bail!("{} {:?} was deleted", target.def.resource, target.name()),
        (goal, Some(object)) => Ok(goal.holds(object)),
    });
    // One look must fit into a limit of nothing.
    let limit = limit.max(Duration::from_secs(1));
    let timed_out = || anyhow!("timed out waiting for the condition on {}/{}", target.def.resource, target.name());
    tokio::time::timeout(limit, reached).await.map_err(|_| timed_out())?
}

impl Goal {
    fn parse(text: &str) -> Result<Self> {
        match text.split_once('=') {
            None if text.eq_ignore_ascii_case("delete") => Ok(Self::Deleted),
            None if text.eq_ignore_ascii_case("create") => Ok(Self::Created),
            Some(("condition", rest)) => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
                Ok(Self::Condition { name: name.to_owned(), value: value.to_owned() })
            }
            Some(("jsonpath", rest)) => {
                let end = rest.rfind('}').map_or(0, |at| at + 1);
                let (path, value) = match rest[end..].split_once('=') {
                    Some((more, value)) => (&rest[..end + more.len()], Some(value.trim_matches(['\'', '"']).to_owned())),
                    None => (rest, None),
                };
                Ok(Self::Path { template: Template::relaxed(path)?, value })
            }
            _ => bail!("unrecognized condition: {text:?}"),
        }
    }

    fn met(&self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            _ => "condition met",
        }
    }

    fn holds(&self, object: &Value) -> bool {
        match self {
            Self::Deleted | Self::Created => false,
            Self::Condition { name, value } => condition(object, name).is_some_and(|c| {
                // A condition about an older generation tells nothing yet.
                let observed = c.i64_at(&["observedGeneration"]);
                let stale = observed.zip(object.i64_at(&["metadata", "generation"])).is_some_and(|(seen, now)| seen < now);
                !stale && c.str_at(&["status"]).eq_ignore_ascii_case(value)
            }),
            Self::Path { template, value } => {
                let found = template.find(object);
                match value {
                    Some(value) => found.first().is_some_and(|v| show(v) == *value),
                    None => !found.is_empty(),
                }
            }
        }
    }
}

/// The condition of that type, letters of either case.
pub fn condition<'o>(object: &'o Value, name: &str) -> Option<&'o Value> {
    object.list_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]).eq_ignore_ascii_case(name))
}

/// Watches one object until the test holds. `None`: it does not exist.
pub async fn until(
    session: &Session,
    def: &ResourceDef,
    namespace: Option<&str>,
    name: &str,
    mut test: impl FnMut(Option<&Value>) -> Result<bool>,
) -> Result<()> {
    let field = format!("metadata.name={name}");
    loop {
        let list = session.get(&with_query(&collection_path(def, namespace), &[("fieldSelector", &field)])).await?;
        if test(list.list_at(&["items"]).first())? {
            return Ok(());
        }
        let revision = list["metadata"].str_at(&["resourceVersion"]);
        let query = [("fieldSelector", field.as_str()), ("watch", "true"), ("resourceVersion", revision)];
        let body = session.stream(&with_query(&collection_path(def, namespace), &query), false).await?;
        let mut events = lines(body);
        while let Some(Ok(line)) = events.next().await {
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { break };
            let met = match event.str_at(&["type"]) {
                "ADDED" | "MODIFIED" => test(Some(&event["object"]))?,
                "DELETED" => test(None)?,
                "BOOKMARK" => false,
                _ => break,
            };
            if met {
                return Ok(());
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Waits for one object by name, within a limit, and gives it back.
pub async fn for_object(
    session: &Session,
    def: &ResourceDef,
    name: &str,
    limit: Duration,
    mut test: impl FnMut(&Value) -> Result<bool>,
) -> Result<Value> {
    let namespace = session.namespace_for(def);
    let mut last = Value::Null;
    let reached = until(session, def, namespace, name, |object| match object {
        Some(object) => {
            last = object.clone();
            test(object)
        }
        None => Ok(false),
    });
    match tokio::time::timeout(limit, reached).await {
        Ok(done) => done.map(|()| last),
        Err(_) => bail!("timed out waiting for the condition"),
    }
}

pub fn path_of(session: &Session, def: &ResourceDef, name: &str) -> String {
    object_path(def, session.namespace_for(def), name, "")
}

/// `1h2m3s`, `500ms`, `90s`, and a bare number of seconds.
pub fn duration(text: &str) -> Result<Duration> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds >= 0.0
    {
        return Ok(Duration::from_secs_f64(seconds));
    }
    let invalid = || anyhow!("invalid duration {text:?}");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        total += Duration::try_from_secs_f64(amount * unit).map_err(|_| invalid())?;
        rest = &rest[letters..];
    }
    Ok(total)
}

pub fn seconds(text: &str) -> Result<u64> {
    duration(text).map(|d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations() {
        assert_eq!(duration("1h2m3s").unwrap(), Duration::from_secs(3723));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert!(duration("5x").is_err() && duration("").unwrap().is_zero());
    }

    #[test]
    fn goals() {
        let pod = json!({"metadata": {"generation": 2}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let holds = |text: &str| Goal::parse(text).unwrap().holds(&pod);
        assert!(
            holds("condition=ready")
                && holds("jsonpath={.status.phase}=Running")
                && holds("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True")
        );
        assert!(!holds("condition=Ready=false") && !holds("jsonpath={.status.x}"));
        assert!(Goal::parse("nothing").is_err());
    }
}
