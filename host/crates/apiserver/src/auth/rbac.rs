//! Roles and bindings: an index by subject, patched on each change, so that a check costs microseconds.
//!
//! Also the rule that nobody hands out what they do not hold ([`check_escalation`]). It stores nothing and
//! watches nothing; the index is fed through [`RbacIndex::observe`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use serde_json::Value;

use super::rules::{Rule, uncovered};
use super::{Attributes, Authorizer, Decision, User, service_account_of, service_account_user_name};

pub const GROUP: &str = "rbac.authorization.k8s.io";

#[derive(Default)]
pub struct RbacIndex {
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    /// Namespace (empty: cluster roles) -> name -> rules.
    roles: HashMap<String, HashMap<String, Arc<[Rule]>>>,
    /// Namespace (empty: cluster role bindings).
    scopes: HashMap<String, Scope>,
}

#[derive(Default)]
struct Scope {
    bindings: HashMap<String, Binding>,
    /// Names of bindings by their subject.
    users: HashMap<String, Vec<String>>,
    groups: HashMap<String, Vec<String>>,
}

struct Binding {
    cluster_role: bool,
    role: String,
    users: Vec<String>,
    groups: Vec<String>,
}

impl RbacIndex {
    /// `object: None` is a deletion.
    pub fn observe(&self, resource: &str, namespace: &str, name: &str, object: Option<&Object>) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        match resource {
            "roles" | "clusterroles" => tables.set_role(namespace, name, object.map(|o| Rule::list(o, &["rules"]).into())),
            "rolebindings" | "clusterrolebindings" => {
                tables.scopes.entry(namespace.to_owned()).or_default().set(name, object.map(|o| Binding::read(o, namespace)));
            }
            _ => {}
        }
    }

    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        let mut allowed = false;
        self.visit(asked.user, asked.namespace, |_, rule| {
            allowed = rule.allows(asked);
            !allowed
        });
        allowed
    }

    /// The binding by which this is allowed, in upstream's words: `ClusterRoleBinding "b" of ClusterRole "r" to Group "g"`.
    pub fn reason(&self, asked: &Attributes<'_>) -> Option<String> {
        let mut reason = None;
        self.visit(asked.user, asked.namespace, |by, rule| {
            if rule.allows(asked) {
                reason = Some(by.to_string());
            }
            reason.is_none()
        });
        reason
    }

    /// Every rule that the user holds in the namespace (empty: cluster-wide ones only).
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        self.visit(user, namespace, |_, rule| {
            rules.push(rule.clone());
            true
        });
        rules
    }

    /// The rules behind a binding's `roleRef`; `None`: there is no such role.
    pub fn rules_of_role(&self, namespace: &str, role_ref: &Value) -> Option<Arc<[Rule]>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let namespace = if role_ref.str_at(&["kind"]) == "ClusterRole" { "" } else { namespace };
        tables.roles.get(namespace)?.get(role_ref.str_at(&["name"])).cloned()
    }

    /// Calls `each` with the rules of all bindings of the user until it returns false.
    fn visit(&self, user: &User, namespace: &str, mut each: impl FnMut(&By<'_>, &Rule) -> bool) {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let scopes = ["", namespace];
        for scope_name in &scopes[..if namespace.is_empty() { 1 } else { 2 }] {
            let Some(scope) = tables.scopes.get(*scope_name) else { continue };
            let of_user = scope.users.get(&user.name).map(|names| (Subject::User(&user.name), names)).into_iter();
            let of_groups = user.groups.iter().filter_map(|g| Some((Subject::Group(g), scope.groups.get(g)?)));
            for (subject, names) in of_user.chain(of_groups) {
                for name in names {
                    let Some(binding) = scope.bindings.get(name) else { continue };
                    let Some(rules) = tables.rules(scope_name, binding) else { continue };
                    let by = By { namespace: scope_name, name, binding, subject };
                    if !rules.iter().all(|rule| each(&by, rule)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Through which binding a rule is held.
struct By<'a> {
    namespace: &'a str,
    name: &'a str,
    binding: &'a Binding,
    subject: Subject<'a>,
}

#[derive(Clone, Copy)]
enum Subject<'a> {
    User(&'a str),
    Group(&'a str),
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace {
            "" => write!(f, "ClusterRoleBinding {:?}", self.name)?,
            namespace => write!(f, "RoleBinding {:?}", format!("{}/{namespace}", self.name))?,
        }
        write!(f, " of {} {:?} to ", if self.binding.cluster_role { "ClusterRole" } else { "Role" }, self.binding.role)?;
        match self.subject {
            Subject::Group(group) => write!(f, "Group {group:?}"),
            Subject::User(user) => match service_account_of(user) {
                Some((namespace, name)) => write!(f, "ServiceAccount {:?}", format!("{name}/{namespace}")),
                None => write!(f, "User {user:?}"),
            },
        }
    }
}

impl Tables {
    fn set_role(&mut self, namespace: &str, name: &str, rules: Option<Arc<[Rule]>>) {
        let of_namespace = self.roles.entry(namespace.to_owned()).or_default();
        match rules {
            Some(rules) => of_namespace.insert(name.to_owned(), rules),
            None => of_namespace.remove(name),
        };
        if of_namespace.is_empty() {
            self.roles.remove(namespace);
        }
    }
    fn rules(&self, namespace: &str, binding: &Binding) -> Option<&Arc<[Rule]>> {
        self.roles.get(if binding.cluster_role { "" } else { namespace })?.get(&binding.role)
    }
}

impl Scope {
    fn set(&mut self, name: &str, binding: Option<Binding>) {
        if let Some(old) = self.bindings.remove(name) {
            unlink(&mut self.users, &old.users, name);
            unlink(&mut self.groups, &old.groups, name);
        }
        let Some(new) = binding else { return };
        for user in &new.users {
            self.users.entry(user.clone()).or_default().push(name.to_owned());
        }
        for group in &new.groups {
            self.groups.entry(group.clone()).or_default().push(name.to_owned());
        }
        self.bindings.insert(name.to_owned(), new);
    }
}

fn unlink(index: &mut HashMap<String, Vec<String>>, subjects: &[String], binding: &str) {
    for subject in subjects {
        if let Some(names) = index.get_mut(subject) {
            names.retain(|n| n != binding);
            if names.is_empty() {
                index.remove(subject);
            }
        }
    }
}

impl Binding {
    fn read(object: &Object, namespace: &str) -> Self {
        let mut binding = Self {
            cluster_role: object.str_at(&["roleRef", "kind"]) == "ClusterRole",
            role: object.str_at(&["roleRef", "name"]).to_owned(),
            users: Vec::new(),
            groups: Vec::new(),
        };
        for subject in object.list_at(&["subjects"]) {
            let name = subject.str_at(&["name"]);
            match subject.str_at(&["kind"]) {
                "User" => binding.users.push(name.to_owned()),
                "Group" => binding.groups.push(name.to_owned()),
                "ServiceAccount" => {
                    let of = subject.str_at(&["namespace"]);
                    binding.users.push(service_account_user_name(if of.is_empty() { namespace } else { of }, name));
                }
                _ => {}
            }
        }
        binding
    }
}

/// Whether the user may write this role or binding: holds every right that it hands out, or may `escalate` roles or
/// `bind` the role. Called before the commit of a create or update; `resource` is the plural name.
pub fn check_escalation(
    index: &RbacIndex,
    authorizer: &dyn Authorizer,
    user: &User,
    resource: &str,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    if user.in_group("system:masters") {
        return Ok(());
    }
    let (namespace, name) = (new.namespace(), new.name());
    let ask = |verb: &str, resource: &str, name: &str| {
        authorizer.authorize(&Attributes::of_resource(user, verb, GROUP, "v1", resource, namespace, name)) == Decision::Allow
    };
    let wanted: Arc<[Rule]> = match resource {
        "roles" | "clusterroles" => {
            // A creation names no object, so a right to escalate named ones does not cover it.
            if old.is_some_and(|old| only_garbage_differs(new, old)) || ask("escalate", resource, if old.is_some() { name } else { "" }) {
                return Ok(());
            }
            let aggregates = |o: &Object| o.at(&["aggregationRule"]).is_some_and(|a| !a.is_null());
            let everything = [Rule::everything(), Rule::every_url()];
            if (aggregates(new) || old.is_some_and(aggregates)) && !uncovered(&index.rules_of(user, ""), &everything).is_empty() {
                return Err(Status::forbidden(GROUP, resource, name, "must have cluster-admin privileges to use the aggregationRule"));
            }
            Rule::list(new, &["rules"]).into()
        }
        "rolebindings" | "clusterrolebindings" => {
            let role_ref = new.at(&["roleRef"]).unwrap_or(&Value::Null);
            let kind = if role_ref.str_at(&["kind"]) == "ClusterRole" { "clusterroles" } else { "roles" };
            let unchanged = old.is_some_and(|o| o.at(&["roleRef"]) == new.at(&["roleRef"]) && o.at(&["subjects"]) == new.at(&["subjects"]));
            if unchanged || ask("bind", kind, role_ref.str_at(&["name"])) {
                return Ok(());
            }
            index.rules_of_role(namespace, role_ref).ok_or_else(|| Status::not_found(GROUP, resource, role_ref.str_at(&["name"])))?
        }
        _ => return Ok(()),
    };
    let missing = uncovered(&index.rules_of(user, namespace), &wanted);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Status::forbidden(GROUP, resource, name, &attempt(user, missing)))
}

/// The words of a refusal to hand out these rights.
pub(super) fn attempt(user: &User, missing: Vec<Rule>) -> String {
    let mut listed: Vec<String> = compact(missing).iter().map(Rule::to_string).collect();
    listed.sort();
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    let (groups, listed) = (groups.join(" "), listed.join("\n"));
    format!("user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{listed}", user.name)
}

/// Whether nothing changed but what garbage collection writes.
fn only_garbage_differs(new: &Object, old: &Object) -> bool {
    let without = |object: &Object| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            ["finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation"]
                .iter()
                .for_each(|field| drop(metadata.remove(*field)));
        }
        object
    };
    without(new) == without(old)
}

/// Rules for the same single resource become one with all their verbs.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut compacted: Vec<Rule> = Vec::new();
    for rule in rules {
        let simple = rule.resource_names.is_empty() && rule.non_resource_urls.is_empty();
        let same = |other: &&mut Rule| {
            simple
                && other.resource_names.is_empty()
                && other.non_resource_urls.is_empty()
                && other.api_groups == rule.api_groups
                && other.resources == rule.resources
        };
        match compacted.iter_mut().find(same) {
            Some(other) => other.verbs.extend(rule.verbs),
            None => compacted.push(rule),
        }
    }
    compacted
}

impl Rule {
    fn everything() -> Self {
        let any = || vec!["*".to_owned()];
        Self { api_groups: any(), resources: any(), verbs: any(), ..Self::default() }
    }
    fn every_url() -> Self {
        let any = || vec!["*".to_owned()];
        Self { non_resource_urls: any(), verbs: any(), ..Self::default() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// RBAC without the other authorizers.
    pub(in crate::auth) struct OnlyRbac(pub Arc<RbacIndex>);
    impl Authorizer for OnlyRbac {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            if self.0.allows(a) { Decision::Allow } else { Decision::NoOpinion }
        }
    }

    fn role(name: &str, namespace: &str, verbs: &[&str]) -> Object {
        json!({"metadata": {"name": name, "namespace": namespace}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    }

    fn index() -> Arc<RbacIndex> {
        let index = RbacIndex::default();
        index.observe("clusterroles", "", "reader", Some(&role("reader", "", &["get", "list"])));
        index.observe("roles", "a", "writer", Some(&role("writer", "a", &["create"])));
        let of = |kind: &str, name: &str, subject: Value| json!({"roleRef": {"kind": kind, "name": name}, "subjects": [subject]});
        index.observe("clusterrolebindings", "", "readers", Some(&of("ClusterRole", "reader", json!({"kind": "Group", "name": "dev"}))));
        let account = json!({"kind": "ServiceAccount", "name": "bot", "namespace": "a"});
        index.observe("rolebindings", "a", "writers", Some(&of("Role", "writer", account)));
        Arc::new(index)
    }

    fn may(index: &RbacIndex, user: &User, verb: &str, namespace: &str) -> bool {
        index.allows(&Attributes::of_resource(user, verb, "", "v1", "pods", namespace, ""))
    }

    #[test]
    fn bindings_follow_changes() {
        let index = index();
        let dev = User { name: "ann".into(), groups: vec!["dev".into()], ..User::default() };
        let bot = User { name: "system:serviceaccount:a:bot".into(), ..User::default() };
        assert!(may(&index, &dev, "list", "a") && may(&index, &dev, "list", "") && !may(&index, &dev, "create", "a"));
        assert!(may(&index, &bot, "create", "a") && !may(&index, &bot, "create", "b") && !may(&index, &bot, "list", "a"));
        index.observe("clusterrolebindings", "", "readers", None);
        index.observe("roles", "a", "writer", Some(&role("writer", "a", &["delete"])));
        assert!(!may(&index, &dev, "list", "a"));
        assert!(may(&index, &bot, "delete", "a") && !may(&index, &bot, "create", "a"));
    }

    #[test]
    fn nobody_grants_what_they_lack() {
        let index = index();
        let authorizer = OnlyRbac(index.clone());
        let dev = User { name: "ann".into(), groups: vec!["dev".into()], ..User::default() };
        let check = |resource: &str, object: &Object| check_escalation(&index, &authorizer, &dev, resource, object, None);
        assert!(check("clusterroles", &role("less", "", &["get"])).is_ok());
        let refused = check("clusterroles", &role("more", "", &["get", "delete"])).unwrap_err();
        assert_eq!(
            refused.message,
            "clusterroles.rbac.authorization.k8s.io \"more\" is forbidden: user \"ann\" (groups=[\"dev\"]) is attempting to grant RBAC permissions \
             not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
        );
        let binding = |role: &str| json!({"metadata": {"name": "x", "namespace": "a"}, "roleRef": {"kind": "Role", "name": role}});
        assert!(check("rolebindings", &binding("writer")).is_err());
        assert_eq!(check("rolebindings", &binding("none")).unwrap_err().code, 404);
    }
}
