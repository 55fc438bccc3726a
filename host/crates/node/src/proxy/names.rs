//! Names of chains as kube-proxy makes them: a prefix and sixteen letters of a digest, so that tools which know them find ours.

use sha2::{Digest, Sha256};

use super::model::{Endpoint, ServicePort};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LENGTH: usize = 16;

pub struct ChainNames {
    pub cluster: String,
    pub local: String,
    pub firewall: String,
    pub external: String,
}

impl ChainNames {
    pub fn new(port: &ServicePort) -> Self {
        let hash = hash(&[&port.name, port.protocol.name()]);
        Self {
            cluster: format!("KUBE-SVC-{hash}"),
            local: format!("KUBE-SVL-{hash}"),
            firewall: format!("KUBE-FW-{hash}"),
            external: format!("KUBE-EXT-{hash}"),
        }
    }
}

pub fn endpoint_chain(port: &ServicePort, endpoint: &Endpoint) -> String {
    format!("KUBE-SEP-{}", hash(&[&port.name, port.protocol.name(), &format!("{}:{}", endpoint.address, endpoint.port)]))
}

pub fn is_service_chain(name: &str) -> bool {
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-FW-", "KUBE-EXT-", "KUBE-SEP-", "KUBE-XLB-"].iter().any(|p| name.starts_with(p))
}

/// The first letters of the SHA-256 in base 32.
fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part.as_bytes()));
    let bytes = digest.finalize();
    let mut bits = 0u32;
    let mut count = 0;
    let mut text = String::with_capacity(LENGTH);
    // Ten bytes make sixteen letters of five bits.
    for byte in &bytes[..LENGTH * 5 / 8] {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count & 31) as usize]));
        }
        bits &= (1 << count) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name() {
        // As every cluster shows it for default/kubernetes:https.
        assert_eq!(format!("KUBE-SVC-{}", hash(&["default/kubernetes:https", "tcp"])), "KUBE-SVC-NPX46M4PTMTKRN6Y");
        assert_eq!(format!("KUBE-SVC-{}", hash(&["kube-system/kube-dns:dns", "udp"])), "KUBE-SVC-TCOU7JCQXEZGVUNU");
    }
}
