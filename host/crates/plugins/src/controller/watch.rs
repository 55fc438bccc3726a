//! What a controller asked to be told of.

use pintle_plugin_bindings::controller::pintle::controller::types::{self, Relation};

use super::reading::Reading;
use super::world::gvr;
use crate::index::Subject;

#[derive(Clone, PartialEq)]
pub struct Watch {
    pub subject: Subject,
    pub relation: Relation,
    pub reading: Reading,
}

impl Watch {
    /// Refuses what means nothing.
    pub fn new(watch: types::Watch) -> Result<Self, String> {
        let types::Watch { resource, relation, label_selector, field_selector, reading } = watch;
        let subject = Subject { resource: gvr(resource), label_selector, field_selector };
        let refused = |why: String| format!("the watch of {}: `reading`: {why}", subject.resource);
        let reading = Reading::new(&reading).map_err(refused)?;
        if !reading.is_all() && !matches!(relation, Relation::Routed | Relation::Local | Relation::Claimed(_)) {
            return Err(refused("only what is routed, local or claimed goes to `route`".to_owned()));
        }
        Ok(Self { subject, relation, reading })
    }

    /// Changes of the one are changes of the other, whatever is read of them.
    pub fn hears_the_same(&self, other: &Self) -> bool {
        (&self.subject, &self.relation) == (&other.subject, &other.relation)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use pintle_plugin_bindings::common::types::ResourceId;

    use super::*;

    #[test]
    fn only_a_watch_that_is_routed_has_parts_that_are_read() {
        let check = |relation: Relation, path: &str, expected: Expect| {
            let resource = ResourceId { group: "apps".to_owned(), version: "v1".to_owned(), name: "deployments".to_owned() };
            let reading = vec![path.split('.').map(str::to_owned).collect()];
            let watch = types::Watch { resource, relation, label_selector: String::new(), field_selector: String::new(), reading };
            expected.assert_eq(&Watch::new(watch).map_or_else(|why| why, |_| "taken".to_owned()));
        };
        check(Relation::Routed, "metadata.labels", expect!["taken"]);
        check(Relation::Claimed("Set".to_owned()), "metadata.labels", expect!["taken"]);
        check(
            Relation::Local,
            "metadata..labels",
            expect![[r#"the watch of deployments.apps: `reading`: the path ["metadata", "", "labels"], which has an empty name or none"#]],
        );
        check(
            Relation::Primary,
            "metadata.labels",
            expect!["the watch of deployments.apps: `reading`: only what is routed, local or claimed goes to `route`"],
        );
    }
}
