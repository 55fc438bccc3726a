//! Which of the Pod Security Standards a namespace asks for, by its labels.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-admission/>. Pure.

use std::fmt;

use pintle_api::Cause;
use pintle_api::object::ObjectExt;
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version whose rules count; those of the newest for `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub level: Level,
    pub minor: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    pub enforce: Asked,
    pub audit: Asked,
    pub warn: Asked,
}

const NOTHING: Asked = Asked { level: Level::Privileged, minor: None };

impl Modes {
    /// Always something to go by: a wrong label enforces the strictest, and neither warns nor is audited. The causes tell of it.
    pub fn of(namespace: &Value) -> (Self, Vec<Cause>) {
        let labels = namespace.map_at(&["metadata", "labels"]);
        // Most namespaces ask for nothing, and each new pod's is asked.
        if !labels.is_some_and(|all| all.keys().any(|key| key.starts_with(PREFIX))) {
            return (Self { enforce: NOTHING, audit: NOTHING, warn: NOTHING }, Vec::new());
        }
        let mut causes = Vec::new();
        let label = |name: &str| labels.and_then(|all| all.get(&format!("{PREFIX}{name}"))).and_then(Value::as_str);
        let mut mode = |name: &str, level_if_wrong: Level| {
            let mut asked = NOTHING;
            if let Some(text) = label(name) {
                asked.level = Level::parse(text).unwrap_or_else(|| {
                    causes.push(wrong(name, text, "must be one of privileged, baseline, restricted"));
                    level_if_wrong
                });
            }
            let versioned = format!("{name}-version");
            if let Some(text) = label(&versioned) {
                asked.minor = minor(text).unwrap_or_else(|| {
                    causes.push(wrong(&versioned, text, "must be \"latest\" or \"v1.x\""));
                    None
                });
            }
            asked
        };
        let enforce = mode("enforce", Level::Restricted);
        let audit = mode("audit", Level::Privileged);
        let mut warn = mode("warn", Level::Privileged);
        // Who enforces is warned of the same, unless the namespace says something else.
        let enforces = label("enforce").and_then(Level::parse).is_some_and(|level| level > warn.level);
        if label("warn").is_none() && enforces {
            warn.level = enforce.level;
            if label("warn-version").is_none() {
                warn.minor = enforce.minor;
            }
        }
        (Self { enforce, audit, warn }, causes)
    }
}

impl Modes {
    pub fn ask_nothing(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|asked| asked.level == Level::Privileged)
    }
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level;
        match self.minor {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// `Some(None)`: the newest.
fn minor(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let digits = text.strip_prefix("v1.")?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok().map(Some)).flatten()
}

fn wrong(label: &str, value: &str, why: &str) -> Cause {
    Cause::invalid(format!("metadata.labels[{PREFIX}{label}]"), &value.into(), why)
}
