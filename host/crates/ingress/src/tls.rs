//! Which certificate a client is shown: by the server name that it asks for, else one made at start, that nobody trusts.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::compiled::Compiled;
use crate::table::Certificate;

const FAKE_NAME: &str = "Kubernetes Ingress Controller Fake Certificate";

/// By server name; `*.example.com` stands for one label.
#[derive(Default)]
pub struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    pub fn new(certificates: &[Certificate]) -> Self {
        let mut by_name = HashMap::new();
        for certificate in certificates {
            match load(certificate) {
                Ok(key) => by_name.extend(certificate.hosts.iter().map(|host| (host.to_ascii_lowercase(), key.clone()))),
                Err(error) => tracing::warn!(source = certificate.source, %error, "a certificate is left out"),
            }
        }
        Self { by_name }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| self.by_name.get(&format!("*{}", &name[name.find('.')?..])))
    }
}

/// For the TLS listener: certificates follow the table.
pub fn server_config(provider: &Arc<CryptoProvider>, table: Arc<ArcSwap<Compiled>>) -> Result<ServerConfig, rustls::Error> {
    let resolver = Resolver { table, fake: Arc::new(fake()?) };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

struct Resolver {
    table: Arc<ArcSwap<Compiled>>,
    fake: Arc<CertifiedKey>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let found = hello.server_name().and_then(|name| table.certificates.find(name));
        Some(found.unwrap_or(&self.fake).clone())
    }
}

fn load(certificate: &Certificate) -> Result<Arc<CertifiedKey>, String> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&certificate.chain).collect::<Result<_, _>>().map_err(|e| format!("chain: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(&certificate.key).map_err(|e| format!("key: {e}"))?;
    let signer = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|e| format!("key: {e}"))?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        Err(error) => Err(error.to_string()),
    }
}

fn fake() -> Result<CertifiedKey, rustls::Error> {
    let failed = |e: rcgen::Error| rustls::Error::General(e.to_string());
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let mut parameters = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()]).map_err(failed)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, FAKE_NAME);
    parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme Co");
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::new(vec![certificate.der().clone()], rustls::crypto::ring::sign::any_supported_type(&private)?))
}
