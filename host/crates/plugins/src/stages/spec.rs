//! The fields of a Plugin that speak of stages: the candidate beside the live revision, when it is promoted, when the live one is rolled
//! back, and what became of it. Plain data; [`super::tally`] counts, [`super::candidate`] acts.

use serde::{Deserialize, Serialize};

use crate::plugin::{LimitsSpec, Source};

/// Decisions that `promoteWhen` looks back on when it names none.
pub const DEFAULT_DECISIONS: u32 = 100;
/// The most that it may look back on: a bit each is kept.
pub const MAX_DECISIONS: u32 = 100_000;
/// Faults without [`crate::revision::ABSOLUTION`] good calls between them after which a revision is rolled back, when the Plugin names none.
pub const DEFAULT_FAULTS: u32 = 5;
/// Failed reconciliations or decisions of [`DEFAULT_FAILED_OF`] after which a revision is rolled back, in percent.
pub const DEFAULT_FAILED_PERCENT: u32 = 80;
pub const DEFAULT_FAILED_OF: u32 = 100;

/// How far a candidate has come. `Live` asks for its promotion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Sees what the live revision sees; what it decides is compared and not done.
    #[default]
    Shadow,
    /// Decides a share of the pods, keys, Ingresses or requests.
    Canary,
    Live,
}

/// `spec.candidate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Candidate {
    pub source: Source,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Absent: the live revision's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Absent: the live revision's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    pub stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promote_when: Option<PromoteWhen>,
}

impl Candidate {
    /// Both would decide alike, whatever their stages.
    pub fn is_same_revision(&self, other: &Self) -> bool {
        let of = |c: &Self| (c.source.clone(), c.digest.clone(), c.config.clone(), c.limits.clone());
        of(self) == of(other)
    }
}

/// Which pods, keys, Ingresses or requests a canary decides. Either is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Canary {
    /// 0 to 100, by a hash of the pod's uid, the key, or the object that is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PromoteWhen {
    /// The share of the last `decisions` that agreed with the live revision (in a canary: that did not fail), 0 to 1. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// How many decisions are looked back on, and are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<u32>,
    /// Absent: true. No trap, missed deadline or outgrown memory since the candidate began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_faults: Option<bool>,
}

/// `NaN` is no JSON, so equality holds.
impl Eq for PromoteWhen {}

/// `spec.rollback`: when the live revision gives way to the one before it, and a canary to the live one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackSpec {
    /// Traps, missed deadlines or outgrown memory, without 20 good calls between them. 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<u32>,
    /// Failed reconciliations or decisions of the last `failedOf`, in percent. 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_percent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_of: Option<u32>,
}

/// `status.candidate`. Written whole: a merge patch would keep what is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CandidateStatus {
    pub digest: String,
    /// `Loading`, `Shadow`, `Canary`, `Promoting`, `RolledBack`, `Failed`, `Paused`.
    pub stage: String,
    /// Since when it is in this stage.
    pub since: String,
    /// Decisions that were compared with the live revision's; in a canary: that it took.
    pub compared: u64,
    /// Of those, the ones that were the same; in a canary: that did not fail.
    pub agreed: u64,
    /// Of the last decisions, as a percentage for people: `99.2%`.
    pub agreement: String,
    /// Decisions that it could not follow, because it is slower than the live revision.
    pub skipped: u64,
    /// Same choice, but another number of feasible nodes.
    pub feasible_differs: u64,
    /// Traps, missed deadlines, outgrown memory.
    pub faults: u64,
    /// Fuel for one call in the shadow, on average: instructions, about.
    pub fuel_per_call: u64,
    /// Why it is `Failed` or `RolledBack`, or its last fault.
    pub message: String,
    /// The last ones, oldest first.
    pub differences: Vec<Difference>,
}

impl Eq for CandidateStatus {}

/// Where the two revisions disagreed, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Difference {
    pub time: String,
    /// `pod NAMESPACE/NAME`, `NAMESPACE/NAME`, `HOST/PATH`, `OPERATION RESOURCE NAMESPACE/NAME, PHASE`.
    pub subject: String,
    /// `Choice`, `Feasible`, `Preemption`, `Filter`, `Scores`, `Writes`, `Outcome`, `Keys`, `Watches`, `Route`, `Certificate`, `Served`, `Refused`,
    /// `Verdict`, `Refusal`, `Object`, `Rules`, `Fault`.
    pub kind: String,
    /// What the live revision decided.
    pub live: String,
    /// What the candidate would have decided.
    pub candidate: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// `status.lastRollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastRollback {
    pub time: String,
    /// The generation of the spec that was given up.
    pub generation: i64,
    pub from_digest: String,
    pub to_revision: i64,
    /// `Trapped`, `DeadlineExceeded`, `OutOfMemory`, `ReconcilesFailed`.
    pub reason: String,
    pub message: String,
}

impl Stage {
    /// As `status` and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shadow => "Shadow",
            Self::Canary => "Canary",
            Self::Live => "Live",
        }
    }
}

impl RollbackSpec {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
