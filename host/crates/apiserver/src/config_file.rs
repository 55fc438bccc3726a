//! What files of configuration in the API's form have in common: how they are read, and how their faults are told.
//!
//! Which kinds and versions count is their readers' to say: `audit`, `encryption` and `auth::oidc`, when the server starts.

use pintle_api::{Cause, Status};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// YAML or JSON. By way of a JSON value, which tells of unknown fields and wrong types in the same words as ever.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|why| why.to_string())?;
    serde_json::from_value(value).map_err(|why| why.to_string())
}

/// The faults as upstream joins them: what the `Status` of such an object says behind `is invalid: `.
pub fn refuse(group: &str, kind: &str, causes: Vec<Cause>) -> Result<(), String> {
    if causes.is_empty() {
        return Ok(());
    }
    let message = Status::invalid(group, kind, "", causes).message;
    Err(message.split_once(" is invalid: ").map_or(message.as_str(), |(_, faults)| faults).to_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn faults_are_told_together() {
        let one = Cause::required("resources", "at least one is required");
        let two = Cause::invalid("a", &Value::from(1), "too small");
        assert_eq!(refuse("g.example", "Kind", Vec::new()), Ok(()));
        expect!["resources: Required value: at least one is required"].assert_eq(&refuse("g.example", "Kind", vec![one.clone()]).unwrap_err());
        expect!["[resources: Required value: at least one is required, a: Invalid value: 1: too small]"]
            .assert_eq(&refuse("g.example", "Kind", vec![one, two]).unwrap_err());
    }
}
