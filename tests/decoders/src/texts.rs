//! Texts in paths, queries and headers.

use pintle_api::quantity;
use pintle_api::selector::{FieldSelector, LabelSelector};

use crate::server::continue_token::ContinueToken;
use crate::server::path::{self, ResourcePath};

pub fn selectors(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let again = LabelSelector::parse(&selector.to_string()).expect("what was written can be read");
        assert_eq!(again.to_string(), selector.to_string());
        selector.matches_by(|_| Some(text));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let again = FieldSelector::parse(&selector.to_string()).expect("what was written can be read");
        assert_eq!(terms(&again), terms(&selector));
    }
    if let Ok(canonical) = quantity::canonical(text) {
        assert_eq!(quantity::canonical(&canonical).ok().as_deref(), Some(canonical.as_str()));
    }
}

/// In an order of their own: a selector has that of its text, in which `a==b` and `a=b` are two.
fn terms(selector: &FieldSelector) -> Vec<(&str, bool, &str)> {
    let mut terms: Vec<_> = selector.terms().iter().map(|term| (term.field.as_str(), term.equal, term.value.as_str())).collect();
    terms.sort_unstable();
    terms
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
