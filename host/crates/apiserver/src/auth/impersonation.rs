//! `Impersonate-*` headers: somebody acts as somebody else, if they may.
//!
//! Two ways, as upstream has them. The constrained ones ask for the right to do this very thing as somebody else
//! (`impersonate-on:MODE:VERB`) and for the right to be each part of that one (`impersonate:MODE`); nodes, service accounts and other users are
//! modes of their own. Failing those, the plain verb `impersonate` on user, groups, uid and extra allows everything that the
//! other may. The headers are removed by nobody: a request is authenticated once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use http::header::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use pintle_api::Status;

use super::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, Decision, SUPERUSERS, UNAUTHENTICATED, User, forbidden, service_account_groups,
    service_account_of,
};

/// What all of the headers begin with.
const ANY: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODES: &str = "system:nodes";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Users whose last way is remembered; when full, the table starts anew.
const REMEMBERED_MODES: usize = 1024;
/// From so many groups or extra values on, a right to all of them is asked for first.
const MANY: usize = 4;

/// As whom a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    pub user: User,
    /// The verb that allowed it, where the constrained way did.
    pub constraint: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The node on which the asking service account's pod runs.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

/// The way that last worked for a user, which is tried first: a refusal then speaks of the rights that they use.
#[derive(Default)]
pub struct LastModes(Mutex<HashMap<String, Mode>>);

impl LastModes {
    fn of(&self, user: &str) -> Option<Mode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user).copied()
    }
    fn worked(&self, user: &str, mode: Mode) {
        let mut modes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if modes.len() >= REMEMBERED_MODES {
            modes.clear();
        }
        modes.insert(user.to_owned(), mode);
    }
}

/// As whom the user of `asked` acts; `None`: as themselves.
pub fn apply(authorizer: &dyn Authorizer, last: &LastModes, headers: &HeaderMap, asked: &Attributes<'_>) -> Result<Option<Acting>, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut refusal = None;
    let before = last.of(&asked.user.name);
    let all = [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];
    for mode in before.into_iter().chain(all.into_iter().filter(|mode| Some(*mode) != before)) {
        if !mode.applies(&wanted, asked.user) {
            continue;
        }
        match mode.check(authorizer, &wanted, asked) {
            Ok(user) => {
                last.worked(&asked.user.name, mode);
                return Ok(Some(Acting { user, constraint: mode.constraint() }));
            }
            Err(status) => refusal = refusal.or(Some(status)),
        }
    }
    Err(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

impl Mode {
    fn applies(self, wanted: &User, requestor: &User) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node_of(&wanted.name), service_account_of(&wanted.name));
        match self {
            Self::AssociatedNode => {
                let own = requestor.extra.get(NODE_NAME).filter(|names| names.len() == 1).map(|names| names[0].as_str());
                only_name && node.is_some() && service_account_of(&requestor.name).is_some() && own == node
            }
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Legacy => "impersonate",
        }
    }

    fn constraint(self) -> &'static str {
        if self == Self::Legacy { "" } else { self.verb() }
    }

    fn check(self, authorizer: &dyn Authorizer, wanted: &User, asked: &Attributes<'_>) -> Result<User, Status> {
        if let Some(mode) = self.constraint().strip_prefix("impersonate:") {
            allow(authorizer, &Attributes { verb: &format!("impersonate-on:{mode}:{}", asked.verb), ..*asked })?;
        }
        let mut acting = wanted.clone();
        self.check_name(authorizer, wanted, asked.user, &mut acting)?;
        let part = |group, resource, subresource, name| self.part(asked.user, group, resource, subresource, name);
        if !wanted.uid.is_empty() {
            allow(authorizer, &part(AUTHENTICATION, "uids", "", &wanted.uid))?;
        }
        self.check_groups(authorizer, wanted, asked.user)?;
        self.check_extra(authorizer, wanted, asked.user)?;
        Ok(completed(acting))
    }

    fn check_name(self, authorizer: &dyn Authorizer, wanted: &User, requestor: &User, acting: &mut User) -> Result<(), Status> {
        if let Some((namespace, name)) = service_account_of(&wanted.name) {
            if wanted.groups.is_empty() {
                acting.groups = service_account_groups(namespace);
            }
            return allow(authorizer, &Attributes { namespace, ..self.part(requestor, self.group(), "serviceaccounts", "", name) });
        }
        if let (Some(node), false) = (node_of(&wanted.name), self == Self::Legacy) {
            acting.groups = vec![NODES.to_owned()];
            // The own node is one right, whichever node that is.
            let name = if self == Self::AssociatedNode { "*" } else { node };
            return allow(authorizer, &self.part(requestor, self.group(), "nodes", "", name));
        }
        allow(authorizer, &self.part(requestor, self.group(), "users", "", &wanted.name))
    }

    fn check_groups(self, authorizer: &dyn Authorizer, wanted: &User, requestor: &User) -> Result<(), Status> {
        let of = |name| self.part(requestor, self.group(), "groups", "", name);
        if self != Self::Legacy {
            if wanted.in_group("") {
                return Err(forbidden(&of(""), "impersonating the empty string group is not allowed"));
            }
            if wanted.in_group(SUPERUSERS) {
                return Err(forbidden(&of(SUPERUSERS), "impersonating the system:masters group is not allowed"));
            }
            if wanted.groups.len() >= MANY && allow(authorizer, &of("*")).is_ok() {
                return Ok(());
            }
        }
        wanted.groups.iter().try_for_each(|group| allow(authorizer, &of(group)))
    }

    fn check_extra(self, authorizer: &dyn Authorizer, wanted: &User, requestor: &User) -> Result<(), Status> {
        let of = |key, value| self.part(requestor, AUTHENTICATION, "userextras", key, value);
        if self != Self::Legacy {
            for (key, values) in &wanted.extra {
                let why = match key.as_str() {
                    "" => "impersonating the empty string key in extra is not allowed",
                    _ if values.iter().any(String::is_empty) => "impersonating the empty string value in extra is not allowed",
                    _ if !is_domain_prefixed(key) => {
                        let why = "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: ";
                        return Err(forbidden(&of("", ""), &format!("{why}{key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")")));
                    }
                    _ => continue,
                };
                return Err(forbidden(&of("", ""), why));
            }
            let count: usize = wanted.extra.values().map(Vec::len).sum();
            if count.max(wanted.extra.len()) >= MANY && allow(authorizer, &of("*", "*")).is_ok() {
                return Ok(());
            }
        }
        let each = wanted.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        each.into_iter().try_for_each(|(key, value)| allow(authorizer, &of(key, value)))
    }

    /// Where users, groups, accounts and nodes are looked for.
    fn group(self) -> &'static str {
        if self == Self::Legacy { "" } else { AUTHENTICATION }
    }

    /// The right to be somebody, in one part.
    fn part<'a>(self, requestor: &'a User, group: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes::of_resource(requestor, self.verb(), group, "v1", resource, "", name).with_subresource(subresource)
    }
}

fn allow(authorizer: &dyn Authorizer, asked: &Attributes<'_>) -> Result<(), Status> {
    match authorizer.authorize(asked) {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => Err(forbidden(asked, &reason)),
        Decision::NoOpinion => Err(forbidden(asked, "")),
    }
}

/// Adds the groups that go without saying.
fn completed(mut user: User) -> User {
    let general = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.in_group(general) && (general == UNAUTHENTICATED || !user.in_group(UNAUTHENTICATED)) {
        user.groups.push(general.to_owned());
    }
    user
}

fn node_of(user_name: &str) -> Option<&str> {
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-');
    let known =
        |name: &&str| name.split('.').all(label) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    user_name.strip_prefix("system:node:").filter(known)
}

/// `acme.io/foo`
fn is_domain_prefixed(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/' | b'%' | b'~' | b':' | b'@');
    key.split_once('/').is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty()) && key.bytes().all(allowed)
}

/// `&user.DefaultInfo{Name:"", ...}`, which upstream's message has.
fn as_go_shows(user: &User) -> String {
    let list = |values: &[String]| format!("[]string{{{}}}", values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(", "));
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra = match user.extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => {
            let pairs: Vec<String> = user.extra.iter().map(|(k, v)| format!("{k:?}:{}", list(v))).collect();
            format!("map[string][]string{{{}}}", pairs.join(", "))
        }
    };
    format!("&user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.uid)
}

/// None is passed over: somebody would act with the rights of who asks for them.
fn text(value: &HeaderValue) -> Result<String, Status> {
    let text = std::str::from_utf8(value.as_bytes()).map(str::to_owned);
    text.map_err(|_| Status::bad_request("an Impersonate header is not UTF-8"))
}

fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    // Nearly always.
    if !headers.keys().any(|name| name.as_str().starts_with(ANY)) {
        return Ok(None);
    }
    let texts = |name: &str| headers.get_all(name).iter().map(text).collect::<Result<Vec<String>, Status>>();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
        extra.entry(key).or_default().push(text(value)?);
    }
    let (name, uid) = (texts(USER)?.into_iter().next().unwrap_or_default(), texts(UID)?.into_iter().next().unwrap_or_default());
    let user = User { name, uid, groups: texts(GROUP)?, extra };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", as_go_shows(&user))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allows what one of the rules names: verb, resource with subresource, namespace and name.
    struct Allowed(&'static [&'static str]);
    impl Authorizer for Allowed {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            let sub = if a.subresource.is_empty() { String::new() } else { format!("/{}", a.subresource) };
            let asked = format!("{} {}{sub}.{} {}/{}", a.verb, a.resource, a.group, a.namespace, a.name);
            if self.0.contains(&asked.as_str()) { Decision::Allow } else { Decision::NoOpinion }
        }
    }

    fn check(allowed: &'static [&'static str], requestor: &User, headers: &[(&'static str, &'static str)]) -> Result<String, String> {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        check_bytes(allowed, requestor, &headers)
    }

    fn check_bytes(allowed: &'static [&'static str], requestor: &User, headers: &[(&'static str, &[u8])]) -> Result<String, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let asked = Attributes::of_resource(requestor, "list", "", "v1", "pods", "a", "");
        let acting = apply(&Allowed(allowed), &LastModes::default(), &map, &asked).map_err(|s| s.message)?;
        Ok(acting.map_or_else(|| "themselves".to_owned(), |a| format!("{} {:?} by {:?}", a.user.name, a.user.groups, a.constraint)))
    }

    #[test]
    fn each_part_needs_its_right() {
        let ann = User { name: "ann".into(), ..User::default() };
        let plain: &[&str] = &["impersonate users. /bob", "impersonate groups. /dev", "impersonate serviceaccounts. a/x"];
        let check = |headers: &[(&'static str, &'static str)]| check(plain, &ann, headers);
        assert_eq!(check(&[]).unwrap(), "themselves");
        assert_eq!(check(&[(USER, "bob"), (GROUP, "dev")]).unwrap(), r#"bob ["dev", "system:authenticated"] by """#);
        // What is told is that which was asked for first.
        let refused = r#"pods is forbidden: User "ann" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "a""#;
        assert_eq!(check(&[(USER, "bob"), (GROUP, "ops")]).unwrap_err(), refused);
        let account = r#"system:serviceaccount:a:x ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"] by """#;
        assert_eq!(check(&[(USER, "system:serviceaccount:a:x")]).unwrap(), account);
        assert!(check(&[(USER, "system:serviceaccount:b:x")]).is_err());
        assert!(check(&[(GROUP, "dev")]).is_err());
        assert!(check(&[(USER, "bob"), ("impersonate-extra-scopes", "x")]).is_err());
    }

    #[test]
    fn no_header_is_passed_over() {
        let ann = User { name: "ann".into(), ..User::default() };
        let plain: &[&str] = &["impersonate users. /jürgen", "impersonate groups. /entwürfe"];
        assert_eq!(check(plain, &ann, &[(USER, "jürgen"), (GROUP, "entwürfe")]).unwrap(), r#"jürgen ["entwürfe", "system:authenticated"] by """#);
        assert!(check(&[], &ann, &[(USER, "jürgen")]).is_err());
        let latin: &[u8] = b"j\xfcrgen";
        for header in [USER, GROUP, UID, "impersonate-extra-scopes"] {
            assert_eq!(check_bytes(plain, &ann, &[(header, latin)]).unwrap_err(), "an Impersonate header is not UTF-8");
        }
    }

    #[test]
    fn a_constrained_right_is_for_one_verb() {
        let ann = User { name: "ann".into(), ..User::default() };
        let user: &[&str] = &[
            "impersonate-on:user-info:list pods. a/",
            "impersonate:user-info users.authentication.k8s.io /bob",
            "impersonate:user-info groups.authentication.k8s.io /system:masters",
        ];
        assert_eq!(check(user, &ann, &[(USER, "bob")]).unwrap(), r#"bob ["system:authenticated"] by "impersonate:user-info""#);
        let refused = r#"groups.authentication.k8s.io "system:masters" is forbidden: User "ann" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#;
        assert_eq!(check(user, &ann, &[(USER, "bob"), (GROUP, SUPERUSERS)]).unwrap_err(), refused);
        let node: &[&str] = &["impersonate-on:arbitrary-node:list pods. a/", "impersonate:arbitrary-node nodes.authentication.k8s.io /n1"];
        let of_node = [(USER, "system:node:n1")];
        assert_eq!(
            check(node, &ann, &of_node).unwrap(),
            r#"system:node:n1 ["system:nodes", "system:authenticated"] by "impersonate:arbitrary-node""#
        );
        assert!(check(node, &ann, &[(USER, "system:node:n2")]).is_err());

        let own: &[&str] = &["impersonate-on:associated-node:list pods. a/", "impersonate:associated-node nodes.authentication.k8s.io /*"];
        let mut agent = User { name: "system:serviceaccount:a:agent".into(), ..User::default() };
        assert!(check(own, &agent, &of_node).is_err());
        agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
        assert_eq!(
            check(own, &agent, &of_node).unwrap(),
            r#"system:node:n1 ["system:nodes", "system:authenticated"] by "impersonate:associated-node""#
        );
    }
}
