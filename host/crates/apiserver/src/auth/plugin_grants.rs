//! Who may write a Plugin: its grants are rights that its code has, so nobody hands out with one what they do not hold themselves, nor brings
//! code of their own under rights that somebody else granted.
//!
//! The rule is RBAC's for roles, with the verb `escalate` on `plugins` for those who may all the same. Called by [`super::gate`].

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};

use super::rbac::{self, RbacIndex};
use super::rules::{Rule, uncovered};
use super::{Attributes, Authorizer, Decision, PLUGIN_GROUP, User};

/// What says which code runs and what it may do.
const JUDGED: [&str; 4] = ["grants", "source", "digest", "candidate"];

pub fn check(index: &RbacIndex, authorizer: &dyn Authorizer, user: &User, new: &Object, old: Option<&Object>) -> Result<(), Status> {
    let same = |field: &str| old.is_some_and(|old| old.at(&["spec", field]) == new.at(&["spec", field]));
    if JUDGED.into_iter().all(same) {
        return Ok(());
    }
    let name = if old.is_some() { new.name() } else { "" };
    let escalates = Attributes::of_resource(user, "escalate", PLUGIN_GROUP, "v1alpha1", "plugins", "", name);
    if authorizer.authorize(&escalates) == Decision::Allow {
        return Ok(());
    }
    let missing: Vec<Rule> = Rule::list(new, &["spec", "grants"]).into_iter().flat_map(|grant| not_held(index, user, grant)).collect();
    if missing.is_empty() { Ok(()) } else { Err(Status::forbidden(PLUGIN_GROUP, "plugins", new.name(), &rbac::attempt(user, missing))) }
}

/// What the user lacks of a grant, in the namespaces that it names or everywhere.
fn not_held(index: &RbacIndex, user: &User, mut grant: Rule) -> Vec<Rule> {
    let namespaces = std::mem::take(&mut grant.namespaces);
    let everywhere = namespaces.is_empty() || namespaces.iter().any(|n| n == "*");
    let namespaces = if everywhere { vec![String::new()] } else { namespaces };
    let lacks = |namespace: &String| uncovered(&index.rules_of(user, namespace), std::slice::from_ref(&grant));
    namespaces.iter().map(lacks).find(|missing| !missing.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::rbac::tests::OnlyRbac;
    use super::*;

    fn index() -> RbacIndex {
        let index = RbacIndex::default();
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]);
        index.observe("clusterroles", "", "reader", Some(&json!({"metadata": {"name": "reader"}, "rules": rules})));
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
        index.observe("roles", "a", "keeper", Some(&json!({"metadata": {"name": "keeper", "namespace": "a"}, "rules": rules})));
        let rules = json!([{"apiGroups": ["pintle.dev"], "resources": ["plugins"], "verbs": ["escalate"]}]);
        index.observe("clusterroles", "", "trusted", Some(&json!({"metadata": {"name": "trusted"}, "rules": rules})));
        let bound =
            |kind: &str, role: &str, user: &str| json!({"roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": "User", "name": user}]});
        index.observe("clusterrolebindings", "", "readers", Some(&bound("ClusterRole", "reader", "ann")));
        index.observe("rolebindings", "a", "keepers", Some(&bound("Role", "keeper", "ann")));
        index.observe("clusterrolebindings", "", "trusted", Some(&bound("ClusterRole", "trusted", "bob")));
        index
    }

    fn plugin(source: &str, grants: Value) -> Object {
        json!({"metadata": {"name": "p"}, "spec": {"source": {"inline": source}, "grants": grants}})
    }

    fn grant(resource: &str, verbs: &[&str], namespaces: &[&str]) -> Value {
        json!({"apiGroups": [""], "resources": [resource], "verbs": verbs, "namespaces": namespaces})
    }

    #[test]
    fn nobody_grants_what_they_lack() {
        let index = Arc::new(index());
        let check = |user: &str, new: &Object, old: Option<&Object>| {
            let user = User { name: user.into(), ..User::default() };
            check(&index, &OnlyRbac(index.clone()), &user, new, old).map_err(|refused| refused.message)
        };
        let all = json!([grant("*", &["*"], &[])]);
        let held = json!([grant("pods", &["get"], &[]), grant("secrets", &["get"], &["a"])]);
        assert_eq!(check("ann", &plugin("x", held.clone()), None), Ok(()));
        assert_eq!(check("ann", &plugin("x", json!([])), None), Ok(()));
        assert!(check("ann", &plugin("x", json!([grant("secrets", &["get"], &["a", "b"])])), None).is_err());
        assert_eq!(
            check("ann", &plugin("x", json!([grant("pods", &["get", "delete"], &[])])), None).unwrap_err(),
            "plugins.pintle.dev \"p\" is forbidden: user \"ann\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
        );
        assert_eq!(check("bob", &plugin("x", all.clone()), None), Ok(()));
        // Pausing is anyone's who may write the object; other code under the same grants is not.
        let present = plugin("x", all.clone());
        let mut paused = present.clone();
        paused["spec"]["paused"] = json!(true);
        assert_eq!(check("ann", &paused, Some(&present)), Ok(()));
        assert!(check("ann", &plugin("mine", all), Some(&present)).is_err());
        assert_eq!(check("ann", &plugin("mine", held), Some(&present)), Ok(()));
    }
}
