//! One key and what is done with it, in the form in which upstream stores values: `k8s:enc:KIND:v1:NAME:` and then the ciphertext.
//!
//! The ciphers are RustCrypto's. aesgcm authenticates the value together with its key in the store, so that it cannot be moved to
//! another object; secretbox authenticates the value; aescbc, as everywhere, nothing.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, KeyInit as _};
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::Aead as _;

/// What every encrypted value begins with.
pub const SEALED: &[u8] = b"k8s:enc:";
const GCM_NONCE_BYTES: usize = 12;
const BOX_NONCE_BYTES: usize = 24;
const CBC_BLOCK_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AesGcm,
    AesCbc,
    SecretBox,
}

pub struct Provider {
    /// Empty: values lie as they are.
    prefix: Vec<u8>,
    cipher: Cipher,
}

enum Cipher {
    Identity,
    Gcm128(Box<Aes128Gcm>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<Aes256Gcm>),
    Cbc(Box<[u8]>),
    SecretBox(Box<XSalsa20Poly1305>),
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aesgcm",
            Self::AesCbc => "aescbc",
            Self::SecretBox => "secretbox",
        }
    }
    /// In bytes.
    pub fn key_sizes(self) -> &'static [usize] {
        match self {
            Self::AesGcm | Self::AesCbc => &[16, 24, 32],
            Self::SecretBox => &[32],
        }
    }
}

impl Provider {
    pub fn identity() -> Self {
        Self { prefix: Vec::new(), cipher: Cipher::Identity }
    }

    /// `None`: not a key of this kind.
    pub fn new(kind: Kind, name: &str, key: &[u8]) -> Option<Self> {
        let cipher = match (kind, key.len()) {
            (Kind::AesGcm, 16) => Cipher::Gcm128(Box::new(Aes128Gcm::new_from_slice(key).ok()?)),
            (Kind::AesGcm, 24) => Cipher::Gcm192(Box::new(AesGcm::new_from_slice(key).ok()?)),
            (Kind::AesGcm, 32) => Cipher::Gcm256(Box::new(Aes256Gcm::new_from_slice(key).ok()?)),
            (Kind::AesCbc, 16 | 24 | 32) => Cipher::Cbc(key.into()),
            (Kind::SecretBox, 32) => Cipher::SecretBox(Box::new(crypto_secretbox::KeyInit::new_from_slice(key).ok()?)),
            _ => return None,
        };
        Some(Self { prefix: format!("k8s:enc:{}:v1:{name}:", kind.name()).into_bytes(), cipher })
    }

    /// Whether it wrote such a value.
    pub fn reads(&self, stored: &[u8]) -> bool {
        if self.prefix.is_empty() { !stored.starts_with(SEALED) } else { stored.starts_with(&self.prefix) }
    }

    /// `key` is the value's in the store. `None` does not happen but for values of many gigabytes.
    pub fn seal(&self, key: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let gcm: [u8; GCM_NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: key };
        let (nonce, sealed) = match &self.cipher {
            Cipher::Identity => (Vec::new(), plain.to_vec()),
            Cipher::Gcm128(cipher) => (gcm.to_vec(), cipher.encrypt(&gcm.into(), payload).ok()?),
            Cipher::Gcm192(cipher) => (gcm.to_vec(), cipher.encrypt(&gcm.into(), payload).ok()?),
            Cipher::Gcm256(cipher) => (gcm.to_vec(), cipher.encrypt(&gcm.into(), payload).ok()?),
            Cipher::Cbc(secret) => {
                let iv: [u8; CBC_BLOCK_BYTES] = rand::random();
                (iv.to_vec(), encrypt_cbc(secret, &iv, plain)?)
            }
            Cipher::SecretBox(cipher) => {
                let nonce: [u8; BOX_NONCE_BYTES] = rand::random();
                (nonce.to_vec(), cipher.encrypt(&nonce.into(), plain).ok()?)
            }
        };
        Some([self.prefix.as_slice(), &nonce, &sealed].concat())
    }

    /// `None`: it was not written with this key, or changed since.
    pub fn open(&self, key: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
        let sealed = stored.strip_prefix(self.prefix.as_slice())?;
        let gcm = || -> Option<([u8; GCM_NONCE_BYTES], Payload<'_, '_>)> {
            let (nonce, sealed) = sealed.split_at_checked(GCM_NONCE_BYTES)?;
            Some((nonce.try_into().ok()?, Payload { msg: sealed, aad: key }))
        };
        match &self.cipher {
            Cipher::Identity => Some(stored.to_vec()),
            Cipher::Gcm128(cipher) => gcm().and_then(|(nonce, payload)| cipher.decrypt(&nonce.into(), payload).ok()),
            Cipher::Gcm192(cipher) => gcm().and_then(|(nonce, payload)| cipher.decrypt(&nonce.into(), payload).ok()),
            Cipher::Gcm256(cipher) => gcm().and_then(|(nonce, payload)| cipher.decrypt(&nonce.into(), payload).ok()),
            Cipher::Cbc(secret) => {
                let (iv, sealed) = sealed.split_at_checked(CBC_BLOCK_BYTES)?;
                decrypt_cbc(secret, iv, sealed)
            }
            Cipher::SecretBox(cipher) => {
                let (nonce, sealed) = sealed.split_at_checked(BOX_NONCE_BYTES)?;
                let nonce: [u8; BOX_NONCE_BYTES] = nonce.try_into().ok()?;
                cipher.decrypt(&nonce.into(), sealed).ok()
            }
        }
    }
}

fn encrypt_cbc(secret: &[u8], iv: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    Some(match secret.len() {
        16 => cbc::Encryptor::<Aes128>::new_from_slices(secret, iv).ok()?.encrypt_padded_vec::<Pkcs7>(plain),
        24 => cbc::Encryptor::<Aes192>::new_from_slices(secret, iv).ok()?.encrypt_padded_vec::<Pkcs7>(plain),
        _ => cbc::Encryptor::<Aes256>::new_from_slices(secret, iv).ok()?.encrypt_padded_vec::<Pkcs7>(plain),
    })
}

fn decrypt_cbc(secret: &[u8], iv: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    match secret.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(secret, iv).ok()?.decrypt_padded_vec::<Pkcs7>(sealed).ok(),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(secret, iv).ok()?.decrypt_padded_vec::<Pkcs7>(sealed).ok(),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(secret, iv).ok()?.decrypt_padded_vec::<Pkcs7>(sealed).ok(),
    }
}
