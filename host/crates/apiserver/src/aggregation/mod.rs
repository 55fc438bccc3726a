//! Parts of the API that other servers serve: an APIService names a group's version and the service behind it, and requests
//! for it are passed on with the name of who asks.
//!
//! The extension trusts the server's front-proxy certificate and the `X-Remote-*` headers that come with it; a client's own
//! headers of that name stop here. Requests were authenticated and authorized before. A loop asks each extension for its resources, shows
//! them in discovery and tells on the APIService whether it answers. OpenAPI of extensions is not merged.

mod discovery;
mod local;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use serde_json::Value;

use crate::auth::{Pki, User};
use crate::cache::Cache;
use crate::handlers::Core;
use crate::handlers::lookup::CacheLookup;
use crate::http::Response;
use crate::http::outbound::{self, Remote};
use crate::http::proxy::{self, Backend};
use crate::http::unread::Asking;
use crate::resources::Table;

pub use local::run as register;
pub use status::run;

const SERVICES: GroupVersionResource = GroupVersionResource::constant("apiregistration.k8s.io", "v1", "apiservices");

/// The group versions that others serve.
#[derive(Default)]
pub struct Extensions {
    by_name: Mutex<HashMap<String, Arc<Extension>>>,
    /// By group and version.
    served: ArcSwap<HashMap<(String, String), Arc<Extension>>>,
}

/// One group version behind a service.
pub struct Extension {
    /// Of the APIService.
    pub name: String,
    pub group: String,
    pub version: String,
    /// Made when first needed: the machine's certificates may have to be read for it.
    remote: OnceLock<Result<Remote, String>>,
    spec: Value,
    pki: Arc<Pki>,
}

impl Extensions {
    /// Follows the APIServices.
    pub fn observing(cache: &Cache, table: &Table, pki: Arc<Pki>) -> Arc<Self> {
        let extensions = Arc::new(Self::default());
        if let Some(resource) = table.find(&SERVICES) {
            let kept = extensions.clone();
            cache.observe(&resource.slot, Arc::new(move |_, name, service| kept.put(name, service, &pki)));
        }
        extensions
    }

    fn put(&self, name: &str, service: Option<&Object>, pki: &Arc<Pki>) {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let remote = service.and_then(|s| s.at(&["spec", "service"])).filter(|s| !s.is_null());
        match service.zip(remote) {
            Some((service, _)) => drop(by_name.insert(name.to_owned(), Arc::new(Extension::of(service, pki)))),
            None if by_name.remove(name).is_none() => return,
            None => {}
        }
        let served = by_name.values().map(|e| ((e.group.clone(), e.version.clone()), e.clone())).collect();
        self.served.store(Arc::new(served));
    }

    /// Who serves a path below `/apis/GROUP/VERSION`, when it is not this server.
    pub fn find(&self, path: &str) -> Option<Arc<Extension>> {
        let served = self.served.load();
        if served.is_empty() {
            return None;
        }
        let mut parts = path.strip_prefix("/apis/")?.split('/');
        let key = (parts.next()?.to_owned(), parts.next()?.to_owned());
        served.get(&key).cloned()
    }

    fn all(&self) -> Vec<Arc<Extension>> {
        self.served.load().values().cloned().collect()
    }
}

impl Extension {
    fn of(service: &Object, pki: &Arc<Pki>) -> Self {
        let spec = service.get("spec").cloned().unwrap_or(Value::Null);
        Self {
            name: service.name().to_owned(),
            group: spec.str_at(&["group"]).to_owned(),
            version: spec.str_at(&["version"]).to_owned(),
            remote: OnceLock::new(),
            spec,
            pki: pki.clone(),
        }
    }

    fn remote(&self) -> Result<&Remote, String> {
        let make = || {
            let roots = match self.spec.bool_at(&["insecureSkipTLSVerify"]) {
                true => None,
                false => Some(outbound::roots(self.spec.str_at(&["caBundle"]))?),
            };
            let tls = self.pki.front_proxy_config(roots).map_err(|why| why.to_string())?;
            Ok(Remote::service(self.spec.get("service").unwrap_or(&Value::Null), tls))
        };
        self.remote.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// Passes a request on in the user's name.
    pub async fn pass(&self, core: &Core, mut parts: Parts, body: Asking, user: &User) -> Result<Response, Status> {
        let unavailable = |why: String| {
            tracing::debug!(extension = self.name, %why, "an extension of the API does not answer");
            Status::new(503, Reason::ServiceUnavailable, "service unavailable")
        };
        let remote = self.remote().map_err(unavailable)?;
        let (host, port) = self.resolve(core, remote).map_err(unavailable)?;
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        name_user(&mut parts.headers, user);
        let backend = Backend { host, port, tls: Some(remote.tls.clone()), server_name: Some(remote.server_name()), path };
        proxy::pass(parts, body, &backend)
            .await
            .map_err(|why| Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}")))
    }

    fn resolve(&self, core: &Core, remote: &Remote) -> Result<(String, u16), String> {
        let table = core.resources.load_full();
        remote.resolve(&CacheLookup { cache: &core.cache, table: &table })
    }
}

/// Says who asks, in headers that nobody else may set.
fn name_user(headers: &mut HeaderMap, user: &User) {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut say = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    };
    say("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        say("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|group| say("x-remote-group", group));
    for (key, values) in &user.extra {
        let escaped = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
        values.iter().for_each(|value| say(&format!("x-remote-extra-{escaped}"), value));
    }
}

impl Pki {
    /// With which the server calls extensions; `None`: any server's certificate will do.
    fn front_proxy_config(&self, roots: Option<rustls::RootCertStore>) -> Result<rustls::ClientConfig, crate::auth::pki::PkiError> {
        let (chain, key) = self.front_proxy.der()?;
        let failed = |why: rustls::Error| crate::auth::pki::PkiError::Tls(why.to_string());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.dangerous().with_custom_certificate_verifier(pintle_tls::any_certificate()),
        };
        builder.with_client_auth_cert(chain, key).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_claims_another_name() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("admin"));
        headers.insert("x-remote-group", HeaderValue::from_static("system:masters"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        let mut user = User { name: "eve".into(), groups: vec!["a".into(), "b".into()], ..User::default() };
        user.extra.insert("k/x".into(), vec!["v".into()]);
        name_user(&mut headers, &user);
        let shown: Vec<String> = headers.iter().map(|(k, v)| format!("{k}={}", v.to_str().unwrap())).collect();
        assert_eq!(shown, ["x-remote-user=eve", "x-remote-group=a", "x-remote-group=b", "x-remote-extra-k%2fx=v"]);
    }
}
