//! `IntOrString` shares of a total.

use serde_json::Value;

/// A number as it is, a percentage of `total` rounded as asked; `None` where the field is missing or malformed.
pub fn resolve(value: Option<&Value>, total: i64, round_up: bool) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => match text.strip_suffix('%') {
            Some(percent) => {
                let percent: i64 = percent.parse().ok()?;
                let scaled = percent * total;
                Some(if round_up { (scaled + 99).div_euclid(100) } else { scaled.div_euclid(100) })
            }
            None => text.parse().ok(),
        },
        _ => None,
    }
}
