//! Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or six digits after the point (`MicroTime`).

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether a typed decoder would take the text as a `Time`.
pub fn is_rfc3339(text: &str) -> bool {
    is_plain(text) || parse(text).is_some()
}

/// Whether it would as a `MicroTime`, whose layout wants six digits after the point: no fewer, no more.
pub fn is_micro(text: &str) -> bool {
    first_fault(text, true).is_none() && text.parse::<Timestamp>().is_ok()
}

/// The text that a typed encoder would give; `None` when it is that already, or no time at all.
pub fn normal_form(text: &str, micro: bool) -> Option<String> {
    if !micro && is_plain(text) {
        return None;
    }
    let time = parse(text)?.to_zoned(TimeZone::UTC);
    let written = time.strftime(if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string();
    (written != text).then_some(written)
}

/// Upstream's message for a text that is no time.
pub fn parse_error(text: &str, micro: bool) -> String {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let (rest, part) = first_fault(text, micro).unwrap_or(("", "Z07:00"));
    format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}")
}

/// The rest of the text at the first part that does not fit, and the part of the layout.
fn first_fault(text: &str, micro: bool) -> Option<(&str, &'static str)> {
    const PARTS: [(&str, usize); 11] =
        [("2006", 4), ("-", 1), ("01", 2), ("-", 1), ("02", 2), ("T", 1), ("15", 2), (":", 1), ("04", 2), (":", 1), ("05", 2)];
    const MICRO: &str = ".000000";
    let mut rest = text;
    for (part, length) in PARTS {
        let digits = part.as_bytes()[0].is_ascii_digit();
        let fits = rest.get(..length).is_some_and(|head| if digits { head.bytes().all(|b| b.is_ascii_digit()) } else { head == part });
        if !fits {
            return Some((rest, part));
        }
        rest = &rest[length..];
    }
    if micro {
        let fits = rest.get(..MICRO.len()).and_then(|head| head.strip_prefix('.')).is_some_and(|head| head.bytes().all(|b| b.is_ascii_digit()));
        if !fits {
            return Some((rest, MICRO));
        }
        rest = &rest[MICRO.len()..];
    } else if let Some(fraction) = rest.strip_prefix('.') {
        // A `Time` takes any number of digits there, and forgets them.
        let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        rest = if after.len() < fraction.len() { after } else { rest };
    }
    let zone = rest == "Z" || (rest.len() == 6 && rest.starts_with(['+', '-']) && rest.as_bytes()[3] == b':');
    (!zone).then_some((rest, "Z07:00"))
}

/// `2026-01-02T03:04:05Z` and a real date: by far the most frequent form, accepted without a parser.
pub(super) fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 20 {
        return false;
    }
    let fits = b"0000-00-00T00:00:00Z".iter().zip(bytes).all(|(want, found)| if *want == b'0' { found.is_ascii_digit() } else { want == found });
    let number = |at: usize| (bytes[at] - b'0') * 10 + (bytes[at + 1] - b'0');
    // Days 29 to 31 depend on the month: the parser knows.
    fits && (1..=12).contains(&number(5)) && (1..=28).contains(&number(8)) && number(11) < 24 && number(14) < 60 && number(17) < 60
}

fn parse(text: &str) -> Option<Timestamp> {
    let shaped = first_fault(text, false).is_none_or(|(_, part)| part == "Z07:00") && text.len() >= 20;
    if shaped { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_the_encoders_form() {
        assert_eq!(normal_form("2026-01-02T03:04:05Z", false), None);
        assert_eq!(normal_form("2026-01-02T03:04:05+01:00", false).as_deref(), Some("2026-01-02T02:04:05Z"));
        assert_eq!(normal_form("2026-01-31T03:04:05.987654Z", false).as_deref(), Some("2026-01-31T03:04:05Z"));
        assert_eq!(normal_form("2026-01-02T03:04:05Z", true).as_deref(), Some("2026-01-02T03:04:05.000000Z"));
        assert!(!is_rfc3339("2026-02-30T03:04:05Z"));
        assert!(!is_rfc3339("2026-01-02 03:04:05Z"));
        assert!(is_rfc3339("2026-01-31T03:04:05Z"));
    }

    #[test]
    fn micro_times_have_six_digits() {
        for good in ["2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05.123456+01:00"] {
            assert!(is_micro(good), "{good}");
        }
        for bad in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.12345Z", "2026-01-02T03:04:05.1234567Z", "2026-02-30T03:04:05.000000Z", ""] {
            assert!(!is_micro(bad), "{bad}");
        }
        let told = |text| parse_error(text, true).split_once("00\": ").map(|(_, told)| told.to_owned());
        assert_eq!(told("2026-01-02T03:04:05Z").as_deref(), Some(r#"cannot parse "Z" as ".000000""#));
        assert_eq!(told("2026-01-02T03:04:05.0000000000Z").as_deref(), Some(r#"cannot parse "0000Z" as "Z07:00""#));
    }
}
