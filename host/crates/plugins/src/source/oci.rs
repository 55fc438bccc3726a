//! Components in OCI registries, in the layout that the CNCF's Wasm working group describes: a manifest whose configuration is of the
//! type `application/vnd.wasm.config.v0+json` and whose one layer, `application/wasm`, is the component. Signatures lie where cosign
//! puts them: under the tag `sha256-DIGEST.sig` of the same repository.
//!
//! Refuses other layouts and whatever is larger than its limit. The manager pulls; the command line pushes, pulls and signs.

use futures::StreamExt;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::signature::{self, Signature};
use super::web::{self, Trust};
use crate::engine::digest;
use crate::load::MAX_COMPONENT_BYTES;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
pub const LAYER_TYPE: &str = "application/wasm";
const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_KEY: &str = "dev.cosignproject.cosign/signature";
/// What registries themselves allow.
const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Of one signed payload.
const MAX_PAYLOAD_BYTES: usize = 64 << 10;
/// Signatures of one component that are looked at.
const MAX_SIGNATURES: usize = 16;

/// A repository in a registry, with what it takes to get in.
pub struct Registry {
    client: Client,
    web: reqwest::Client,
    reference: Reference,
    auth: RegistryAuth,
    plain: bool,
}

/// A component and the manifest that it came with.
pub struct Pulled {
    pub bytes: Vec<u8>,
    /// `sha256:...` of the manifest.
    pub manifest: String,
}

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl Registry {
    /// `reference`: `REGISTRY/REPOSITORY[:TAG][@DIGEST]`. A registry on this machine's loopback speaks plain HTTP, unless there are
    /// certificates for it.
    pub fn open(reference: &str, trust: &Trust, login: Option<Login>) -> Result<Self, String> {
        let reference: Reference = reference.parse().map_err(|e| format!("{reference:?} is no reference: {e}"))?;
        let registry = reference.resolve_registry().to_owned();
        let plain = trust.plain_http || is_loopback(&registry) && trust.authorities.is_empty();
        let trust = Trust { plain_http: plain, ..trust.clone() };
        let web = web::client(&trust)?;
        let protocol = if plain { ClientProtocol::HttpsExcept(vec![registry]) } else { ClientProtocol::Https };
        let authorities = match trust.authorities.is_empty() {
            true => Vec::new(),
            false => vec![Certificate { encoding: CertificateEncoding::Pem, data: trust.authorities }],
        };
        let config = ClientConfig {
            protocol,
            extra_root_certificates: authorities,
            connect_timeout: Some(web::CONNECT_TIMEOUT),
            read_timeout: Some(web::READ_TIMEOUT),
            user_agent: concat!("pintle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|e| web::told(&e))?;
        let auth = login.map_or(RegistryAuth::Anonymous, |l| RegistryAuth::Basic(l.user, l.password));
        Ok(Self { client, web, reference, auth, plain })
    }

    /// `REGISTRY/REPOSITORY@DIGEST`.
    pub fn pinned(&self, manifest: &str) -> String {
        format!("{}@{manifest}", self.repository())
    }

    fn repository(&self) -> String {
        format!("{}/{}", self.reference.registry(), self.reference.repository())
    }

    /// The component. `manifest`: what the reference stood for before, so that a tag that moved changes nothing.
    pub async fn pull(&self, manifest: Option<&str>) -> Result<Pulled, String> {
        let pull = async {
            let wanted = manifest.or(self.reference.digest()).map(str::to_owned);
            let name = wanted.clone().unwrap_or_else(|| self.reference.tag().unwrap_or("latest").to_owned());
            let found = self.manifest(&name).await?.ok_or_else(|| format!("{}:{name} is not there", self.repository()))?;
            let manifest = digest(&found);
            if let Some(wanted) = wanted.filter(|w| *w != manifest) {
                return Err(format!("the registry gives the manifest {manifest} for {wanted}"));
            }
            let bytes = self.blob(&component_of(&found)?, MAX_COMPONENT_BYTES).await?;
            Ok(Pulled { bytes, manifest })
        };
        tokio::time::timeout(web::TOTAL_TIMEOUT, pull).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// The signatures of a manifest; none where there is no such tag.
    pub async fn signatures(&self, manifest: &str) -> Result<Vec<Signature>, String> {
        let read = async {
            let Some(found) = self.manifest(&signature_tag(manifest)).await? else { return Ok(Vec::new()) };
            let found: OciImageManifest = serde_json::from_slice(&found).map_err(|e| format!("the signatures' manifest: {e}"))?;
            let mut signatures = Vec::new();
            for layer in found.layers.iter().filter(|l| l.media_type == PAYLOAD_TYPE).take(MAX_SIGNATURES) {
                let Some(signature) = layer.annotations.as_ref().and_then(|a| a.get(SIGNATURE_KEY)) else { continue };
                let payload = self.blob(layer, MAX_PAYLOAD_BYTES).await?;
                signatures.push(Signature::Payload { payload, signature: signature.clone() });
            }
            Ok(signatures)
        };
        tokio::time::timeout(web::TOTAL_TIMEOUT, read).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Writes the component under the reference's tag; the manifest's digest. `config`: see [`config_of`].
    pub async fn push(&self, component: Vec<u8>, config: &Value) -> Result<String, String> {
        let layer = ImageLayer::new(component, LAYER_TYPE.to_owned(), None);
        self.put(&self.reference, layer, Config::new(config.to_string(), CONFIG_TYPE.to_owned(), None)).await
    }

    /// Signs a manifest and writes the signature where cosign looks for it. Signatures that were there before are replaced.
    pub async fn sign(&self, manifest: &str, private_key: &str) -> Result<(), String> {
        let payload = signature::payload(&self.repository(), manifest);
        let signed = signature::sign(private_key, &payload)?;
        let annotations = [(SIGNATURE_KEY.to_owned(), signed)].into_iter().collect();
        let layer = ImageLayer::new(payload, PAYLOAD_TYPE.to_owned(), Some(annotations));
        let tag = Reference::with_tag(self.reference.registry().to_owned(), self.reference.repository().to_owned(), signature_tag(manifest));
        let diff_ids = [layer.sha256_digest()];
        let config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = Config::new(config.to_string(), "application/vnd.oci.image.config.v1+json".to_owned(), None);
        self.put(&tag, layer, config).await.map(drop)
    }

    async fn put(&self, reference: &Reference, layer: ImageLayer, config: Config) -> Result<String, String> {
        let layers = [layer];
        let manifest = OciImageManifest { media_type: Some(MANIFEST_TYPE.to_owned()), ..OciImageManifest::build(&layers, &config, None) };
        let put = async {
            self.client.auth(reference, &self.auth, RegistryOperation::Push).await.map_err(|e| web::told(&e))?;
            self.client.push(reference, &layers, config, &self.auth, Some(manifest)).await.map_err(|e| web::told(&e))
        };
        tokio::time::timeout(web::TOTAL_TIMEOUT, put).await.unwrap_or_else(|_| Err(too_slow()))?;
        let name = reference.tag().unwrap_or("latest");
        self.manifest(name).await?.map(|m| digest(&m)).ok_or_else(|| format!("{reference} is not there after it was pushed"))
    }

    /// By tag or digest; `None` where there is none. The client's own way has no limit of size.
    async fn manifest(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let token = self.client.auth(&self.reference, &self.auth, RegistryOperation::Pull).await.map_err(|e| web::told(&e))?;
        let scheme = if self.plain { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/manifests/{name}", self.reference.resolve_registry(), self.reference.repository());
        let request = self.web.get(url).header(http::header::ACCEPT, MANIFEST_TYPE);
        let request = match (token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        };
        web::get(request, MAX_MANIFEST_BYTES).await
    }

    async fn blob(&self, layer: &OciDescriptor, max_bytes: usize) -> Result<Vec<u8>, String> {
        let length = usize::try_from(layer.size).map_err(|_| format!("a layer of {} bytes", layer.size))?;
        if length > max_bytes {
            return Err(format!("a layer of {length} bytes, more than the {max_bytes} that are read"));
        }
        let mut parts = self.client.pull_blob_stream(&self.reference, layer).await.map_err(|e| web::told(&e))?.stream;
        let mut bytes = Vec::with_capacity(length);
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| web::told(&e))?;
            if bytes.len() + part.len() > length {
                return Err(format!("a layer is longer than the {length} bytes that its manifest says"));
            }
            bytes.extend_from_slice(&part);
        }
        let found = format!("sha256:{}", crate::engine::hex(&Sha256::digest(&bytes)));
        if found != layer.digest {
            return Err(format!("a layer's digest is {found}, but its manifest says {}", layer.digest));
        }
        Ok(bytes)
    }
}

/// The configuration that the layout wants beside a component: what it imports and exports, by name.
pub fn config_of(component: &[u8], imports: &[String], exports: &[String], created: &str) -> Value {
    json!({
        "created": created, "architecture": "wasm", "os": "wasip2", "layerDigests": [digest(component)],
        "component": {"imports": imports, "exports": exports},
    })
}

/// User and password for a registry, from a Secret's `.dockerconfigjson`.
pub fn login_from(docker_config: &[u8], registry: &str) -> Option<Login> {
    let config: Value = serde_json::from_slice(docker_config).ok()?;
    let plain = |host: &str| host.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    let (_, entry) = config["auths"].as_object()?.iter().find(|(host, _)| plain(host) == registry)?;
    let text = |field: &str| entry[field].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Some(Login { user, password });
    }
    let both = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, entry["auth"].as_str()?).ok()?;
    let (user, password) = std::str::from_utf8(&both).ok()?.split_once(':')?;
    Some(Login { user: user.to_owned(), password: password.to_owned() })
}

/// The host and port of a reference.
pub fn registry_of(reference: &str) -> Option<String> {
    reference.parse::<Reference>().ok().map(|r| r.resolve_registry().to_owned())
}

/// The one layer that is the component.
fn component_of(manifest: &[u8]) -> Result<OciDescriptor, String> {
    let manifest: OciImageManifest = serde_json::from_slice(manifest).map_err(|e| format!("no OCI image manifest: {e}"))?;
    if manifest.config.media_type != CONFIG_TYPE {
        return Err(format!("no Wasm artifact: its configuration is {}, not {CONFIG_TYPE}", manifest.config.media_type));
    }
    match <[OciDescriptor; 1]>::try_from(manifest.layers) {
        Ok([layer]) if layer.media_type == LAYER_TYPE => Ok(layer),
        Ok([layer]) => Err(format!("its layer is {}, not {LAYER_TYPE}", layer.media_type)),
        Err(layers) => Err(format!("has {} layers; a Wasm artifact has one", layers.len())),
    }
}

fn signature_tag(manifest: &str) -> String {
    format!("{}.sig", manifest.replacen(':', "-", 1))
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn too_slow() -> String {
    format!("the registry did not answer within {} s", web::TOTAL_TIMEOUT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wasm_layout_is_taken() {
        let descriptor = |media_type: &str| json!({"mediaType": media_type, "digest": "sha256:0", "size": 1});
        let check = |config: &str, layers: &[&str]| {
            let layers: Vec<Value> = layers.iter().map(|l| descriptor(l)).collect();
            let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor(config), "layers": layers});
            component_of(manifest.to_string().as_bytes()).map(|l| l.media_type)
        };
        assert_eq!(check(CONFIG_TYPE, &[LAYER_TYPE]).as_deref(), Ok(LAYER_TYPE));
        assert!(check("application/vnd.oci.image.config.v1+json", &[LAYER_TYPE]).is_err_and(|e| e.starts_with("no Wasm artifact")));
        assert!(check(CONFIG_TYPE, &[LAYER_TYPE, LAYER_TYPE]).is_err_and(|e| e.starts_with("has 2 layers")));
        assert!(check(CONFIG_TYPE, &["text/plain"]).is_err_and(|e| e.contains("text/plain")));
        assert!(component_of(b"{}").is_err());
    }

    #[test]
    fn a_pull_secret_names_the_registry() {
        let config = br#"{"auths": {"https://r.example:5000/v1/": {"auth": "dTpwOnE="}, "other": {"username": "a", "password": "b"}}}"#;
        let found = |registry: &str| login_from(config, registry).map(|l| format!("{} {}", l.user, l.password));
        assert_eq!(found("r.example:5000").as_deref(), Some("u p:q"));
        assert_eq!(found("other").as_deref(), Some("a b"));
        assert_eq!(found("elsewhere"), None);
        assert_eq!(registry_of("r.example:5000/a/b:v1").as_deref(), Some("r.example:5000"));
    }

    #[test]
    fn loopback_registries_are_known() {
        let known: Vec<bool> = ["localhost:5000", "127.0.0.1:80", "[::1]:5000", "r.example", "10.0.0.1:5000"].map(is_loopback).to_vec();
        assert_eq!(known, [true, true, true, false, false]);
    }
}
