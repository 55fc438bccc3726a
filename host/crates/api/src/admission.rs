//! The port through which the API server asks admission policies that run in its own process.
//!
//! The server decides whom to ask, about what and when, and what a failure means; whoever implements the port runs the policy. No
//! policy is asked about a write of its own: policies cannot write.

use bytes::Bytes;
use serde_json::Value;

pub use crate::client::BoxFuture;

/// Runs policies by the names of their Plugins.
pub trait Policies: Send + Sync {
    /// What the policy says. An error: it could not be asked, or its answer is none.
    fn ask<'a>(&'a self, plugin: &'a str, review: Review) -> BoxFuture<'a, Result<Verdict, String>>;
}

/// The two turns of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The object may be changed or refused.
    Mutate,
    /// It may only be refused.
    Validate,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Review {
    pub phase: Phase,
    /// `request` of an `admission.k8s.io/v1` AdmissionReview, without the objects.
    pub request: Value,
    /// JSON; `None` for deletions.
    pub object: Option<Bytes>,
    /// JSON; `None` for creations.
    pub old_object: Option<Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub refusal: Option<Refusal>,
    pub change: Change,
    pub warnings: Vec<String>,
    pub audit_annotations: Vec<(String, String)>,
}

/// Why a write does not go on, as the policy says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599.
    pub code: u16,
    /// As in a `Status`; may be empty.
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change {
    #[default]
    None,
    /// A JSON patch.
    Patch(Value),
    /// The whole object.
    Object(Value),
}

impl Phase {
    /// As `status.admission.rules[].phases` of a Plugin has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutate => "Mutate",
            Self::Validate => "Validate",
        }
    }
}
