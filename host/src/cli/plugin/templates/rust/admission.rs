//! An admission policy for pintle: a ConfigMap gets the label `{{name}}/owner` with who made it, and nobody else may take that away.
//!
//! `rules` says which requests the policy is asked about and in which turn: while an object may still be changed, or when it is as it
//! will be stored. `admit` answers one of them. Whether a failure of the policy refuses the request or lets it pass, and in which
//! namespaces it counts, stands in `plugin.json` (`admission`), as in a webhook's configuration.

use pintle_sdk::Env;
use pintle_sdk::admission::{Admission, Operation, Phase, Reader, Request, Resource, Response, Rule};

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps");
const LABEL: &str = "{{name}}/owner";

#[derive(Default)]
pub struct Policy;

impl Admission for Policy {
    fn rules(&mut self, _env: &dyn Env) -> Result<Vec<Rule>, String> {
        Ok(vec![
            Rule::writes(CONFIG_MAPS, &[Phase::Mutate]).on(&[Operation::Create]),
            Rule::writes(CONFIG_MAPS, &[Phase::Validate]).on(&[Operation::Update]),
        ])
    }

    fn admit(&mut self, _cluster: &impl Reader, request: &Request) -> Response {
        let owner = request.user.username.replace(':', ".");
        if request.phase == Phase::Mutate {
            return Response::label(request, LABEL, &owner);
        }
        let (before, after) = (&request.old_object["metadata"]["labels"][LABEL], &request.object["metadata"]["labels"][LABEL]);
        if before != after && *before != owner {
            return Response::deny(format!("only {before} may change the label {LABEL}"));
        }
        Response::allow()
    }
}

pintle_sdk::export_admission!(Policy);

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_sdk::testing::{FakeCluster, admit};
    use serde_json::json;

    #[test]
    fn the_maker_owns_it() {
        let cluster = FakeCluster::new();
        let made = json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}});
        let (made, _) = admit(&mut Policy, &cluster, Request::create(CONFIG_MAPS, made)).unwrap();
        assert_eq!(made["metadata"]["labels"][LABEL], "somebody");
        let mut stranger = Request::update(CONFIG_MAPS, made.clone(), json!({"metadata": {"name": "a", "labels": {}}}));
        stranger.user.username = "else".to_owned();
        assert_eq!(admit(&mut Policy, &cluster, stranger).unwrap_err().code, 403);
        admit(&mut Policy, &cluster, Request::update(CONFIG_MAPS, made, json!({"metadata": {"name": "a"}}))).unwrap();
    }
}
