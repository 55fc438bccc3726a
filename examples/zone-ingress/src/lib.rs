//! An ingress controller whose backends take turns by zone: each zone gets the same share, however many endpoints it has.
//!
//! Serves Ingresses of the class `zones`: hosts, paths, the default backend. The turns are written out in the list of endpoints, which
//! the data plane goes round; the plugin sees no request.

mod objects;
mod turns;

use std::collections::BTreeMap;

use pintle_sdk::Env;
use pintle_sdk::ingress::{Action, Backend, Object, PathMatch, Problem, Route, RouteTable, VirtualHost};

use objects::{Ingress, ServiceRef, World};

const CLASS: &str = "zones";

#[derive(Default)]
pub struct Policy;

impl pintle_sdk::ingress::Ingress for Policy {
    fn compile(&mut self, _env: &dyn Env, objects: Vec<Object>) -> Result<RouteTable, String> {
        let world = World::read(&objects)?;
        let mut compiler = Compiler { world: &world, hosts: BTreeMap::new(), backends: Vec::new(), problems: Vec::new() };
        let served: Vec<&Ingress> = world.ingresses.iter().filter(|i| i.spec.ingress_class_name.as_deref() == Some(CLASS)).collect();
        served.iter().for_each(|ingress| compiler.ingress(ingress));
        Ok(RouteTable {
            hosts: compiler.hosts.into_iter().map(|(name, routes)| host(name, routes)).collect(),
            backends: compiler.backends,
            served: served.iter().map(|i| i.metadata.path()).collect(),
            problems: compiler.problems,
            ..RouteTable::default()
        })
    }
}

pintle_sdk::export_ingress!(Policy);

struct Compiler<'a> {
    world: &'a World,
    hosts: BTreeMap<String, Vec<Route>>,
    backends: Vec<Backend>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn ingress(&mut self, ingress: &Ingress) {
        for rule in &ingress.spec.rules {
            let host = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase();
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let path_match = if path.path_type == "Exact" { PathMatch::Exact } else { PathMatch::Prefix };
                self.route(ingress, &host, path.path.as_deref().unwrap_or("/"), path_match, path.backend.service.as_ref());
            }
        }
        if let Some(backend) = &ingress.spec.default_backend {
            self.route(ingress, "", "/", PathMatch::Prefix, backend.service.as_ref());
        }
    }

    fn route(&mut self, ingress: &Ingress, host: &str, path: &str, path_match: PathMatch, service: Option<&ServiceRef>) {
        let namespace = &ingress.metadata.namespace;
        let found =
            service.ok_or_else(|| "only services are served as backends".to_owned()).and_then(|s| Ok((s, self.world.endpoints(namespace, s)?)));
        let (service, endpoints) = match found {
            Ok(found) => found,
            Err(message) => return self.problem(ingress, message),
        };
        let backend = u32::try_from(self.backends.len()).unwrap_or(u32::MAX);
        // In turn, and the attempts after a failed one are in other zones.
        self.backends.push(Backend::new(format!("{namespace}/{}:{}", service.name, service.port), turns::by_zone(endpoints)));
        let route = Route { source: ingress.metadata.path(), ..Route::new(path, path_match, Action::Forward(backend)) };
        self.hosts.entry(host.to_owned()).or_default().push(route);
    }

    fn problem(&mut self, ingress: &Ingress, message: String) {
        let (namespace, name) = (ingress.metadata.namespace.clone(), ingress.metadata.name.clone());
        self.problems.push(Problem { kind: "Ingress".to_owned(), namespace, name, reason: "Backend".to_owned(), message });
    }
}

/// Exact paths first, then the longest. Of two for the same place the older stays before: it is tried first.
fn host(name: String, mut routes: Vec<Route>) -> VirtualHost {
    routes.sort_by_key(|r| (r.path_match != PathMatch::Exact, std::cmp::Reverse(r.path.len())));
    VirtualHost { name, routes }
}

#[cfg(test)]
mod tests;
