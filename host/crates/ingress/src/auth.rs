//! Basic authentication against the lines of an htpasswd file: bcrypt, Apache's MD5, SHA-1 and plain text.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use md5::{Digest, Md5};
use sha1::Sha1;

use crate::body::Body;
use crate::pages::page;
use crate::table::BasicAuth;

/// Proven passwords that are remembered, as bcrypt is slow on purpose and each request carries one.
const MOST_PROVEN: usize = 1024;
/// Apache's alphabet for its own base 64.
const APACHE: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const APACHE_ROUNDS: usize = 1000;

pub struct Users {
    realm: String,
    hashes: HashMap<String, String>,
    /// Digests of credentials that were right.
    proven: Mutex<Vec<[u8; 20]>>,
}

impl Users {
    pub fn new(auth: &BasicAuth) -> Self {
        Self { realm: auth.realm.replace('"', "'"), hashes: auth.users.iter().cloned().collect(), proven: Mutex::default() }
    }

    pub async fn admits(&self, headers: &HeaderMap) -> bool {
        let Some((user, password)) = credentials(headers) else { return false };
        let Some(hash) = self.hashes.get(&user) else { return false };
        let digest: [u8; 20] = Sha1::digest(format!("{user}:{password}:{hash}")).into();
        if self.proven.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return true;
        }
        let hash = hash.clone();
        // bcrypt keeps a processor busy for a tenth of a second.
        let right = tokio::task::spawn_blocking(move || verify(&password, &hash)).await.unwrap_or(false);
        if right {
            let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
            if proven.len() >= MOST_PROVEN {
                proven.clear();
            }
            proven.push(digest);
        }
        right
    }

    pub fn refusal(&self) -> Response<Body> {
        let mut response = page(StatusCode::UNAUTHORIZED);
        if let Ok(value) = HeaderValue::from_str(&format!("Basic realm=\"{}\"", self.realm)) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn verify(password: &str, hash: &str) -> bool {
    if let Some(rest) = hash.strip_prefix("$apr1$") {
        let Some((salt, _)) = rest.split_once('$') else { return false };
        return same(&apache_md5(password.as_bytes(), salt.as_bytes()), hash);
    }
    if let Some(encoded) = hash.strip_prefix("{SHA}") {
        return same(&STANDARD.encode(Sha1::digest(password)), encoded);
    }
    if let Some(plain) = hash.strip_prefix("{PLAIN}") {
        return same(password, plain);
    }
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    false
}

/// Takes as long for a near miss as for a far one.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differences, (x, y)| differences | (x ^ y)) == 0
}

/// `$apr1$SALT$...`, as `htpasswd -m` writes it.
fn apache_md5(password: &[u8], salt: &[u8]) -> String {
    let salt = &salt[..salt.len().min(8)];
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update("$apr1$").chain_update(salt);
    for chunk in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - chunk).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut sum = outer.finalize();
    for round in 0..APACHE_ROUNDS {
        let mut next = Md5::new();
        next.update(if round & 1 == 1 { password } else { &sum[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round & 1 == 1 { &sum[..] } else { password });
        sum = next.finalize();
    }
    let mut text = format!("$apr1${}$", String::from_utf8_lossy(salt));
    let mut push = |value: u32, letters: u32| (0..letters).for_each(|i| text.push(char::from(APACHE[(value >> (6 * i) & 63) as usize])));
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        push(u32::from(sum[a]) << 16 | u32::from(sum[b]) << 8 | u32::from(sum[c]), 4);
    }
    push(u32::from(sum[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        // From `htpasswd -nbm`, `-nbs` and `-nbB`.
        assert!(verify("myPassword", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"));
        assert!(verify("password", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="));
        assert!(verify("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
        assert!(verify("s3", "{PLAIN}s3"));
        for hash in ["$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "nonsense", ""] {
            assert!(!verify("wrong", hash), "{hash}");
        }
    }
}
