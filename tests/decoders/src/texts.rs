//! Texts in paths, queries and headers.

use std::sync::LazyLock;

use pintle_api::quantity;
use pintle_api::selector::{FieldSelector, LabelSelector};
use pintle_apiserver::auth::tokens::Tokens;
use pintle_apiserver::handlers::continue_token::ContinueToken;
use pintle_apiserver::http::path::{self, ResourcePath};

const NOW_UNIX_SECONDS: i64 = 1_800_000_000;

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    Tokens::new(&key, "https://kubernetes.default.svc").expect("a key that was just made")
});

pub fn selectors(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let again = LabelSelector::parse(&selector.to_string()).expect("what was written can be read");
        assert_eq!(again.to_string(), selector.to_string());
        selector.matches_by(|_| Some(text));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let again = FieldSelector::parse(&selector.to_string()).expect("what was written can be read");
        assert_eq!(again.to_string(), selector.to_string());
    }
    if let Ok(canonical) = quantity::canonical(text) {
        assert_eq!(quantity::canonical(&canonical).ok().as_deref(), Some(canonical.as_str()));
    }
}

/// Nothing that a fuzzer finds is signed by a key that was made when it began.
pub fn tokens(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    assert!(TOKENS.verify(text, NOW_UNIX_SECONDS).is_err(), "a token without a signature is taken");
}

pub fn continue_tokens(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(token) = ContinueToken::decode(text) {
        let again = ContinueToken::decode(&token.encode()).expect("what was written can be read");
        assert_eq!(again, token);
    }
}

/// A path, and after a question mark a query.
pub fn paths(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    if let Some(found) = ResourcePath::parse(path) {
        assert!(!found.rest.contains('?'));
        for method in [http::Method::GET, http::Method::POST, http::Method::DELETE] {
            found.verb(&method, false);
        }
    }
    let query = path::query(query);
    path::flag(&query, "watch");
}
