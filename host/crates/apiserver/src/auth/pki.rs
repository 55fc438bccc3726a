//! The cluster's keys and certificates: made on the first start under `data_dir/pki`, read again afterwards, renewed
//! when near their end.
//!
//! One certificate authority signs servers, clients and nodes; one ECDSA key signs service account tokens. Private keys
//! are written with mode 0600 and leave this module only inside kubeconfig files and TLS configurations. Callers: the
//! server at start, the certificate signer, and whoever makes a kubeconfig. It asks nobody for permission: callers do.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

/// Ten years, as kubeadm gives its authority.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// One year, as kubeadm gives the rest.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// A certificate with less than this left is made anew at start.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Clocks of joining machines may be behind ours by this.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("tls: {0}")]
    Tls(String),
}

type Result<T> = std::result::Result<T, PkiError>;

/// The names and addresses under which clients reach the API server.
#[derive(Clone, Debug)]
pub struct ServerNames {
    pub advertise: IpAddr,
    /// The address of the service default/kubernetes.
    pub service: IpAddr,
    pub extra: Vec<String>,
}

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub names: Vec<SanType>,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    pub key_usages: Vec<KeyUsagePurpose>,
    pub lifetime: Duration,
}

pub struct Pki {
    ca_certificate: String,
    ca_issuer: Issuer<'static, KeyPair>,
    ca_ends: OffsetDateTime,
    pub server: Identity,
    pub admin: Identity,
    /// With which the server calls kubelets.
    pub kubelet_client: Identity,
    /// With which the server passes requests on in others' names.
    pub front_proxy: Identity,
    /// PKCS#8 PEM of the key that signs service account tokens.
    pub service_account_key: String,
}

impl Pki {
    pub fn load_or_create(data_dir: &Path, names: &ServerNames) -> Result<Self> {
        let dir = data_dir.join("pki");
        fs::create_dir_all(&dir).map_err(|source| PkiError::Io { path: dir.clone(), source })?;
        let (ca_certificate, ca_issuer, ca_ends) = certificate_authority(&dir)?;
        let service_account_key = service_account_key(&dir)?;
        let empty = || Identity { certificate: String::new(), key: String::new() };
        let mut pki = Self {
            ca_certificate,
            ca_issuer,
            ca_ends,
            server: empty(),
            admin: empty(),
            kubelet_client: empty(),
            front_proxy: empty(),
            service_account_key,
        };
        pki.server = pki.identity(&dir, "apiserver", &server_request(names))?;
        pki.admin = pki.identity(&dir, "admin", &Request::client("kubernetes-admin", &["system:masters"]))?;
        pki.kubelet_client =
            pki.identity(&dir, "apiserver-kubelet-client", &Request::client("kube-apiserver-kubelet-client", &["system:masters"]))?;
        pki.front_proxy = pki.identity(&dir, "front-proxy-client", &Request::client("front-proxy-client", &[]))?;
        Ok(pki)
    }

    /// Makes what all servers of a cluster share, as far as it is missing: the authority and the key of service account tokens.
    pub fn create_shared_keys(data_dir: &Path) -> Result<()> {
        let dir = data_dir.join("pki");
        fs::create_dir_all(&dir).map_err(|source| PkiError::Io { path: dir.clone(), source })?;
        certificate_authority(&dir)?;
        service_account_key(&dir).map(drop)
    }

    /// The authority alone, to issue identities beside a server that runs.
    pub fn load_authority(data_dir: &Path) -> Result<Self> {
        let (ca_certificate, ca_issuer, ca_ends) = certificate_authority(&data_dir.join("pki"))?;
        let none = || Identity { certificate: String::new(), key: String::new() };
        Ok(Self {
            ca_certificate,
            ca_issuer,
            ca_ends,
            server: none(),
            admin: none(),
            kubelet_client: none(),
            front_proxy: none(),
            service_account_key: String::new(),
        })
    }

    /// PEM of the authority's certificate: what clients trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_certificate
    }

    /// A new key with a certificate of the authority.
    pub fn issue(&self, request: &Request) -> Result<Identity> {
        let key = KeyPair::generate()?;
        Ok(Identity { certificate: self.sign(request, &key)?, key: key.serialize_pem() })
    }

    /// A client certificate for any user.
    pub fn issue_client(&self, name: &str, groups: &[&str]) -> Result<Identity> {
        self.issue(&Request::client(name, groups))
    }

    /// The client certificate of a kubelet.
    pub fn issue_node_client(&self, node: &str) -> Result<Identity> {
        self.issue_client(&format!("system:node:{node}"), &["system:nodes"])
    }

    /// The serving certificate of a kubelet.
    pub fn issue_node_server(&self, node: &str, addresses: &[IpAddr]) -> Result<Identity> {
        let mut names: Vec<String> = vec![node.to_owned()];
        names.extend(addresses.iter().map(IpAddr::to_string));
        self.issue(&Request::server(&format!("system:node:{node}"), &["system:nodes"], &names))
    }

    /// Signs somebody else's public key; never for longer than the authority itself lasts.
    pub fn sign(&self, request: &Request, public_key: &impl PublicKeyData) -> Result<String> {
        let mut params = request.params();
        params.not_after = params.not_after.min(self.ca_ends);
        Ok(params.signed_by(public_key, &self.ca_issuer)?.pem())
    }

    /// TLS for the API server: client certificates are asked for, and verified when given.
    pub fn server_config(&self) -> Result<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| PkiError::Tls(e.to_string()))?;
        let (chain, key) = self.server.der()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_client_cert_verifier(verifier).with_single_cert(chain, key))
            .map_err(|e| PkiError::Tls(e.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// TLS towards kubelets: trusts the authority, shows the server's kubelet client certificate.
    pub fn kubelet_client_config(&self) -> Result<rustls::ClientConfig> {
        let (chain, key) = self.kubelet_client.der()?;
        let roots = self.roots()?;
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(|e| PkiError::Tls(e.to_string()))
    }

    pub fn roots(&self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca_certificate.as_bytes()) {
            let certificate = certificate.map_err(|e| PkiError::Tls(e.to_string()))?;
            store.add(certificate).map_err(|e| PkiError::Tls(e.to_string()))?;
        }
        Ok(store)
    }

    /// A kubeconfig with everything inside. `server` is the URL.
    pub fn kubeconfig(&self, server: &str, user: &str, identity: &Identity) -> String {
        let data = |pem: &str| STANDARD.encode(pem);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {user}@pintle\nclusters:\n- name: pintle\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {}\ncontexts:\n- name: {user}@pintle\n  context:\n    cluster: pintle\n    user: {user}\nusers:\n\
             - name: {user}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            data(&self.ca_certificate),
            data(&identity.certificate),
            data(&identity.key)
        )
    }

    /// Writes the kubeconfig of the administrator.
    pub fn write_admin_kubeconfig(&self, path: &Path, server: &str) -> Result<()> {
        write(path, &self.kubeconfig(server, "kubernetes-admin", &self.admin), 0o600)
    }

    /// Writes a kubeconfig with a new certificate for the node.
    pub fn write_node_kubeconfig(&self, path: &Path, server: &str, node: &str) -> Result<()> {
        let identity = self.issue_node_client(node)?;
        write(path, &self.kubeconfig(server, &format!("system:node:{node}"), &identity), 0o600)
    }

    /// Reads the pair of files, or makes them when they are missing, near their end, of another authority or for other names.
    fn identity(&self, dir: &Path, name: &str, request: &Request) -> Result<Identity> {
        let (certificate_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if let (Some(certificate), Some(key)) = (read(&certificate_path)?, read(&key_path)?)
            && self.still_good(&certificate, request)
        {
            return Ok(Identity { certificate, key });
        }
        let identity = self.issue(request)?;
        write(&key_path, &identity.key, 0o600)?;
        write(&certificate_path, &identity.certificate, 0o644)?;
        Ok(identity)
    }

    fn still_good(&self, certificate: &str, request: &Request) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else { return false };
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else { return false };
        let Ok(ca_der) = CertificateDer::from_pem_slice(self.ca_certificate.as_bytes()) else { return false };
        let Ok((_, ca)) = x509_parser::parse_x509_certificate(&ca_der) else { return false };
        let held: Vec<SanType> = match parsed.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().filter_map(san).collect(),
            _ => Vec::new(),
        };
        parsed.validity().not_after.to_datetime() > OffsetDateTime::now_utc() + RENEW_BEFORE
            && request.names.iter().all(|n| held.contains(n))
            && parsed.verify_signature(Some(ca.public_key())).is_ok()
    }
}

impl Identity {
    /// As rustls takes it.
    pub fn der(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        Ok((chain.map_err(|e| PkiError::Tls(e.to_string()))?, key.map_err(|e| PkiError::Tls(e.to_string()))?))
    }
}

impl Request {
    pub fn client(common_name: &str, organizations: &[&str]) -> Self {
        Self {
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|o| (*o).to_owned()).collect(),
            names: Vec::new(),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            key_usages: vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment],
            lifetime: CERTIFICATE_LIFETIME,
        }
    }
    /// Names that parse as addresses become addresses.
    pub fn server(common_name: &str, organizations: &[&str], names: &[String]) -> Self {
        let names = names.iter().filter_map(|n| match n.parse() {
            Ok(address) => Some(SanType::IpAddress(address)),
            Err(_) => n.clone().try_into().ok().map(SanType::DnsName),
        });
        Self { names: names.collect(), usages: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Self::client(common_name, organizations) }
    }

    fn params(&self) -> CertificateParams {
        let mut params = base_params(&self.common_name, &self.organizations, self.lifetime);
        params.subject_alt_names = self.names.clone();
        params.key_usages = self.key_usages.clone();
        params.extended_key_usages = self.usages.clone();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params
    }
}

/// A name of a certificate or request; `None`: of a kind that we do not sign.
pub fn san(name: &x509_parser::extensions::GeneralName<'_>) -> Option<SanType> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(n) => (*n).try_into().ok().map(SanType::DnsName),
        GeneralName::RFC822Name(n) => (*n).try_into().ok().map(SanType::Rfc822Name),
        GeneralName::URI(n) => (*n).try_into().ok().map(SanType::URI),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|o| SanType::IpAddress(o.into())),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|o| SanType::IpAddress(o.into())),
            _ => None,
        },
        _ => None,
    }
}

fn server_request(names: &ServerNames) -> Request {
    let mut all: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"].map(str::to_owned).into();
    all.extend(["127.0.0.1".to_owned(), "::1".to_owned(), names.advertise.to_string(), names.service.to_string()]);
    all.extend(names.extra.iter().cloned());
    all.sort();
    all.dedup();
    Request::server("kube-apiserver", &[], &all)
}

fn certificate_authority(dir: &Path) -> Result<(String, Issuer<'static, KeyPair>, OffsetDateTime)> {
    let (certificate_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    let (certificate, key) = match (read(&certificate_path)?, read(&key_path)?) {
        (Some(certificate), Some(key)) => (certificate, KeyPair::from_pem(&key)?),
        (Some(_), None) => {
            let why = "the authority's certificate is here but its key is not; restore it or remove the whole folder".to_owned();
            return Err(PkiError::Unreadable { path: key_path, why });
        }
        (None, _) => {
            let key = KeyPair::generate()?;
            let mut params = base_params("kubernetes", &[], CA_LIFETIME);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
            params.subject_alt_names = Request::server("", &[], &["kubernetes".to_owned()]).names;
            let certificate = params.self_signed(&key)?.pem();
            write(&key_path, &key.serialize_pem(), 0o600)?;
            write(&certificate_path, &certificate, 0o644)?;
            (certificate, key)
        }
    };
    let unreadable = |why: String| PkiError::Unreadable { path: certificate_path.clone(), why };
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|e| unreadable(e.to_string()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|e| unreadable(e.to_string()))?;
    let ends = parsed.validity().not_after.to_datetime();
    let issuer = Issuer::from_ca_cert_der(&der, key)?;
    Ok((certificate, issuer, ends))
}

fn service_account_key(dir: &Path) -> Result<String> {
    let path = dir.join("sa.key");
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    let key = KeyPair::generate()?.serialize_pem();
    write(&path, &key, 0o600)?;
    Ok(key)
}

fn base_params(common_name: &str, organizations: &[String], lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    for organization in organizations {
        subject.push(DnType::OrganizationName, organization.as_str());
    }
    subject.push(DnType::CommonName, common_name);
    params.distinguished_name = subject;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    params
}

/// `None`: there is no such file.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Io { path: path.to_owned(), source }),
    }
}

/// Through a temporary file, so that a reader never sees half of it and an old mode never stays.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let io = |source| PkiError::Io { path: path.to_owned(), source };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&temporary, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(extra: &[&str]) -> ServerNames {
        let extra = extra.iter().map(|e| (*e).to_owned()).collect();
        ServerNames { advertise: [10, 0, 0, 5].into(), service: [10, 96, 0, 1].into(), extra }
    }

    #[test]
    fn survives_a_restart_and_follows_new_names() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(dir.path(), &names(&[])).unwrap();
        let again = Pki::load_or_create(dir.path(), &names(&[])).unwrap();
        assert_eq!(first.server.certificate, again.server.certificate);
        assert_eq!(first.service_account_key, again.service_account_key);
        let renamed = Pki::load_or_create(dir.path(), &names(&["api.example"])).unwrap();
        assert_ne!(first.server.certificate, renamed.server.certificate);
        assert_eq!(first.admin.certificate, renamed.admin.certificate);
        for key in ["ca.key", "sa.key", "apiserver.key", "admin.key"] {
            assert_eq!(fs::metadata(dir.path().join("pki").join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }
        renamed.server_config().unwrap();
        renamed.kubelet_client_config().unwrap();
    }

    #[test]
    fn another_authority_makes_new_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(dir.path(), &names(&[])).unwrap();
        for file in ["ca.crt", "ca.key"] {
            fs::remove_file(dir.path().join("pki").join(file)).unwrap();
        }
        let second = Pki::load_or_create(dir.path(), &names(&[])).unwrap();
        assert_ne!(first.admin.certificate, second.admin.certificate);
        fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
        assert!(Pki::load_or_create(dir.path(), &names(&[])).is_err(), "a lost key is not replaced silently");
    }
}
