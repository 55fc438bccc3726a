//! An admission policy that does what the object asks for in its annotation `probe`: the host's tests drive it through every fault that
//! a policy can have. It is asked about ConfigMaps, in both turns; `spec.config` makes it refuse more, ask for less, take long or panic.

use pintle_sdk::admission::{Admission, Change, Operation, Phase, Query, Reader, Request, Resource, Response, Rule};
use pintle_sdk::{Env, export_admission};
use serde_json::{Value, json};

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps");
const SECRETS: Resource = Resource::new("", "v1", "secrets");
/// Bytes of an answer that nobody can want.
const HUGE: usize = 1 << 30;
/// Steps of a call that is slow: some tens of milliseconds.
const SLOWNESS: u64 = 50_000_000;

#[derive(Default)]
pub struct Probe {
    calls: u64,
}

impl Admission for Probe {
    fn rules(&mut self, env: &dyn Env) -> Result<Vec<Rule>, String> {
        match env.config().as_str() {
            "refuse" => Err("asked to refuse".to_owned()),
            "nothing" => Ok(vec![Rule { resources: Vec::new(), ..Rule::writes(CONFIG_MAPS, &[Phase::Mutate]) }]),
            "narrow" => Ok(vec![Rule::writes(CONFIG_MAPS, &[Phase::Mutate])]),
            _ => Ok(vec![
                Rule::writes(CONFIG_MAPS, &[Phase::Mutate]),
                Rule::writes(CONFIG_MAPS, &[Phase::Validate]).on(&[Operation::Create, Operation::Update, Operation::Delete]),
            ]),
        }
    }

    fn admit(&mut self, cluster: &impl Reader, request: &Request) -> Response {
        self.calls += 1;
        let config = cluster.config();
        match config.as_str() {
            "panics" => panic!("configured to panic"),
            "slow" => busy(),
            _ => {}
        }
        let object = if request.object.is_null() { &request.old_object } else { &request.object };
        let asked = object["metadata"]["annotations"]["probe"].as_str().unwrap_or_default();
        let (phase, what) = asked.split_once(':').unwrap_or(("mutate", asked));
        if phase != (if request.phase == Phase::Mutate { "mutate" } else { "validate" }) {
            return Response::allow();
        }
        match what {
            "deny" => Response::deny("asked to deny"),
            "words" => Response::deny(format!("denied by {config:?}")),
            "strict" if config == "strict" => Response::deny("strict"),
            "teapot" => Response::refuse(418, "", "short and stout"),
            "count" => set(request, "calls", &self.calls.to_string()),
            "config" => set(request, "config", &config),
            "label" => Response::label(request, "probe/label", "set").warn("labelled").audit("label", "set"),
            "who" => set(request, "who", &format!("{:?} {} {}", request.operation, request.user.username, request.dry_run)),
            "secrets" => set(request, "secrets", &format!("{:?}", cluster.list(SECRETS, &Query::default()).map(|l| l.len()))),
            "read" => set(request, "read", &read(cluster, request)),
            "panic" => panic!("asked to panic"),
            "loop" => loop {
                std::hint::black_box(&self.calls);
            },
            "grow" => hoard(),
            "overflow" => set(request, "depth", &deep(1).to_string()),
            "recurse" => set(request, "depth", &endless(self.calls, u64::MAX).to_string()),
            "huge" => Response { change: Change::Object(json!({"data": {"x": "x".repeat(HUGE)}})), ..Response::allow() },
            "code" => Response::refuse(200, "", "fine"),
            "patch" => Response { change: Change::Patch(vec![json!({"op": "replace", "path": "/nowhere/at/all", "value": 1})]), ..Response::allow() },
            _ => Response::allow(),
        }
    }
}

fn set(request: &Request, key: &str, value: &str) -> Response {
    let mut object = request.object.clone();
    object["data"][key] = Value::String(value.to_owned());
    Response::object(object)
}

fn read(cluster: &impl Reader, request: &Request) -> String {
    let query = Query { namespace: &request.namespace, ..Query::default() };
    let found = cluster.list_summaries(CONFIG_MAPS, &query).map(|l| l.len());
    format!("{found:?} {:?}", cluster.get(CONFIG_MAPS, &request.namespace, "nobody").is_err())
}

fn hoard() -> Response {
    let mut kept = Vec::new();
    loop {
        kept.push(std::hint::black_box(vec![1u8; 16 << 20]));
    }
}

/// Needs the engine's stack alone.
#[inline(never)]
fn endless(depth: u64, limit: u64) -> u64 {
    if depth == limit { 0 } else { endless(depth + 1, limit).wrapping_mul(3) ^ depth }
}

/// Outgrows the stack in the guest's own memory.
#[allow(unconditional_recursion)]
fn deep(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    frame[0] + deep(std::hint::black_box(depth + 1))
}

export_admission!(Probe);

fn busy() {
    for n in 0..SLOWNESS {
        std::hint::black_box(n);
    }
}
