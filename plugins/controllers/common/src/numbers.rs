//! `IntOrString` shares of a total, and quantities.

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

/// `1Gi`, `500M`, `1e3`, `250m` as a number, for comparisons; `None` where it is malformed.
pub fn quantity(text: &str) -> Option<f64> {
    let end = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    // An exponent belongs to the number; `E` alone is a suffix.
    let (number, suffix) =
        if text.len() > end + 1 && text[end..].starts_with(['e', 'E']) && text.as_bytes()[end + 1] != b'i' { (text, "") } else { text.split_at(end) };
    let decimal = |power: i32| Some(1000f64.powi(power));
    let factor = match suffix {
        "" => Some(1.0),
        "n" => decimal(-3),
        "u" => decimal(-2),
        "m" => decimal(-1),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        binary => ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().zip(1..).find(|(known, _)| **known == binary).map(|(_, power)| 1024f64.powi(power)),
    }?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::quantity;

    #[test]
    fn quantities() {
        let read = ["1Gi", "1073741824", "500M", "1e3", "2E", "2Ei", "250m", "1E2", "x", "", "1Zi"].map(quantity);
        let gi = 1_073_741_824.0;
        assert_eq!(read, [Some(gi), Some(gi), Some(5e8), Some(1e3), Some(2e18), Some(2.0 * gi * gi), Some(0.25), Some(100.0), None, None, None]);
    }
}
