//! Hands the ingress plugin's route tables to the data plane: two crates that do not know each other speak the same table, one as the WIT
//! world's types, the other as plain structs.

use std::net::SocketAddr;
use std::sync::Arc;

use pintle_ingress::table as plane;
use pintle_plugins::routes as world;
use tokio::sync::watch;

/// Serves until the plugins stop. A data plane that cannot listen is an error in the log; the API goes on without it.
pub fn start(http: SocketAddr, https: SocketAddr, mut tables: watch::Receiver<Arc<world::RouteTable>>) {
    let first = Arc::new(table(&tables.borrow_and_update()));
    let (publish, translated) = watch::channel(first);
    tokio::spawn(async move {
        while tables.changed().await.is_ok() {
            let next = Arc::new(table(&tables.borrow_and_update()));
            publish.send_replace(next);
        }
    });
    tokio::spawn(async move {
        if let Err(error) = pintle_ingress::serve(http, https, translated).await {
            tracing::error!(%error, "the ingress data plane ended");
        }
    });
}

fn table(from: &world::RouteTable) -> plane::RouteTable {
    plane::RouteTable {
        hosts: from.hosts.iter().map(|h| plane::VirtualHost { name: h.name.clone(), routes: h.routes.iter().map(route).collect() }).collect(),
        backends: from.backends.iter().map(backend).collect(),
        certificates: from.certificates.iter().map(certificate).collect(),
        fallback: from.fallback.as_ref().map(action),
    }
}

fn route(from: &world::Route) -> plane::Route {
    plane::Route {
        path: from.path.clone(),
        path_match: match from.path_match {
            world::PathMatch::Exact => plane::PathMatch::Exact,
            world::PathMatch::Prefix => plane::PathMatch::Prefix,
            world::PathMatch::Pattern => plane::PathMatch::Pattern,
        },
        action: action(&from.action),
        rewrite: from.rewrite.clone(),
        force_tls: from.force_tls,
        canaries: from.canaries.iter().map(canary).collect(),
        auth: from.auth.as_ref().map(|a| plane::BasicAuth { realm: a.realm.clone(), users: pairs(&a.users) }),
        allow_sources: from.allow_sources.clone(),
        deny_sources: from.deny_sources.clone(),
        max_body_bytes: from.max_body_bytes,
        requests_per_second: from.requests_per_second,
        request_headers: pairs(&from.request_headers),
        response_headers: pairs(&from.response_headers),
        cors: from.cors.as_ref().map(cors),
        source: from.source.clone(),
    }
}

fn action(from: &world::Action) -> plane::Action {
    match from {
        world::Action::Forward(backend) => plane::Action::Forward(*backend),
        world::Action::Redirect((code, location)) => plane::Action::Redirect(*code, location.clone()),
        world::Action::Respond((code, body)) => plane::Action::Respond(*code, body.clone()),
    }
}

fn canary(from: &world::Canary) -> plane::Canary {
    plane::Canary {
        backend: from.backend,
        weight: from.weight,
        weight_total: from.weight_total,
        header: from.header.as_ref().map(|p| (p.key.clone(), p.value.clone())),
        cookie: from.cookie.clone(),
    }
}

fn cors(from: &world::Cors) -> plane::Cors {
    plane::Cors {
        allow_origins: from.allow_origins.clone(),
        allow_methods: from.allow_methods.clone(),
        allow_headers: from.allow_headers.clone(),
        allow_credentials: from.allow_credentials,
        max_age_seconds: from.max_age_seconds,
    }
}

fn backend(from: &world::Backend) -> plane::Backend {
    plane::Backend {
        name: from.name.clone(),
        endpoints: from.endpoints.iter().map(|e| plane::Endpoint { address: e.address.clone(), port: e.port }).collect(),
        balance: match from.balance {
            world::Balance::RoundRobin => plane::Balance::RoundRobin,
            world::Balance::LeastConnections => plane::Balance::LeastConnections,
            world::Balance::HashClient => plane::Balance::HashClient,
            world::Balance::HashUri => plane::Balance::HashUri,
        },
        protocol: match from.protocol {
            world::Protocol::Http => plane::Protocol::Http,
            world::Protocol::Https => plane::Protocol::Https,
            world::Protocol::Grpc => plane::Protocol::Grpc,
            world::Protocol::Grpcs => plane::Protocol::Grpcs,
        },
        affinity: from.affinity.as_ref().map(|a| plane::Affinity {
            cookie: a.cookie.clone(),
            max_age_seconds: a.max_age_seconds,
            path: a.path.clone(),
        }),
        connect_timeout_milliseconds: from.connect_timeout_milliseconds,
        read_timeout_milliseconds: from.read_timeout_milliseconds,
        retries: from.retries,
    }
}

fn certificate(from: &world::Certificate) -> plane::Certificate {
    plane::Certificate { hosts: from.hosts.clone(), chain: from.chain.clone(), key: from.key.clone(), source: from.source.clone() }
}

fn pairs(from: &[world::Pair]) -> Vec<(String, String)> {
    from.iter().map(|p| (p.key.clone(), p.value.clone())).collect()
}
