//! Handshakes in memory with a server whose certificate is of version 1 (`openssl x509 -req -signkey`), which no verifier here could read.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{any_certificate, unverified};

const CERTIFICATE: &[u8] = include_bytes!("version1.crt");
const KEY: &[u8] = include_bytes!("version1.key");

#[test]
fn a_certificate_of_version_1_is_taken() {
    let both = [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)];
    for (spoken, name) in both {
        assert_eq!(handshake(unverified(&[b"h2"]), spoken), Ok(Some(name)));
    }
}

#[test]
fn who_verifies_does_not_take_it() {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let verifying = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    assert!(handshake(verifying, &version::TLS13).unwrap_err().contains("UnsupportedCertVersion"));
}

#[test]
fn all_signatures_of_the_provider_are_offered() {
    assert_eq!(any_certificate().supported_verify_schemes(), ring::default_provider().signature_verification_algorithms.supported_schemes());
}

fn handshake(client: ClientConfig, spoken: &'static SupportedProtocolVersion) -> Result<Option<ProtocolVersion>, String> {
    let mut client = ClientConnection::new(Arc::new(client), "old".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server(spoken))).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|e| e.to_string())?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|e| e.to_string())?;
    }
    assert_eq!(client.peer_certificates().unwrap()[0], chain()[0]);
    Ok(client.protocol_version())
}

fn server(spoken: &'static SupportedProtocolVersion) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap();
    let identity = SingleCertAndKey::from(CertifiedKey::new(chain(), key));
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[spoken]).unwrap();
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn chain() -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()]
}
