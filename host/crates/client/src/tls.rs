//! The TLS side of a [`Config`]: whom to trust, whom to be.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Config, ConfigError};

/// Debian's bundle, and where other systems keep theirs.
const SYSTEM_BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub fn client_config(config: &Config) -> Result<ClientConfig, ConfigError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::invalid("TLS versions", error))?;
    let builder = if config.insecure {
        builder.dangerous().with_custom_certificate_verifier(pintle_tls::any_certificate())
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    let Some((chain, key)) = &config.credentials.certificate else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ConfigError::invalid("client certificate", format!("{error:?}")))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| ConfigError::invalid("client key", format!("{error:?}")))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| ConfigError::invalid("client certificate", error))
}

fn roots(config: &Config) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let pem = match &config.ca_pem {
        Some(pem) => pem.clone(),
        None => SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default(),
    };
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| ConfigError::invalid("certificate authority", format!("{error:?}")))?;
        match roots.add(certificate) {
            // One odd certificate among the system's is no reason to trust none.
            Err(error) if config.ca_pem.is_some() => return Err(ConfigError::invalid("certificate authority", error)),
            _ => {}
        }
    }
    if config.ca_pem.is_some() && roots.is_empty() {
        return Err(ConfigError::invalid("certificate authority", "no certificate in it"));
    }
    Ok(roots)
}
