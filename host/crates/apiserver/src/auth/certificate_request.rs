//! What a CertificateSigningRequest asks for: read off its PEM text, its signature verified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_api::Object;
use pintle_api::object::ObjectExt;
use rcgen::{SanType, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use super::pki::san;

pub const GROUP: &str = "certificates.k8s.io";
/// The signer of clients that are no nodes.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

#[derive(Clone, Debug)]
pub struct Parsed {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub names: Vec<SanType>,
    pub public_key: SubjectPublicKeyInfo,
}

/// Common name and organizations of a CertificateSigningRequest object.
pub fn subject_of(object: &Object) -> Result<(String, Vec<String>), String> {
    parse(object).map(|p| (p.common_name, p.organizations))
}

pub fn parse(object: &Object) -> Result<Parsed, String> {
    let pem = STANDARD.decode(object.str_at(&["spec", "request"])).map_err(|e| e.to_string())?;
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|e| e.to_string())?;
    request.verify_signature().map_err(|e| format!("signature: {e}"))?;
    let subject = &request.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().map(str::to_owned).map_err(|e| e.to_string());
    let names = request.requested_extensions().into_iter().flatten().filter_map(|e| match e {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    Ok(Parsed {
        common_name: subject.iter_common_name().next().map(text).transpose()?.unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect::<Result<_, _>>()?,
        names: names.flatten().map(|n| san(n).ok_or_else(|| format!("subjectAltName {n} is not allowed"))).collect::<Result<_, _>>()?,
        public_key: SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw).map_err(|e| e.to_string())?,
    })
}
