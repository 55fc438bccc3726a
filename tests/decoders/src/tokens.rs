//! Bearer tokens.

use std::sync::LazyLock;

use crate::server::tokens::Tokens;

const NOW_UNIX_SECONDS: i64 = 1_800_000_000;

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    Tokens::new(&key, "https://kubernetes.default.svc").expect("a key that was just made")
});

/// Nothing that a fuzzer finds is signed by a key that was made when it began.
pub fn tokens(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    assert!(TOKENS.verify(text, NOW_UNIX_SECONDS).is_err(), "a token without a signature is taken");
}
