//! The table while it is made: hosts by name, routes in the order in which the data plane must try them.

use std::collections::BTreeMap;

use pintle_sdk::ingress::{Action, Canary, PathMatch, Route, VirtualHost};

#[derive(Default)]
pub struct Hosts {
    by_name: BTreeMap<String, Vec<Route>>,
}

/// A path that somebody wants to have.
pub struct Place<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub path_match: PathMatch,
}

impl Hosts {
    /// False: an older Ingress has that place.
    pub fn add(&mut self, host: &str, route: Route) -> bool {
        let routes = self.by_name.entry(host.to_owned()).or_default();
        if routes.iter().any(|r| r.path == route.path && r.path_match == route.path_match) {
            return false;
        }
        routes.push(route);
        true
    }

    /// False: there is no such route to take a share of.
    pub fn add_canary(&mut self, place: &Place<'_>, canary: Canary) -> bool {
        let same = |r: &&mut Route| r.path == place.path && r.path_match == place.path_match && matches!(r.action, Action::Forward(_));
        let Some(route) = self.by_name.get_mut(place.host).and_then(|routes| routes.iter_mut().find(same)) else { return false };
        route.canaries.push(canary);
        true
    }

    pub fn finish(self) -> Vec<VirtualHost> {
        let finish = |(name, mut routes): (String, Vec<Route>)| {
            routes.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.path.cmp(&b.path)));
            VirtualHost { name, routes }
        };
        self.by_name.into_iter().map(finish).collect()
    }
}

/// Exact paths come first, then the longest.
fn rank(route: &Route) -> (bool, std::cmp::Reverse<usize>) {
    (route.path_match != PathMatch::Exact, std::cmp::Reverse(route.path.len()))
}
