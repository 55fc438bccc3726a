//! TLS for the kubelet: its serving side, which asks for a client certificate of the cluster's authority, and the
//! client side of HTTPS probes, which trusts anybody because a probe asks for life, not identity.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("certificate authority: {0}")]
    Authority(String),
    #[error("serving certificate: {0}")]
    Serving(String),
}

/// Serves with the given certificate, or with one made now and signed by itself.
pub fn server_config(client_ca_pem: &str, serving: Option<(&str, &str)>, names: Vec<String>) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(client_ca_pem.as_bytes()) {
        let cert = cert.map_err(|e| TlsError::Authority(e.to_string()))?;
        roots.add(cert).map_err(|e| TlsError::Authority(e.to_string()))?;
    }
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| TlsError::Authority(e.to_string()))?;
    let (chain, key) = match serving {
        Some((cert, key)) => read_pair(cert, key)?,
        None => self_signed(names)?,
    };
    let failed = |e: rustls::Error| TlsError::Serving(e.to_string());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(failed)?;
    // Upgraded connections need HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

pub async fn connect_unverified(host: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    static UNVERIFIED: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(pintle_tls::unverified(&[])));
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    TlsConnector::from(UNVERIFIED.clone()).connect(name, stream).await
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_pair(cert: &str, key: &str) -> Result<Pair, TlsError> {
    let failed = |e: rustls::pki_types::pem::Error| TlsError::Serving(e.to_string());
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(failed)?;
    Ok((chain, key))
}

fn self_signed(names: Vec<String>) -> Result<Pair, TlsError> {
    let made = rcgen::generate_simple_self_signed(names).map_err(|e| TlsError::Serving(e.to_string()))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}
