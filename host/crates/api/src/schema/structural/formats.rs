//! The formats of strings that a schema may ask for. Others are ignored, as upstream ignores them.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;

use crate::names;
use crate::schema::times;

const STRING_FORMATS: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];
const NUMBER_FORMATS: &[&str] = &["int32", "int64", "float", "double"];

pub fn is_supported_format(format: &str) -> bool {
    let format = &*undashed(format);
    STRING_FORMATS.contains(&format) || NUMBER_FORMATS.contains(&format)
}

/// Upstream reads names without their dashes: `date-time`, and `ipv-4` as well.
fn undashed(format: &str) -> Cow<'_, str> {
    if format.contains('-') { format.replace('-', "").into() } else { format.into() }
}

/// Whether a text is of the format; formats that are not known fit all.
pub fn matches(format: &str, text: &str) -> bool {
    match &*undashed(format) {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => URI.is_match(text),
        "email" => EMAIL.is_match(text),
        "hostname" => text.len() <= 255 && HOSTNAME.is_match(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => MAC.is_match(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => SSN.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => times::is_rfc3339(&text.replacen('t', "T", 1).replacen(' ', "T", 1).replace('z', "Z")),
        "duration" => DURATION.is_match(text),
        "k8sshortname" => names::is_dns1123_label(text),
        "k8slongname" => names::is_dns1123_subdomain(text),
        _ => true,
    }
}

static URI: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:[^\s]+|/[^\s]*)$"));
static EMAIL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:[^<>@]*<)?[^\s@<>]+@[^\s@<>]+>?$"));
static HOSTNAME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"));
static MAC: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?i)(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}[:-]){4}[0-9a-f]{2}$|^(?i)(?:[0-9a-f]{2}[:-]){7}[0-9a-f]{2}$|^(?i)(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}$",
    )
});
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)$",
    )
});
static DURATION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[+-]?(?:0|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:ns|us|µs|μs|ms|s|m|h|d|w|nano|nanos?|micros?|millis?|sec|secs?|seconds?|mins?|minutes?|hours?|days?|weeks?))+$",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => bits <= 32,
        Ok(IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

/// With or without dashes; the version stands at the thirteenth digit, the variant of versions 4 and 5 at the seventeenth.
fn is_uuid(text: &str, version: Option<u8>) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut digits = Vec::with_capacity(32);
    let mut rest = text.as_bytes();
    for (index, length) in GROUPS.into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        if rest.len() < length || !rest[..length].iter().all(u8::is_ascii_hexdigit) {
            return false;
        }
        digits.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    let variant_fits = !matches!(version, Some(b'4' | b'5')) || matches!(digits[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b');
    rest.is_empty() && version.is_none_or(|version| digits[12] == version) && variant_fits
}

fn digits_of(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits_of(text);
    if digits.len() != 10 {
        return false;
    }
    let values: Option<Vec<u32>> = digits.chars().enumerate().map(|(at, c)| if at == 9 && c == 'X' { Some(10) } else { c.to_digit(10) }).collect();
    values.is_some_and(|values| values.iter().zip(1..).map(|(value, weight)| value * weight).sum::<u32>().is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits_of(text);
    let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(10)).collect();
    values.is_some_and(|values| {
        values.len() == 13 && values.iter().zip([1, 3].iter().cycle()).map(|(value, weight)| value * weight).sum::<u32>().is_multiple_of(10)
    })
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let doubled = |value: u32| if value > 4 { value * 2 - 9 } else { value * 2 };
    let sum: u32 = digits.iter().rev().enumerate().map(|(at, value)| if at % 2 == 1 { doubled(*value) } else { *value }).sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_good_from_bad() {
        for (format, good, bad) in [
            ("uri", "https://a.b/c", "no uri"),
            ("email", "a@b.c", "a.b.c"),
            ("hostname", "a-b.c", "-a.b"),
            ("ipv4", "1.2.3.4", "1.2.3"),
            ("ipv-4", "1.2.3.4", "1.2.3"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("uuid", "a987fbc9-4bed-3078-cf07-9141ba07c9f3", "a987fbc9"),
            ("uuid4", "57b73598-8764-4ad0-a76a-679bb6640eb1", "57b73598-8764-3ad0-a76a-679bb6640eb1"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("hexcolor", "#FFFFFF", "#GGG"),
            ("rgbcolor", "rgb(1, 2, 255)", "rgb(1,2,256)"),
            ("byte", "YQ==", "Y"),
            ("date", "2006-01-02", "2006-13-02"),
            ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15"),
            ("duration", "22 ns", "ns"),
            ("k8s-short-name", "abc", "a.b"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ] {
            assert!(matches(format, good), "{format} {good}");
            assert!(!matches(format, bad), "{format} {bad}");
        }
    }
}
