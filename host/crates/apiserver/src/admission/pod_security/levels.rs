//! Which of the Pod Security Standards a namespace asks for, by its labels or by default.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-admission/>. Pure.

use std::fmt;

use pintle_api::Cause;
use pintle_api::object::ObjectExt;
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

pub const WRONG_LEVEL: &str = "must be one of privileged, baseline, restricted";
pub const WRONG_VERSION: &str = "must be \"latest\" or \"v1.x\"";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version whose rules count; those of the newest for `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub level: Level,
    pub minor: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    pub enforce: Asked,
    pub audit: Asked,
    pub warn: Asked,
}

impl Modes {
    /// What the labels say, and the defaults for what they do not. Always something to go by: a wrong label enforces the strictest, and neither
    /// warns nor is audited. The causes tell of it.
    pub fn of(namespace: &Value, defaults: &Self) -> (Self, Vec<Cause>) {
        let labels = namespace.map_at(&["metadata", "labels"]);
        // Most namespaces ask for nothing, and each new pod's is asked.
        if !labels.is_some_and(|all| all.keys().any(|key| key.starts_with(PREFIX))) {
            return (*defaults, Vec::new());
        }
        let mut causes = Vec::new();
        let label = |name: &str| labels.and_then(|all| all.get(&format!("{PREFIX}{name}"))).and_then(Value::as_str);
        let mut mode = |name: &str, mut asked: Asked, level_if_wrong: Level| {
            if let Some(text) = label(name) {
                asked.level = Level::parse(text).unwrap_or_else(|| {
                    causes.push(wrong(name, text, WRONG_LEVEL));
                    level_if_wrong
                });
            }
            let versioned = format!("{name}-version");
            if let Some(text) = label(&versioned) {
                asked.minor = minor(text).unwrap_or_else(|| {
                    causes.push(wrong(&versioned, text, WRONG_VERSION));
                    None
                });
            }
            asked
        };
        let enforce = mode("enforce", defaults.enforce, Level::Restricted);
        let audit = mode("audit", defaults.audit, Level::Privileged);
        let mut warn = mode("warn", defaults.warn, Level::Privileged);
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
        self.all().iter().all(|asked| asked.level == Level::Privileged)
    }

    /// Whether anything is asked of what makes pods.
    pub fn warn_or_audit(&self) -> bool {
        self.audit.level != Level::Privileged || self.warn.level != Level::Privileged
    }

    /// Versions of what asks nothing make no difference.
    pub fn ask_the_same(&self, other: &Self) -> bool {
        self.all().iter().zip(other.all()).all(|(a, b)| *a == b || (a.level == Level::Privileged && b.level == Level::Privileged))
    }

    fn all(&self) -> [Asked; 3] {
        [self.enforce, self.audit, self.warn]
    }

    /// Those that the namespace's labels ask for, as they are told of one that is exempt.
    pub fn labelled(&self, namespace: &Value) -> String {
        let named = |mode: &str| {
            let labels = namespace.map_at(&["metadata", "labels"]);
            labels.is_some_and(|all| all.contains_key(&format!("{PREFIX}{mode}")) || all.contains_key(&format!("{PREFIX}{mode}-version")))
        };
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let told = modes.iter().filter(|(mode, asked)| asked.level != Level::Privileged && named(mode));
        told.map(|(mode, asked)| format!("{mode}={asked}")).collect::<Vec<_>>().join(", ")
    }
}

impl Level {
    pub fn parse(text: &str) -> Option<Self> {
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
pub fn minor(text: &str) -> Option<Option<u32>> {
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
