//! What is wrong with a JSON text, in upstream's words.
//!
//! Called by the decoder of requests and where an object carries JSON as text.

/// In the words of Go's decoder, where these are known.
pub fn fault(error: &serde_json::Error, body: &[u8]) -> String {
    let text = error.to_string();
    let first = body.trim_ascii_start().first().copied().unwrap_or(b' ');
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    // Where the reader stopped: behind a character that it took, at one that it only looked at.
    let at = |column: usize| line.get(column).copied().filter(u8::is_ascii_graphic).map(char::from);
    match () {
        () if text.starts_with("invalid escape") && at(error.column().saturating_sub(1)).is_some() => {
            format!("invalid character '{}' in string escape code", at(error.column().saturating_sub(1)).unwrap_or_default())
        }
        () if text.starts_with("trailing characters") && at(error.column().saturating_sub(1)).is_some() => {
            format!("invalid character '{}' after top-level value", at(error.column().saturating_sub(1)).unwrap_or_default())
        }
        () if error.is_eof() => "unexpected end of JSON input".to_owned(),
        () if text.starts_with("expected value at line 1 column 1") && first.is_ascii_graphic() => {
            format!("invalid character '{}' looking for beginning of value", char::from(first))
        }
        () => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn faults_are_told_as_by_go() {
        let told = |text: &str| super::fault(&serde_json::from_str::<serde_json::Value>(text).unwrap_err(), text.as_bytes());
        let said = ["x", "{", "{} x", r#""\q""#].map(told);
        expect_test::expect![[r#"
            invalid character 'x' looking for beginning of value
            unexpected end of JSON input
            invalid character 'x' after top-level value
            invalid character 'q' in string escape code"#]]
        .assert_eq(&said.join("\n"));
    }
}
