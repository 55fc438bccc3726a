//! Whether a server could use a certificate with a private key, and if not, why: in the words of Go's `crypto/tls`, which upstream repeats in
//! its warnings. A fault deep in the certificate's DER is told as malformed, whatever it is. Called by `warnings`.

use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Of a DER sequence.
const SEQUENCE: u8 = 0x30;

/// What is wrong with the pair, both in PEM.
pub fn fault(certificates: &[u8], keys: &[u8]) -> Option<String> {
    check(certificates, keys).err().map(|why| if why.starts_with("x509: ") { why } else { format!("tls: {why}") })
}

fn check(certificates: &[u8], keys: &[u8]) -> Result<(), String> {
    let leaf = first(certificates, |label| label == CERTIFICATE).map_err(|skipped| match &skipped[..] {
        [] => "failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with(PRIVATE_KEY) => {
            "failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned()
        }
        _ => format!(
            r#"failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following types: [{}]"#,
            skipped.join(" ")
        ),
    })?;
    let is_key = |label: &str| label == PRIVATE_KEY || label.ends_with(" PRIVATE KEY");
    let key = first(keys, is_key).map_err(|skipped| match &skipped[..] {
        [] => "failed to find any PEM data in key input".to_owned(),
        [one] if one == CERTIFICATE => "found a certificate rather than a key in the PEM for the private key".to_owned(),
        _ => format!(
            r#"failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the following types: [{}]"#,
            skipped.join(" ")
        ),
    })?;
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|_| "x509: malformed certificate".to_owned())?;
    let Some(of_key) = public_key(&key) else {
        // Curves that are not known here are known to upstream.
        return if key.first() == Some(&SEQUENCE) { Ok(()) } else { Err("failed to parse private key".to_owned()) };
    };
    let of_certificate = certificate.public_key();
    if of_certificate.raw == &*of_key {
        return Ok(());
    }
    let same_type = SubjectPublicKeyInfo::from_der(&of_key).is_ok_and(|(_, key)| key.algorithm.algorithm == of_certificate.algorithm.algorithm);
    Err(if same_type { "private key does not match public key" } else { "private key type does not match public key type" }.to_owned())
}

/// The first block that is wanted, or the labels of those that are not.
fn first(pem: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, Vec<String>> {
    let mut skipped = Vec::new();
    for block in Pem::iter_from_buffer(pem).map_while(Result::ok) {
        if wanted(&block.label) {
            return Ok(block.contents);
        }
        skipped.push(block.label);
    }
    Err(skipped)
}

/// As a certificate has it. The block's label does not say for sure how the key is encoded.
fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let forms: [PrivateKeyDer<'_>; 3] =
        [PrivatePkcs1KeyDer::from(der).into(), PrivatePkcs8KeyDer::from(der).into(), PrivateSec1KeyDer::from(der).into()];
    let key = forms.iter().find_map(|form| any_supported_type(form).ok())?;
    Some(key.public_key()?.to_vec())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use expect_test::{Expect, expect};

    use super::*;

    fn check(certificates: &str, keys: &str, expected: Expect) {
        expected.assert_eq(&fault(certificates.as_bytes(), keys.as_bytes()).unwrap_or_default());
    }

    fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn block(label: &str, contents: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(contents);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn pairs() {
        let (certificate, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (other, _) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (edwards, edwards_key) = pair(&rcgen::PKCS_ED25519);
        let chain = format!("{certificate}{other}");
        check(&certificate, &key, expect![[""]]);
        check(&chain, &format!("{}{key}", block("EC PARAMETERS", &[6, 1, 0])), expect![[""]]);
        check(&edwards, &edwards_key, expect![[""]]);
        check(&other, &key, expect![[r#"tls: private key does not match public key"#]]);
        check(&certificate, &edwards_key, expect![[r#"tls: private key type does not match public key type"#]]);
    }

    #[test]
    fn what_is_no_pair() {
        let (certificate, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        check("x", "x", expect![[r#"tls: failed to find any PEM data in certificate input"#]]);
        check(&certificate, "-----BEGIN ", expect![[r#"tls: failed to find any PEM data in key input"#]]);
        check(
            &key,
            &certificate,
            expect![[
                r#"tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"#
            ]],
        );
        check(&certificate, &certificate, expect![[r#"tls: found a certificate rather than a key in the PEM for the private key"#]]);
        let others = format!("{}{}", block("A", b"a"), block("B C", b"b"));
        check(
            &others,
            &key,
            expect![[
                r#"tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following types: [A B C]"#
            ]],
        );
        check(
            &certificate,
            &others,
            expect![[
                r#"tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the following types: [A B C]"#
            ]],
        );
        check(&block(CERTIFICATE, b"x"), &key, expect![[r#"x509: malformed certificate"#]]);
        check(&certificate, &block(PRIVATE_KEY, b"x"), expect![[r#"tls: failed to parse private key"#]]);
    }
}
