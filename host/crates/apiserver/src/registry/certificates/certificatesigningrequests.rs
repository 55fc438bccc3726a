//! `certificates.k8s.io/v1` CertificateSigningRequest.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(
        cluster("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest")
            .short(&["csr"])
            .status()
            .sub("approval", &["get", "patch", "update"]),
    )
}
