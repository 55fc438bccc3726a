//! Quantities: `250m`, `1.5Gi`, `2e3`, compared, added and written back in their canonical form.
//!
//! A value is a whole number of nanos in 128 bits, which holds every quantity that makes sense for a machine (up to
//! 1.7e29); larger ones saturate there. Finer than a nano is rounded away from zero. Used by defaulting (stored text
//! is canonical), by validation, by quota and by everything that reads resources.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::str::FromStr;

const NANOS: i128 = 1_000_000_000;

/// The family of suffixes that a quantity is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// Equality and order are of the value alone: `1` equals `1000m`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        Parts::split(text)?.quantity()
    }
    /// Reads a JSON string or number.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, QuantityError> {
        match value {
            serde_json::Value::String(text) => Self::parse(text.trim()),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            serde_json::Value::Null => Ok(Self::default()),
            _ => Err(QuantityError::Format),
        }
    }
    pub fn from_i64(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format }
    }
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * (NANOS / 1000), format }
    }
    /// Whole units, rounded away from zero.
    pub fn value(self) -> i64 {
        saturate(div_away(self.nanos, NANOS))
    }
    /// Thousandths, rounded away from zero: milli-CPUs.
    pub fn milli_value(self) -> i64 {
        saturate(div_away(self.nanos, NANOS / 1000))
    }
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }
    pub fn format(self) -> Format {
        self.format
    }
    /// The value where it is whole and fits.
    pub fn whole(self) -> Option<i64> {
        if self.is_whole() { i64::try_from(self.nanos / NANOS).ok() } else { None }
    }
    #[allow(clippy::cast_precision_loss)]
    pub fn approximate(self) -> f64 {
        self.nanos as f64 / 1e9
    }
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
    /// Adding to zero takes the other's format.
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
    pub fn minus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
    pub fn times(self, factor: i64) -> Self {
        Self { nanos: self.nanos.saturating_mul(i128::from(factor)), ..self }
    }
}

/// The text that a server stores for what a client sent. Upstream keeps a text that is nearly canonical as it came.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let parts = Parts::split(text)?;
    let quantity = parts.quantity()?;
    Ok(if parts.is_kept_as_sent(text) { text.to_owned() } else { quantity.to_string() })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_char('0');
        }
        let binary = self.format == Format::BinarySi && self.is_whole() && self.nanos.abs() >= 1024 * NANOS;
        if binary { write_binary(self.nanos / NANOS, f) } else { write_decimal(self.nanos, self.format, f) }
    }
}

fn write_binary(mut amount: i128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut times = 0;
    while amount % 1024 == 0 && times + 1 < SUFFIXES.len() {
        amount /= 1024;
        times += 1;
    }
    write!(f, "{amount}{}", SUFFIXES[times])
}

fn write_decimal(mut amount: i128, format: Format, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let mut thousands = 0;
    let last = if format == Format::DecimalExponent { usize::MAX } else { SUFFIXES.len() - 1 };
    while amount % 1000 == 0 && thousands < last {
        amount /= 1000;
        thousands += 1;
    }
    write!(f, "{amount}")?;
    match format {
        Format::DecimalExponent if thousands == 3 => Ok(()),
        Format::DecimalExponent => write!(f, "e{}", thousands as i64 * 3 - 9),
        _ => f.write_str(SUFFIXES[thousands]),
    }
}

/// The pieces of a quantity's text, before they are a number.
struct Parts<'a> {
    negative: bool,
    /// Without leading zeros; `0` when nothing is left.
    whole: &'a str,
    fraction: &'a str,
    unit: Unit,
}

#[derive(Clone, Copy)]
struct Unit {
    format: Format,
    /// Of ten, or of two when the format is binary.
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, rest) = split_digits(unsigned);
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);
        let is_bare = whole.is_empty() && fraction.is_empty();
        let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        let unit = Unit::parse(suffix).ok_or(QuantityError::Suffix)?;
        if is_bare && !unsigned.is_empty() {
            return Err(QuantityError::Numeric);
        }
        let whole = whole.trim_start_matches('0');
        Ok(Self { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, unit })
    }

    fn quantity(&self) -> Result<Quantity, QuantityError> {
        let Unit { mut format, exponent } = self.unit;
        let digits = self.whole.bytes().chain(self.fraction.bytes()).map(|b| i128::from(b - b'0'));
        let scale = -i64::try_from(self.fraction.len()).map_err(|_| QuantityError::Numeric)? + 9;
        let mantissa = digits.fold(0i128, |sum, digit| sum.saturating_mul(10).saturating_add(digit));
        let mut nanos = if format == Format::BinarySi {
            scale_by_ten(mantissa.saturating_mul(1 << exponent), scale).min(i128::from(i64::MAX) * NANOS)
        } else {
            scale_by_ten(mantissa, scale.saturating_add(exponent))
        };
        if format == Format::BinarySi && nanos > 0 && nanos < NANOS {
            format = Format::DecimalSi;
        }
        if self.negative {
            nanos = -nanos;
        }
        Ok(Quantity { nanos, format })
    }

    fn is_kept_as_sent(&self, text: &str) -> bool {
        const INT64_DIGITS: i64 = 18;
        let digits = (self.whole.len() + self.fraction.len()) as i64;
        match self.unit.format {
            _ if text == "0" => true,
            Format::BinarySi => {
                let fits = 15 - self.whole.len() as i64 - self.unit.exponent * 3 / 10 > 0;
                let odd_enough = self.whole.parse::<i64>().is_ok_and(|value| value & 7 != 0);
                self.fraction.is_empty() && !text.contains('.') && fits && odd_enough
            }
            Format::DecimalSi | Format::DecimalExponent => {
                let scale = self.unit.exponent - self.fraction.len() as i64;
                let ends_round = if self.fraction.len() >= 3 {
                    self.fraction.ends_with("000")
                } else {
                    format!("{}{}", self.whole, self.fraction).ends_with("000")
                };
                digits <= INT64_DIGITS && scale >= -9 && scale % 3 == 0 && !ends_round && !self.whole.starts_with('0')
            }
        }
    }
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        let (format, exponent) = match suffix {
            "" => (Format::DecimalSi, 0),
            "n" => (Format::DecimalSi, -9),
            "u" => (Format::DecimalSi, -6),
            "m" => (Format::DecimalSi, -3),
            "k" => (Format::DecimalSi, 3),
            "M" => (Format::DecimalSi, 6),
            "G" => (Format::DecimalSi, 9),
            "T" => (Format::DecimalSi, 12),
            "P" => (Format::DecimalSi, 15),
            "E" => (Format::DecimalSi, 18),
            "Ki" => (Format::BinarySi, 10),
            "Mi" => (Format::BinarySi, 20),
            "Gi" => (Format::BinarySi, 30),
            "Ti" => (Format::BinarySi, 40),
            "Pi" => (Format::BinarySi, 50),
            "Ei" => (Format::BinarySi, 60),
            other => (Format::DecimalExponent, other.strip_prefix(['e', 'E'])?.parse().ok()?),
        };
        Some(Self { format, exponent })
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

/// Rounds away from zero when digits are lost.
fn scale_by_ten(value: i128, exponent: i64) -> i128 {
    const MOST: i64 = 38;
    if value == 0 {
        return 0;
    }
    match exponent {
        0..=MOST => value.saturating_mul(10i128.pow(exponent as u32)),
        e if e > MOST => i128::MAX,
        e if e >= -MOST => div_away(value, 10i128.pow(-e as u32)),
        _ => 1,
    }
}

fn div_away(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    quotient + rest.signum()
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(inputs: &[&str], expected: Expect) {
        let lines: Vec<String> = inputs
            .iter()
            .map(|text| match Quantity::parse(text) {
                Ok(q) => format!("{text} -> {} ({q}) value {} milli {}", canonical(text).unwrap(), q.value(), q.milli_value()),
                Err(error) => format!("{text} -> {error}"),
            })
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn parse_and_write() {
        check(
            &[
                "0",
                "100m",
                "0.5",
                "1.5",
                "1.5Gi",
                "1024",
                "1024Ki",
                "1Mi",
                "0.1m",
                "1e3",
                "1E6",
                "12e-3",
                "-2",
                "+5",
                "05",
                "1000k",
                "0.5Ki",
                "123456789012",
                "1.2345n",
            ],
            expect![[r#"
                0 -> 0 (0) value 0 milli 0
                100m -> 100m (100m) value 1 milli 100
                0.5 -> 500m (500m) value 1 milli 500
                1.5 -> 1500m (1500m) value 2 milli 1500
                1.5Gi -> 1536Mi (1536Mi) value 1610612736 milli 1610612736000
                1024 -> 1024 (1024) value 1024 milli 1024000
                1024Ki -> 1Mi (1Mi) value 1048576 milli 1048576000
                1Mi -> 1Mi (1Mi) value 1048576 milli 1048576000
                0.1m -> 100u (100u) value 1 milli 1
                1e3 -> 1e3 (1e3) value 1000 milli 1000000
                1E6 -> 1E6 (1e6) value 1000000 milli 1000000000
                12e-3 -> 12e-3 (12e-3) value 1 milli 12
                -2 -> -2 (-2) value -2 milli -2000
                +5 -> +5 (5) value 5 milli 5000
                05 -> 05 (5) value 5 milli 5000
                1000k -> 1M (1M) value 1000000 milli 1000000000
                0.5Ki -> 512 (512) value 512 milli 512000
                123456789012 -> 123456789012 (123456789012) value 123456789012 milli 123456789012000
                1.2345n -> 2n (2n) value 1 milli 1"#]],
        );
    }

    #[test]
    fn malformed() {
        check(
            &["", "1.1.1", "1Kib", "abc", "1 Gi", "1mi", "10KK", "."],
            expect![[r#"
                 -> quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
                1.1.1 -> quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
                1Kib -> quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
                abc -> quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
                1 Gi -> quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
                1mi -> unable to parse quantity's suffix
                10KK -> unable to parse quantity's suffix
                . -> unable to parse numeric part of quantity"#]],
        );
    }

    #[test]
    fn arithmetic_keeps_the_first_format() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!(q("1Gi").plus(q("512Mi")).to_string(), "1536Mi");
        assert_eq!(Quantity::default().plus(q("2Ki")).to_string(), "2Ki");
        assert_eq!(q("1").minus(q("1500m")).to_string(), "-500m");
        assert_eq!(q("1Ei").times(100).value(), i64::MAX);
        assert_eq!(q("1"), q("1000m"));
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("1e999999999999").value(), i64::MAX);
    }
}
