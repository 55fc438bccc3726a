//! `Impersonate-*` headers: somebody acts as somebody else, if they may.
//!
//! Each part (user, groups, uid, extra) is a right of its own. The headers are removed by nobody: a request is
//! authenticated once.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use pintle_api::Status;

use super::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, Decision, UNAUTHENTICATED, User, forbidden, service_account_groups, service_account_of,
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

pub fn apply(authorizer: &dyn Authorizer, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let Some(asked) = asked(headers)? else { return Ok(user) };
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let attributes = Attributes::of_resource(&user, "impersonate", group, "v1", resource, namespace, name).with_subresource(subresource);
        match authorizer.authorize(&attributes) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(forbidden(&attributes, &reason)),
            Decision::NoOpinion => Err(forbidden(&attributes, "")),
        }
    };
    match service_account_of(&asked.name) {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name)?,
        None => check("", "users", "", "", &asked.name)?,
    }
    for group in &asked.groups {
        check("", "groups", "", "", group)?;
    }
    if !asked.uid.is_empty() {
        check("authentication.k8s.io", "uids", "", "", &asked.uid)?;
    }
    for (key, values) in &asked.extra {
        for value in values {
            check("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    Ok(completed(asked))
}

/// Adds the groups that go without saying.
fn completed(mut user: User) -> User {
    if let (true, Some((namespace, _))) = (user.groups.is_empty(), service_account_of(&user.name)) {
        user.groups = service_account_groups(namespace);
    }
    let general = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(general.to_owned());
    }
    user
}

fn asked(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let texts = |name: &str| -> Vec<String> { headers.get_all(name).iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect() };
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
        extra.entry(key).or_default().push(value.to_owned());
    }
    let (name, uid) = (texts(USER).into_iter().next().unwrap_or_default(), texts(UID).into_iter().next().unwrap_or_default());
    let user = User { name, uid, groups: texts(GROUP), extra };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request("impersonation of groups, uid or extra needs an Impersonate-User header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allows the impersonation of `bob`, of group `dev` and of the service accounts of namespace `a`.
    struct Some3;
    impl Authorizer for Some3 {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            match (a.resource, a.namespace, a.name) {
                ("users", "", "bob") | ("groups", "", "dev") | ("serviceaccounts", "a", _) => Decision::Allow,
                _ => Decision::NoOpinion,
            }
        }
    }

    fn check(headers: &[(&'static str, &'static str)]) -> Result<User, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        apply(&Some3, User { name: "ann".into(), ..User::default() }, &map).map_err(|s| s.message)
    }

    #[test]
    fn each_part_needs_its_right() {
        assert_eq!(check(&[]).unwrap().name, "ann");
        assert_eq!(check(&[(USER, "bob"), (GROUP, "dev")]).unwrap().groups, ["dev", "system:authenticated"]);
        assert_eq!(
            check(&[(USER, "bob"), (GROUP, "ops")]).unwrap_err(),
            "groups \"ops\" is forbidden: User \"ann\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope"
        );
        assert_eq!(
            check(&[(USER, "system:serviceaccount:a:x")]).unwrap().groups,
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
        assert!(check(&[(USER, "system:serviceaccount:b:x")]).is_err());
        assert!(check(&[(GROUP, "dev")]).is_err());
        assert!(check(&[(USER, "bob"), ("impersonate-extra-scopes", "x")]).is_err());
    }
}
