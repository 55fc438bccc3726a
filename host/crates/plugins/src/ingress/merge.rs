//! One route table out of two: the live revision's, and for a share of the Ingresses a canary's. A route belongs to the Ingress that it
//! names as its source. Certificates, the fallback and what is served by neither share stay the live one's. Pure.

use super::types::{Action, Canary, Route, RouteTable, VirtualHost};

pub fn merge(mut live: RouteTable, candidate: RouteTable, holds: impl Fn(&str, &str) -> bool) -> RouteTable {
    let its = |source: &str| holds(source.split_once('/').map_or("", |(namespace, _)| namespace), source);
    let offset = u32::try_from(live.backends.len()).unwrap_or(u32::MAX);
    live.backends.extend(candidate.backends);
    for host in &mut live.hosts {
        host.routes.retain(|route| !its(&route.source));
    }
    for host in candidate.hosts {
        let routes: Vec<Route> = host.routes.into_iter().filter(|r| its(&r.source)).map(|r| moved(r, offset)).collect();
        if routes.is_empty() {
            continue;
        }
        match live.hosts.iter_mut().find(|h| h.name == host.name) {
            Some(known) => {
                known.routes.extend(routes);
                // Stable: each table's own order stays where the lengths are equal.
                known.routes.sort_by_key(|r| std::cmp::Reverse(r.path.len()));
            }
            None => live.hosts.push(VirtualHost { name: host.name, routes }),
        }
    }
    live.hosts.retain(|host| !host.routes.is_empty());
    live.served.retain(|path| !its(path));
    live.served.extend(candidate.served.into_iter().filter(|path| its(path)));
    live.problems.retain(|p| p.kind != "Ingress" || !its(&format!("{}/{}", p.namespace, p.name)));
    live.problems.extend(candidate.problems.into_iter().filter(|p| p.kind == "Ingress" && its(&format!("{}/{}", p.namespace, p.name))));
    live
}

/// The candidate's backends stand behind the live one's.
fn moved(mut route: Route, offset: u32) -> Route {
    if let Action::Forward(at) = &mut route.action {
        *at = at.saturating_add(offset);
    }
    for Canary { backend, .. } in &mut route.canaries {
        *backend = backend.saturating_add(offset);
    }
    route
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::compare::compare;
    use crate::ingress::empty_table;
    use crate::ingress::types::{Backend, Balance, Endpoint, PathMatch, Protocol};
    use expect_test::expect;

    fn route(path: &str, backend: u32, source: &str) -> Route {
        Route {
            path: path.to_owned(),
            path_match: PathMatch::Prefix,
            action: Action::Forward(backend),
            rewrite: None,
            force_tls: false,
            canaries: Vec::new(),
            auth: None,
            allow_sources: Vec::new(),
            deny_sources: Vec::new(),
            max_body_bytes: 0,
            requests_per_second: 0,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            cors: None,
            source: source.to_owned(),
        }
    }
    fn table(address: &str) -> RouteTable {
        let backend = Backend {
            name: "n/web:80".to_owned(),
            endpoints: vec![Endpoint { address: address.to_owned(), port: 80 }],
            balance: Balance::RoundRobin,
            protocol: Protocol::Http,
            affinity: None,
            connect_timeout_milliseconds: 0,
            read_timeout_milliseconds: 0,
            retries: 0,
        };
        let routes = vec![route("/long", 0, "prod/a"), route("/", 0, "staging/b")];
        let hosts = vec![VirtualHost { name: "h".to_owned(), routes }];
        RouteTable { hosts, backends: vec![backend], served: vec!["prod/a".to_owned(), "staging/b".to_owned()], ..empty_table() }
    }

    #[test]
    fn the_share_comes_from_the_candidate_and_nothing_else() {
        let (live, candidate) = (table("10.0.0.1"), table("10.0.0.2"));
        let merged = merge(live.clone(), candidate.clone(), |namespace, _| namespace == "staging");
        let subjects = |contrasts: Vec<crate::ingress::compare::Contrast>| contrasts.into_iter().map(|c| c.subject).collect::<Vec<_>>();
        assert_eq!(subjects(compare(&live, &merged)), ["h/ (PathMatch::Prefix)"]);
        assert_eq!(subjects(compare(&candidate, &merged)), ["h/long (PathMatch::Prefix)"]);
        assert_eq!(merged.hosts[0].routes[0].path, "/long", "the longest path stays first");
        assert_eq!(merged.served, ["prod/a", "staging/b"]);
        assert_eq!(compare(&live, &merge(live.clone(), candidate, |_, _| false)), []);
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let mut candidate = table("10.0.0.1");
        candidate.hosts[0].routes[1].action = Action::Respond((503, "busy".to_owned()));
        candidate.served.pop();
        expect![[r#"
            [
                Contrast {
                    subject: "h/ (PathMatch::Prefix)",
                    kind: "Route",
                    live: "to n/web:80 [10.0.0.1:80] Balance::RoundRobin Protocol::Http None (0, 0, 0)",
                    candidate: "respond 503 \"busy\"",
                },
                Contrast {
                    subject: "staging/b",
                    kind: "Served",
                    live: "served",
                    candidate: "none",
                },
            ]
        "#]]
        .assert_debug_eq(&compare(&table("10.0.0.1"), &candidate));
    }
}
