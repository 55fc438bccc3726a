//! From all objects to the table. Ingresses are taken oldest first; canaries last, for they share what others made.

use std::collections::BTreeSet;

use pintle_sdk::ingress::{Action, BasicAuth, Canary, Certificate, Object, Pair, PathMatch, Problem, Route, RouteTable};

use crate::annotations::{self, AuthSettings, Settings};
use crate::backends::Backends;
use crate::class::Config;
use crate::objects::{Http, Ingress, IngressBackend, Metadata, Rule, World};
use crate::table::{Hosts, Place};

pub fn compile(config: &Config, objects: &[Object]) -> RouteTable {
    let mut problems = Vec::new();
    let world = World::read(objects, &mut problems);
    let mut compiler = Compiler { world: &world, hosts: Hosts::default(), backends: Backends::default(), certificates: Vec::new(), problems };
    let served: Vec<&Ingress> = world.ingresses.iter().filter(|i| config.serves(i, &world)).collect();
    let (canaries, plain): (Vec<Work>, Vec<Work>) = served.iter().map(|i| compiler.read(i)).partition(|w| w.settings.canary.is_some());
    plain.iter().chain(&canaries).for_each(|work| compiler.ingress(work));
    RouteTable {
        hosts: compiler.hosts.finish(),
        backends: compiler.backends.list,
        certificates: compiler.certificates,
        served: served.iter().map(|i| i.metadata.path()).collect(),
        problems: compiler.problems,
        ..RouteTable::default()
    }
}

struct Work<'a> {
    ingress: &'a Ingress,
    settings: Settings,
    /// Hosts that TLS is wanted for.
    tls: BTreeSet<String>,
    /// What every route of the Ingress has, but for path and action.
    model: Route,
}

struct Compiler<'a> {
    world: &'a World,
    hosts: Hosts,
    backends: Backends,
    certificates: Vec<Certificate>,
    problems: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    fn read(&mut self, ingress: &'a Ingress) -> Work<'a> {
        let (settings, faults) = annotations::read(&ingress.metadata);
        faults.into_iter().for_each(|fault| self.problem(&ingress.metadata, "Annotation", fault));
        let model = self.model(ingress, &settings);
        Work { ingress, tls: self.tls(ingress), settings, model }
    }

    fn ingress(&mut self, work: &Work<'_>) {
        for rule in &work.ingress.spec.rules {
            self.rule(work, rule);
        }
        if let Some(backend) = &work.ingress.spec.default_backend {
            let hosts: Vec<&str> = work.ingress.spec.rules.iter().map(|r| r.host.as_deref().unwrap_or("")).collect();
            let hosts = if hosts.is_empty() { vec![""] } else { hosts };
            let Some(action) = self.action(work, backend) else { return };
            for host in hosts.into_iter().collect::<BTreeSet<_>>() {
                // Only what the host's own rules leave over.
                self.place(work, host, "/", PathMatch::Prefix, &action, true);
            }
        } else if work.ingress.spec.rules.is_empty() {
            self.problem(&work.ingress.metadata, "NoRules", "neither rules nor a default backend".to_owned());
        }
    }

    fn rule(&mut self, work: &Work<'_>, rule: &Rule) {
        let host = rule.host.as_deref().unwrap_or("").to_ascii_lowercase();
        let nothing = Http::default();
        for path in &rule.http.as_ref().unwrap_or(&nothing).paths {
            let Some(action) = self.action(work, &path.backend) else { continue };
            let text = path.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
            let path_match = path_match(&path.path_type, text, &work.settings);
            self.place(work, &host, text, path_match, &action, false);
        }
        if let Some(root) = &work.settings.app_root {
            let action = Action::Redirect((302, format!("$scheme://$host{root}")));
            self.place(work, &host, "/", PathMatch::Exact, &action, true);
        }
    }

    /// Puts the route under its host and the host's other names, or its share under an older route.
    fn place(&mut self, work: &Work<'_>, host: &str, path: &str, path_match: PathMatch, action: &Action, quietly: bool) {
        let path = if path_match == PathMatch::Pattern { format!("(?i){path}") } else { path.to_owned() };
        if let (Some(canary), Action::Forward(backend)) = (&work.settings.canary, action) {
            let share = Canary {
                backend: *backend,
                weight: canary.weight,
                weight_total: canary.weight_total,
                header: canary.header.clone(),
                cookie: canary.cookie.clone(),
            };
            if !self.hosts.add_canary(&Place { host, path: &path, path_match }, share) {
                self.problem(&work.ingress.metadata, "CanaryAlone", format!("no other Ingress has {host}{path}"));
            }
            return;
        }
        let has_tls = work.tls.contains(host) || host.find('.').is_some_and(|dot| work.tls.contains(&format!("*{}", &host[dot..])));
        let force_tls = work.settings.force_ssl_redirect || (work.settings.ssl_redirect && has_tls);
        let route = Route { path: path.clone(), path_match, action: action.clone(), force_tls, ..work.model.clone() };
        for name in work.settings.aliases.iter().map(|a| a.to_ascii_lowercase()) {
            self.hosts.add(&name, route.clone());
        }
        if !self.hosts.add(host, route) && !quietly {
            self.problem(&work.ingress.metadata, "PathTaken", format!("an older Ingress has {host}{path}"));
        }
    }

    /// `None`: this path leads nowhere, and was told about.
    fn action(&mut self, work: &Work<'_>, backend: &IngressBackend) -> Option<Action> {
        let metadata = &work.ingress.metadata;
        if let Some((code, location)) = &work.settings.redirect {
            return Some(Action::Redirect((*code, location.clone())));
        }
        if work.settings.auth.is_some() && work.model.auth.is_none() {
            // Somebody wanted a password: without the list of users nobody has the right one.
            return Some(Action::Respond((503, "authentication is not configured\n".to_owned())));
        }
        let Some(service) = &backend.service else {
            self.problem(metadata, "Backend", "only services are served as backends".to_owned());
            return None;
        };
        let (index, fault) = self.backends.index(self.world, &metadata.namespace, service, &work.settings.backend);
        if let Some(fault) = fault {
            self.problem(metadata, "Backend", fault);
        }
        Some(Action::Forward(index))
    }

    fn model(&mut self, ingress: &Ingress, settings: &Settings) -> Route {
        Route {
            rewrite: settings.rewrite.clone(),
            auth: settings.auth.as_ref().and_then(|auth| self.auth(&ingress.metadata, auth)),
            allow_sources: settings.allow_sources.clone(),
            deny_sources: settings.deny_sources.clone(),
            max_body_bytes: settings.max_body_bytes,
            requests_per_second: settings.requests_per_second,
            request_headers: settings.request_headers.clone(),
            response_headers: settings.response_headers.clone(),
            cors: settings.cors.clone(),
            source: ingress.metadata.path(),
            ..Route::new("", PathMatch::Prefix, Action::Respond((404, String::new())))
        }
    }

    fn auth(&mut self, metadata: &Metadata, auth: &AuthSettings) -> Option<BasicAuth> {
        // Another namespace's passwords are not for whoever can write an Ingress here.
        let secret = (auth.namespace == metadata.namespace).then(|| self.world.secrets.get(&(auth.namespace.clone(), auth.secret.clone()))).flatten();
        let Some(secret) = secret else {
            self.problem(metadata, "AuthSecret", format!("secret {}/{} does not exist or may not be used", auth.namespace, auth.secret));
            return None;
        };
        let text = |key: &str| secret.value(key).and_then(|v| String::from_utf8(v).ok());
        let users = if auth.is_map {
            secret.data.keys().filter_map(|user| Some(Pair::new(user, text(user)?.trim()))).collect()
        } else {
            let Some(file) = text("auth") else {
                self.problem(metadata, "AuthSecret", format!("secret {}/{} has no key auth", auth.namespace, auth.secret));
                return None;
            };
            file.lines().filter_map(|l| l.trim().split_once(':')).map(|(user, hash)| Pair::new(user, hash)).collect()
        };
        Some(BasicAuth { realm: auth.realm.clone(), users })
    }

    /// The hosts that have TLS; their certificates go into the table.
    fn tls(&mut self, ingress: &Ingress) -> BTreeSet<String> {
        let metadata = &ingress.metadata;
        let mut all = BTreeSet::new();
        for tls in &ingress.spec.tls {
            let rule_hosts = || ingress.spec.rules.iter().filter_map(|r| r.host.clone()).collect();
            let hosts: Vec<String> = if tls.hosts.is_empty() { rule_hosts() } else { tls.hosts.clone() };
            all.extend(hosts.iter().map(|h| h.to_ascii_lowercase()));
            let Some(name) = tls.secret_name.as_ref().filter(|n| !n.is_empty()) else { continue };
            let secret = self.world.secrets.get(&(metadata.namespace.clone(), name.clone()));
            match secret.and_then(|s| Some((s.value("tls.crt")?, s.value("tls.key")?))) {
                Some((chain, key)) => self.certificates.push(Certificate { hosts, chain, key, source: format!("{}/{name}", metadata.namespace) }),
                None => {
                    self.problem(metadata, "TlsSecret", format!("secret {}/{name} does not exist or has no tls.crt and tls.key", metadata.namespace))
                }
            }
        }
        all
    }

    fn problem(&mut self, metadata: &Metadata, reason: &str, message: String) {
        let problem = Problem {
            kind: "Ingress".to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            reason: reason.to_owned(),
            message,
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// As nginx's controller: what is written like a pattern and is to be rewritten is one.
fn path_match(path_type: &str, path: &str, settings: &Settings) -> PathMatch {
    let is_pattern = settings.use_regex || (settings.rewrite.is_some() && path.contains(['(', '[', '*', '^', '$', '|', '\\']));
    match path_type {
        "Exact" => PathMatch::Exact,
        _ if is_pattern => PathMatch::Pattern,
        _ => PathMatch::Prefix,
    }
}

#[cfg(test)]
mod tests;
