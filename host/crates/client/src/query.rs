//! Paths and queries of requests.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pintle_api::client::{ListOptions, Target, WatchOptions, WriteOptions};

/// In a query only these stay as they are.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b',');
/// In a path also what names may contain; a slash parts segments.
const PATH: &AsciiSet = &QUERY.remove(b':').remove(b'@').remove(b'=').remove(b'+').remove(b'!').remove(b'$').remove(b'&');

pub struct Query(String);

impl Query {
    pub fn path(path: &str) -> Self {
        Self(utf8_percent_encode(path, PATH).to_string())
    }

    /// Nothing for an empty value.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.extend(utf8_percent_encode(value, QUERY));
        }
        self
    }

    pub fn with_flag(self, name: &str, value: bool) -> Self {
        if value { self.with(name, "true") } else { self }
    }

    pub fn text(self) -> String {
        self.0
    }
}

pub fn object(target: &Target) -> String {
    Query::path(&target.path()).text()
}

pub fn list(target: &Target, options: &ListOptions) -> String {
    let limit = if options.limit == 0 { String::new() } else { options.limit.to_string() };
    Query::path(&target.path())
        .with("labelSelector", &options.label_selector)
        .with("fieldSelector", &options.field_selector)
        .with("limit", &limit)
        .with("continue", &options.continue_token)
        .with("resourceVersion", &options.resource_version)
        .text()
}

/// A target with a name watches that object alone.
pub fn watch(target: &Target, options: &WatchOptions) -> String {
    let mut collection = target.clone();
    let by_name = collection.name.take().map(|name| format!("metadata.name={name}"));
    let fields: Vec<String> = by_name.into_iter().chain(Some(options.field_selector.clone()).filter(|f| !f.is_empty())).collect();
    let query = Query::path(&collection.path())
        .with("watch", "1")
        .with("allowWatchBookmarks", "true")
        .with("labelSelector", &options.label_selector)
        .with("fieldSelector", &fields.join(","));
    match options.from_revision {
        Some(revision) => query.with("resourceVersion", &revision.to_string()),
        None => query.with("sendInitialEvents", "true").with("resourceVersionMatch", "NotOlderThan"),
    }
    .text()
}

/// `force` is for server-side apply alone.
pub fn write(target: &Target, options: &WriteOptions, apply: bool) -> String {
    Query::path(&target.path())
        .with("dryRun", if options.dry_run { "All" } else { "" })
        .with("fieldManager", &options.field_manager)
        .with_flag("force", apply && options.force)
        .text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use pintle_api::GroupVersionResource;

    fn check(text: String, expected: Expect) {
        expected.assert_eq(&text);
    }

    #[test]
    fn names_and_selectors_are_escaped() {
        let roles = GroupVersionResource::constant("rbac.authorization.k8s.io", "v1", "clusterroles");
        check(
            object(&Target::object(roles, None, "system:a b?#é")),
            expect!["/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b%3F%23%C3%A9"],
        );
        let pods = GroupVersionResource::constant("", "v1", "pods");
        let options = ListOptions { label_selector: "a in (b,c),!d".into(), limit: 5, ..ListOptions::default() };
        check(
            list(&Target::collection(pods.clone(), Some("n")), &options),
            expect!["/api/v1/namespaces/n/pods?labelSelector=a%20in%20%28b,c%29,%21d&limit=5"],
        );
        let options = WatchOptions { field_selector: "spec.nodeName=x".into(), ..WatchOptions::default() };
        check(
            watch(&Target::object(pods.clone(), Some("n"), "p"), &options),
            expect![
                "/api/v1/namespaces/n/pods?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dp,spec.nodeName%3Dx&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            ],
        );
        let options = WatchOptions { from_revision: Some(7), ..WatchOptions::default() };
        check(watch(&Target::collection(pods.clone(), None), &options), expect!["/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=7"]);
        let options = WriteOptions { dry_run: true, field_manager: "me".into(), force: true };
        check(
            write(&Target::object(pods, Some("n"), "p").subresource("status"), &options, true),
            expect!["/api/v1/namespaces/n/pods/p/status?dryRun=All&fieldManager=me&force=true"],
        );
    }
}
