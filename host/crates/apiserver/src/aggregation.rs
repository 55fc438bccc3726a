//! Parts of the API that other servers serve: an APIService names a group's version and the service behind it, and requests
//! for it are passed on with the name of who asks.
//!
//! The extension trusts the server's front-proxy certificate and the `X-Remote-*` headers that come with it; a client's own
//! headers of that name stop here. Requests were authenticated and authorized before; `http/extension.rs` passes them on. What extensions serve,
//! whether they answer, and which OpenAPI (v3) they have, is found out by the loops in `apiservices`; namespaces that end ask for what is in
//! them (`local/beyond.rs`). OpenAPI v2 shows what this server serves alone: that of extensions is not merged, nor turned into v3 where they
//! have nothing else. What they keep is not collected with an owner that is gone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use pintle_registry::Lookup;
use serde_json::Value;

use crate::auth::{Pki, User};
use crate::cache::Cache;
use crate::outbound::{self, Bounds, Remote};
use crate::resources::Table;

pub const SERVICES: GroupVersionResource = GroupVersionResource::constant("apiregistration.k8s.io", "v1", "apiservices");

/// The group versions that others serve.
#[derive(Default)]
pub struct Extensions {
    by_name: Mutex<HashMap<String, Arc<Extension>>>,
    /// By group and version.
    served: ArcSwap<HashMap<(String, String), Arc<Extension>>>,
    /// Names of those that said what they serve when they were asked last.
    answered: ArcSwap<HashSet<String>>,
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

    /// Who has the OpenAPI document at a path.
    pub fn find_document(&self, path: &str) -> Option<Arc<Extension>> {
        let root = path.strip_prefix("/openapi/v3")?;
        self.find(root).filter(|extension| extension.root() == root)
    }

    pub fn all(&self) -> Vec<Arc<Extension>> {
        self.served.load().values().cloned().collect()
    }

    pub fn are_none(&self) -> bool {
        self.served.load().is_empty()
    }

    /// Those who said what they serve when they were asked last.
    pub fn answering(&self) -> Vec<Arc<Extension>> {
        let answered = self.answered.load();
        self.served.load().values().filter(|e| answered.contains(&e.name)).cloned().collect()
    }

    /// Who is not among these does not answer any more.
    pub fn keep_answers(&self, names: &HashSet<String>) {
        self.note_answers(self.answered.load().intersection(names).cloned().collect());
    }

    /// Of all of them, who answered.
    pub fn note_answers(&self, names: HashSet<String>) {
        if **self.answered.load() != names {
            self.answered.store(Arc::new(names));
        }
    }

    /// Group versions of which nobody knows what is in them now, as `group/version`, in order.
    pub fn unanswered(&self) -> Vec<String> {
        let (served, answered) = (self.served.load(), self.answered.load());
        let silent = served.values().filter(|e| !answered.contains(&e.name));
        let mut silent: Vec<String> = silent.map(|e| format!("{}/{}", e.group, e.version)).collect();
        silent.sort();
        silent
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

    /// Below which all paths are that it serves.
    pub fn root(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// Whether both are one APIService as it stood at two times, with the same server behind it.
    pub fn is_like(&self, other: &Self) -> bool {
        self.name == other.name && self.spec == other.spec
    }

    pub fn remote(&self) -> Result<&Remote, String> {
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
}

impl Extension {
    /// Asks in the user's name; a refusal is an error.
    pub async fn ask(&self, objects: &dyn Lookup, user: &User, request: http::Request<Full<Bytes>>, bounds: Bounds) -> Result<Bytes, Status> {
        let unavailable = |why: String| Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}"));
        let mut request = request;
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        name_user(request.headers_mut(), user);
        let remote = self.remote().map_err(unavailable)?;
        let (code, body) = remote.call(objects, request, bounds).await.map_err(unavailable)?;
        if (200..300).contains(&code) {
            return Ok(body);
        }
        Err(Status::from_body(code, &body))
    }
}

/// Says who asks, in headers that nobody else may set.
pub fn name_user(headers: &mut HeaderMap, user: &User) {
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
