//! What the decision log holds, as it lies on disk: who decides, what it was told, what it asked, and what it answered.
//!
//! Plain data. Enough of each decision is kept to make it again: for a scheduler the feed since a checkpoint and the pod as it was
//! handed over, for a controller the answers of its imports in order, for an ingress controller the objects that it compiled.
//! Objects are kept once a segment ([`Content`]) and referred to by [`Ref`].

use std::sync::Arc;

use bytes::Bytes;
use pintle_plugin_bindings::controller::pintle::controller::types::{ApiError, Failure};
pub use pintle_plugin_bindings::ingress::pintle::ingress::types::Problem;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Delta, Outcome, Ranking as Ranks, Rejection, Scope};
use serde::{Deserialize, Serialize};

use crate::load::World;

/// Written into each segment; a reader refuses others. It changes with the records or with the scheduler world's types.
pub const FORMAT: u16 = 6;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Record {
    Session(Session),
    Content(Content),
    Fed(Fed),
    Decision(Box<Decision>),
}

/// A revision of a plugin at work, from when it took its task until it left it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Microseconds since 1970 when it began, made unique.
    pub id: u64,
    pub plugin: Arc<str>,
    /// `sha256:...`
    pub digest: Arc<str>,
    pub revision: i64,
    pub world: World,
    pub config: Arc<str>,
    /// The scheduler's name, or the resource (`replicasets.apps`) that a controller reconciles.
    pub task: Arc<str>,
}

/// One version of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Content {
    pub id: u64,
    pub json: Bytes,
}

/// A scheduler was told of changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fed {
    pub session: u64,
    pub feed: Feed,
    pub heard: Vec<Heard>,
    pub deltas: Vec<Delta>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feed {
    #[default]
    More,
    /// Everything, to an instance that knew nothing; or what was fed is not known whole, and this is the new beginning.
    Fresh,
    /// Everything that the instance was fed so far, written once more.
    Checkpoint,
    CheckpointGoesOn,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Microseconds since 1970, made unique.
    pub number: u64,
    pub session: u64,
    pub took_micros: u64,
    /// Of everything that the component was given for this decision.
    pub inputs: [u8; 16],
    /// The log holds all inputs.
    pub intact: bool,
    /// What it was about.
    pub subject: Subject,
    /// What the component asked of the host during the call.
    pub heard: Vec<Heard>,
    pub what: What,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// `pods`, `deployments.apps`.
    pub resource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

/// Placements, the greatest of them, are also the most.
#[expect(clippy::large_enum_variant, reason = "one is made for each decision and read once; a box would be one more allocation for nearly all")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    Placement(Placement),
    Reconcile(Reconcile),
    Compile(Compile),
    Ranking(Ranking),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// The world's `pod`, encoded: whoever only wants the result need not decode it.
    pub pod: Bytes,
    pub scope: Scope,
    /// Of the cluster.
    pub nodes: u32,
    pub answer: Answer<Result<Outcome, String>>,
    /// Names of the ranked nodes.
    pub names: Vec<String>,
    pub preemption: Option<Tried>,
    /// What the profile's extenders made of the answer.
    pub weighed: Option<Weighed>,
    pub verdict: Verdict,
}

/// The primary's answer and its extenders' words, made one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// The primary's.
    pub weight: u32,
    /// In the order in which they were asked.
    pub components: Vec<Component>,
    /// The best nodes; none when no node was left.
    pub totals: Vec<Total>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Component {
    pub plugin: Arc<str>,
    pub weight: u32,
    /// About how many nodes it was asked, and how many of those it kept.
    pub asked: u32,
    pub kept: u32,
    pub rejections: Vec<Rejection>,
    /// Why it was passed over; empty where it answered.
    pub ignored: String,
}

/// Sums and scores are in thousandths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Total {
    pub node: String,
    pub total: i64,
    /// The primary's, then those of each component that answered, before their weights.
    pub scores: Vec<i64>,
}

/// A component was asked about certain nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ranking {
    /// The world's `pod`, encoded.
    pub pod: Bytes,
    pub nodes: Vec<u32>,
    pub answer: Answer<Result<Ranks, String>>,
    /// The best, with their scores.
    pub best: Vec<(String, i64)>,
}

/// The component was asked whom to evict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    pub heard: Vec<Heard>,
    /// The nodes that it could choose from, where not all.
    pub among: Option<Vec<u32>>,
    pub answer: Answer<Result<Attempt, String>>,
    pub node: String,
    /// `namespace/name`; empty when the host refused them.
    pub victims: Vec<String>,
}

/// What the host made of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// On the node of that name.
    Placed(String),
    /// Claims are bound near that node first.
    BindsVolumes(String),
    /// The host knows none of the ranked nodes to have room.
    NoRoom,
    /// With the words of the pod's condition.
    Unschedulable(String),
    Failed(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reconcile {
    /// Calls of one instance have the same number.
    pub instance: u64,
    pub answer: Answer<Result<Option<u64>, Failure>>,
}

/// `objects` are those that differ from the session's last compilation in the segment; see `front` and `back`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compile {
    /// How many objects of each kind there are, in order.
    pub kinds: Vec<(String, u32)>,
    /// So many of the versions before, and so many after `objects`, are those of the session's last compilation in the segment.
    pub front: u32,
    pub back: u32,
    pub objects: Vec<Ref>,
    pub answer: Answer<Result<Table, String>>,
}

/// A route table but for its routes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Of everything in it but keys, certificates and passwords.
    pub hash: [u8; 16],
    pub hosts: u32,
    pub routes: u32,
    pub backends: u32,
    pub certificates: u32,
    pub served: Vec<String>,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<T> {
    Returned(T),
    /// It trapped, ran out of time or out of memory.
    Fault(String),
}

/// One call of an import and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Heard {
    Now(u64),
    Random(Vec<u8>),
    Asked(Box<Question>, Reply),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub verb: Verb,
    /// Group, version, plural.
    pub resource: (String, String, String),
    pub namespace: String,
    pub name: String,
    pub subresource: String,
    /// A list's label selector, field selector and owner; a delete's uid, grace period and propagation; an event's kind, reason and message.
    pub options: [String; 3],
    /// What is written.
    pub body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    Get,
    GetLive,
    List,
    ListSummaries,
    Create,
    Update,
    PatchJson,
    PatchMerge,
    PatchStrategic,
    PatchApply,
    Delete,
    Event,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Object(Ref),
    Objects(Vec<Ref>),
    /// A write, and the name of what it wrote.
    Written(Ref, String),
    Done,
    Error(ApiError),
}

/// A version of an object, whose [`Content`] stands earlier in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ref {
    pub id: u64,
    pub revision: u64,
}

impl Feed {
    /// What was fed before counts no more.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Fresh | Self::Checkpoint)
    }
}

impl Verb {
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::GetLive | Self::List | Self::ListSummaries | Self::Event)
    }

    /// As RBAC has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get | Self::GetLive => "get",
            Self::List | Self::ListSummaries => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::PatchJson | Self::PatchMerge | Self::PatchStrategic | Self::PatchApply => "patch",
            Self::Delete => "delete",
            Self::Event => "event",
        }
    }
}

impl Question {
    /// `pods`, `deployments.apps`.
    pub fn qualified_resource(&self) -> String {
        let (group, _, plural) = &self.resource;
        qualified(group, plural)
    }

    /// The same question. What was written to Secrets is not in the log.
    pub fn is_answered_by(&self, other: &Self) -> bool {
        if !self.is_about_secrets() {
            return self == other;
        }
        let open = |q: &Self| Self { body: Bytes::new(), ..q.clone() };
        open(self) == open(other)
    }

    pub fn is_about_secrets(&self) -> bool {
        self.resource.0.is_empty() && self.resource.2 == "secrets"
    }
}

impl Reply {
    pub fn refs(&self) -> &[Ref] {
        match self {
            Self::Object(one) | Self::Written(one, _) => std::slice::from_ref(one),
            Self::Objects(all) => all,
            Self::Done | Self::Error(_) => &[],
        }
    }
}

impl<T> Answer<T> {
    pub fn returned(&self) -> Option<&T> {
        match self {
            Self::Returned(value) => Some(value),
            Self::Fault(_) => None,
        }
    }
}

pub fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// Under which a decision is found again: what it was about, and what it wrote.
pub fn key(resource: &str, namespace: &str, name: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (resource, namespace, name).hash(&mut hasher);
    hasher.finish()
}

impl Decision {
    /// The keys of what it was about and of what it wrote.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        let own = key(&self.subject.resource, &self.subject.namespace, &self.subject.name);
        let written = self.heard.iter().filter_map(|heard| match heard {
            Heard::Asked(question, reply) if question.verb.is_write() => {
                let name = if let Reply::Written(_, name) = reply { name } else { &question.name };
                Some(key(&question.qualified_resource(), &question.namespace, name))
            }
            _ => None,
        });
        let ingresses = match &self.what {
            What::Compile(Compile { answer: Answer::Returned(Ok(table)), .. }) => table.served.as_slice(),
            _ => &[],
        };
        let served = ingresses.iter().filter_map(|path| path.split_once('/')).map(|(ns, name)| key(INGRESSES, ns, name));
        std::iter::once(own).chain(written).chain(served)
    }
}

impl Decision {
    /// The versions of objects that it refers to by itself.
    pub fn refs(&self) -> impl Iterator<Item = u64> + '_ {
        let heard = self.heard.iter().flat_map(|heard| match heard {
            Heard::Asked(_, reply) => reply.refs(),
            Heard::Now(_) | Heard::Random(_) => &[],
        });
        let compiled = match &self.what {
            What::Compile(compile) => compile.objects.as_slice(),
            What::Placement(_) | What::Reconcile(_) | What::Ranking(_) => &[],
        };
        heard.chain(compiled).map(|r| r.id)
    }
}

pub const INGRESSES: &str = "ingresses.networking.k8s.io";
