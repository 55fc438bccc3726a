//! Where a plugin's bytes come from, and whether they are what they are said to be: every source ends here in bytes with a digest and,
//! where keys are asked for, a signature.
//!
//! What was fetched once is kept by its digest (`folder`), and a reference to a registry stays at the manifest that it stood for when it
//! was first resolved: a restart needs no network, and a tag that moves changes nothing.

mod folder;
pub mod oci;
pub mod signature;
pub mod web;

use std::sync::Arc;

use pintle_api::Client;
use pintle_api::GroupVersionResource;
use pintle_api::client::Target;
use pintle_api::object::ObjectExt;

use folder::MAX_SIGNATURE_BYTES;
pub use folder::{Bytes, Components, MAX_INLINE_BYTES};
use oci::{Login, Registry};
use signature::{PublicKey, Signature};
use web::Trust;

use crate::engine::digest;
use crate::load::{LoadError, MAX_COMPONENT_BYTES};
use crate::loader;
use crate::plugin::{HttpsSource, OciSource, SecretReference, Source, SourceStatus, Spec};

const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");

pub struct Sources {
    pub folder: Arc<Components>,
    /// Reads pull secrets, as the plugin manager.
    client: Arc<dyn Client>,
    /// Keys that every component must be signed with that is not inside the binary.
    required: Vec<PublicKey>,
}

/// Bytes that may be loaded.
#[derive(Debug)]
pub struct Fetched {
    pub bytes: Bytes,
    pub digest: String,
    /// Set for a registry's: what the reference stands for.
    pub resolved: Option<SourceStatus>,
    /// The fingerprints of the keys that signed them.
    pub keys: Vec<String>,
}

/// What a source gave, and where signatures of it would be.
struct Found {
    bytes: Bytes,
    /// Of a registry's artifact; else empty.
    manifest: String,
    resolved: Option<SourceStatus>,
    beside: Beside,
}

enum Beside {
    /// These, if any.
    Here(Vec<Signature>),
    Url(HttpsSource),
    Registry(Box<Registry>),
}

impl Sources {
    pub fn new(folder: Arc<Components>, client: Arc<dyn Client>, required: Vec<PublicKey>) -> Self {
        Self { folder, client, required }
    }

    /// The bytes, checked against digest and keys. `before`: what the source was resolved to for the object's earlier life.
    pub async fn fetch(&self, spec: &Spec, before: Option<&SourceStatus>) -> Result<Fetched, LoadError> {
        check_one(&spec.source)?;
        let mut keys = Vec::new();
        if spec.source.embedded.is_empty() {
            keys.extend(self.required.iter().cloned());
            let own = spec.verify.as_ref().filter(|v| !v.public_key.is_empty());
            keys.extend(own.map(|v| PublicKey::parse(&v.public_key).map_err(LoadError::Configuration)).transpose()?);
        }
        let mut found = self.find(spec, before).await?;
        let (bytes, digest) = digest_of(found.bytes).await?;
        found.bytes = bytes;
        if !spec.digest.is_empty() && spec.digest != digest {
            return Err(LoadError::Digest { found: digest, wanted: spec.digest.clone() });
        }
        self.verify(spec, &keys, &found, &digest).await?;
        let keys = keys.iter().map(PublicKey::fingerprint).collect();
        let resolved = found.resolved.map(|r| SourceStatus { digest: digest.clone(), ..r });
        Ok(Fetched { bytes: found.bytes, digest, resolved, keys })
    }

    async fn find(&self, spec: &Spec, before: Option<&SourceStatus>) -> Result<Found, LoadError> {
        let Source { https, oci, .. } = &spec.source;
        let local = |bytes: Bytes, beside: Beside| Found { bytes, manifest: String::new(), resolved: None, beside };
        if let Some(source) = https {
            if spec.digest.is_empty() {
                return Err(LoadError::Source("https: spec.digest must say which bytes are meant".to_owned()));
            }
            let bytes = match self.kept(&spec.digest).await {
                Some(bytes) => bytes,
                None => download(&source.url, source, MAX_COMPONENT_BYTES)
                    .await?
                    .ok_or_else(|| LoadError::Source(format!("{} is not there", source.url)))?
                    .into(),
            };
            return Ok(local(bytes, Beside::Url(source.clone())));
        }
        if let Some(source) = oci {
            return self.find_in_registry(source, before).await;
        }
        let (folder, source) = (self.folder.clone(), spec.source.clone());
        let read = move || {
            let signature = folder.signature_beside(&source).map(Signature::Blob);
            folder.read(&source).map(|bytes| (bytes, Beside::Here(signature.into_iter().collect())))
        };
        let (bytes, beside) = loader::run(read).await??;
        Ok(local(bytes, beside))
    }

    async fn find_in_registry(&self, source: &OciSource, before: Option<&SourceStatus>) -> Result<Found, LoadError> {
        let fault = |why: String| LoadError::Source(format!("{}: {why}", source.reference));
        let trust = Trust::of(&source.ca_bundle, source.plain_http).map_err(fault)?;
        let login = match &source.pull_secret {
            Some(secret) => Some(self.login(secret, &source.reference).await?),
            None => None,
        };
        let registry = Registry::open(&source.reference, &trust, login).map_err(fault)?;
        let before = before.filter(|b| b.reference == source.reference);
        let manifest = before.and_then(|b| b.resolved.split_once('@')).map(|(_, manifest)| manifest.to_owned());
        if let (Some(before), Some(manifest)) = (before, &manifest)
            && let Some(bytes) = self.kept(&before.digest).await
        {
            let (manifest, resolved) = (manifest.clone(), Some(before.clone()));
            return Ok(Found { bytes, manifest, resolved, beside: Beside::Registry(Box::new(registry)) });
        }
        let pulled = registry.pull(manifest.as_deref()).await.map_err(fault)?;
        let resolved = SourceStatus { reference: source.reference.clone(), resolved: registry.pinned(&pulled.manifest), digest: String::new() };
        Ok(Found { bytes: pulled.bytes.into(), manifest: pulled.manifest, resolved: Some(resolved), beside: Beside::Registry(Box::new(registry)) })
    }

    async fn login(&self, secret: &SecretReference, reference: &str) -> Result<Login, LoadError> {
        let fault = |why: &str| LoadError::Source(format!("{reference}: the pull secret {}/{} {why}", secret.namespace, secret.name));
        let target = Target::object(SECRETS, Some(&secret.namespace), &secret.name);
        let object = self.client.get(&target).await.map_err(|status| fault(&format!("cannot be read: {status}")))?;
        let object = object.parse().map_err(|_| fault("cannot be read"))?;
        let data = object.str_at(&["data", ".dockerconfigjson"]);
        let config = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).map_err(|_| fault("has no .dockerconfigjson"))?;
        let registry = oci::registry_of(reference).unwrap_or_default();
        oci::login_from(&config, &registry).ok_or_else(|| fault(&format!("names no user for {registry}")))
    }

    async fn kept(&self, digest: &str) -> Option<Bytes> {
        let (folder, source) = (self.folder.clone(), Source { digest: digest.to_owned(), ..Source::default() });
        let bytes = loader::run(move || folder.read(&source)).await.ok()?.ok()?;
        // The folder is the host's own, but a torn file must not count as what it is called.
        digest_of(bytes).await.ok().and_then(|(bytes, found)| (found == digest).then_some(bytes))
    }

    /// Each key must have signed the bytes, now or when they were first kept.
    async fn verify(&self, spec: &Spec, keys: &[PublicKey], found: &Found, digest: &str) -> Result<(), LoadError> {
        if self.folder.is_embedded(digest) {
            return Ok(());
        }
        let known = self.folder.signers(digest);
        let missing: Vec<&PublicKey> = keys.iter().filter(|key| !known.contains(&key.fingerprint())).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let given = spec.verify.as_ref().filter(|v| !v.signature.is_empty()).map(|v| Signature::Blob(v.signature.clone()));
        let mut signatures: Vec<Signature> = given.into_iter().collect();
        let place = match &found.beside {
            Beside::Here(here) => {
                signatures.extend(here.iter().cloned());
                String::new()
            }
            Beside::Url(source) => {
                let url = format!("{}.sig", source.url);
                let text = download(&url, source, MAX_SIGNATURE_BYTES as usize).await?;
                signatures.extend(text.map(|t| Signature::Blob(String::from_utf8_lossy(&t).into_owned())));
                format!(", none at {url}")
            }
            Beside::Registry(registry) => {
                signatures.extend(registry.signatures(&found.manifest).await.map_err(LoadError::Source)?);
                format!(", none for {} in its registry", found.manifest)
            }
        };
        let rejected = missing.iter().find(|key| !signatures.iter().any(|s| key.accepts(s, &found.bytes, &found.manifest)));
        match rejected {
            None => Ok(()),
            Some(key) if signatures.is_empty() => {
                Err(LoadError::Unverified(format!("has no signature{place}; the key {} is asked for", key.fingerprint())))
            }
            Some(key) => Err(LoadError::Unverified(format!("none of its {} signatures is of the key {}", signatures.len(), key.fingerprint()))),
        }
    }
}

fn check_one(source: &Source) -> Result<(), LoadError> {
    let Source { inline, file, embedded, digest, https, oci } = source;
    let texts = [inline, file, embedded, digest].into_iter().filter(|s| !s.is_empty()).count();
    let given = texts + usize::from(https.is_some()) + usize::from(oci.is_some());
    if given == 1 {
        return Ok(());
    }
    Err(LoadError::Source(format!("exactly one of inline, file, embedded, digest, https and oci must be given, not {given}")))
}

async fn download(url: &str, source: &HttpsSource, max_bytes: usize) -> Result<Option<Vec<u8>>, LoadError> {
    let fault = |why: String| LoadError::Source(format!("{url}: {why}"));
    let trust = Trust::of(&source.ca_bundle, false).map_err(fault)?;
    let client = web::client(&trust).map_err(fault)?;
    web::get(client.get(url), max_bytes).await.map_err(fault)
}

/// With the bytes, which are not copied for it.
async fn digest_of(bytes: Bytes) -> Result<(Bytes, String), LoadError> {
    let work = move || {
        let digest = digest(&bytes);
        (bytes, digest)
    };
    loader::run(work).await
}
