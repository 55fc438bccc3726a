//! Messages whose JSON form is no object of their fields: times, quantities, numbers or strings, embedded JSON, wrapped lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Error;
use super::wire::{self, BYTES};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Seconds and nanoseconds; whole seconds in JSON.
    Time,
    /// With six digits of a second.
    MicroTime,
    /// Nanoseconds; `1h0m0s` in JSON.
    Duration,
    Quantity,
    IntOrString,
    /// JSON text in its one bytes field.
    Embedded,
    /// A list in a message of its own.
    Items,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

impl Special {
    pub fn of(message: &str) -> Option<Self> {
        let (package, name) = message.rsplit_once('.')?;
        Some(match name {
            "Time" if package.ends_with("meta.v1") => Self::Time,
            "MicroTime" => Self::MicroTime,
            "Duration" if package.ends_with("meta.v1") => Self::Duration,
            "Quantity" => Self::Quantity,
            "IntOrString" => Self::IntOrString,
            "RawExtension" | "FieldsV1" => Self::Embedded,
            "JSON" if package.ends_with("apiextensions.v1") => Self::Embedded,
            "ExtraValue" | "Verbs" => Self::Items,
            "JSONSchemaPropsOrArray" => Self::SchemaOrArray,
            "JSONSchemaPropsOrBool" => Self::SchemaOrBool,
            "JSONSchemaPropsOrStringArray" => Self::SchemaOrStrings,
            _ => return None,
        })
    }

    /// From the plain decoding of the message's fields; `raw` is its first bytes field.
    pub fn shape(self, mut fields: Map<String, Value>, raw: Option<&[u8]>) -> Result<Value, Error> {
        let integer = |fields: &Map<String, Value>, name: &str| fields.get(name).and_then(Value::as_i64).unwrap_or(0);
        Ok(match self {
            Self::Time | Self::MicroTime => time(integer(&fields, "seconds"), integer(&fields, "nanos"), self == Self::MicroTime),
            Self::Duration => Value::String(duration(integer(&fields, "duration"))),
            Self::Quantity => Value::String(fields.get("string").and_then(Value::as_str).unwrap_or("0").to_owned()),
            Self::IntOrString if integer(&fields, "type") == 0 => Value::from(integer(&fields, "intVal")),
            Self::IntOrString => fields.remove("strVal").unwrap_or_else(|| Value::String(String::new())),
            Self::Embedded => match raw {
                None | Some([]) => Value::Null,
                Some(raw) => serde_json::from_slice(raw).map_err(|_| Error::Embedded)?,
            },
            Self::Items => fields.remove("items").unwrap_or_else(|| Value::Array(Vec::new())),
            Self::SchemaOrArray => fields.remove("jSONSchemas").or_else(|| fields.remove("schema")).unwrap_or(Value::Null),
            Self::SchemaOrBool => {
                let allows = fields.get("allows").and_then(Value::as_bool).unwrap_or(false);
                fields.remove("schema").unwrap_or(Value::Bool(allows))
            }
            Self::SchemaOrStrings => fields.remove("property").or_else(|| fields.remove("schema")).unwrap_or(Value::Null),
        })
    }
}

impl Special {
    /// Writes a field whose JSON form is this text. False: the text is none of this type.
    pub fn put_text(self, out: &mut Vec<u8>, number: u32, text: &str) -> bool {
        match self {
            Self::Time | Self::MicroTime => return put_time(out, number, text, self == Self::MicroTime),
            Self::Quantity => put_quantity(out, number, text),
            Self::IntOrString => {
                let length = 2 + 2 + 1 + wire::varint_length(text.len() as u64) + text.len();
                wire::key(out, number, BYTES);
                wire::varint(out, length as u64);
                wire::integer(out, 1, 1);
                wire::integer(out, 2, 0);
                wire::bytes(out, 3, text.as_bytes());
            }
            // No kind has a field of a duration.
            Self::Duration | Self::Embedded | Self::Items | Self::SchemaOrArray | Self::SchemaOrBool | Self::SchemaOrStrings => return false,
        }
        true
    }
}

pub fn put_int(out: &mut Vec<u8>, number: u32, value: i64) {
    put_one(out, number, |body| {
        wire::integer(body, 1, 0);
        wire::integer(body, 2, value);
        wire::bytes(body, 3, b"");
    });
}

pub fn put_quantity(out: &mut Vec<u8>, number: u32, text: &str) {
    wire::key(out, number, BYTES);
    wire::varint(out, (1 + wire::varint_length(text.len() as u64) + text.len()) as u64);
    wire::bytes(out, 1, text.as_bytes());
}

/// A bytes field from its JSON form; Go reads over ends of lines.
pub fn put_base64(out: &mut Vec<u8>, number: u32, text: &str) -> bool {
    let start = out.len();
    wire::key(out, number, BYTES);
    let length = text.trim_end_matches('=').len() * 3 / 4;
    wire::varint(out, length as u64);
    let content = out.len();
    if STANDARD.decode_vec(text, out).is_ok() && out.len() == content + length {
        return true;
    }
    out.truncate(start);
    let Ok(bytes) = STANDARD.decode(text.replace(['\r', '\n'], "")) else { return false };
    wire::bytes(out, number, &bytes);
    true
}

/// The zero time has no bytes.
fn put_time(out: &mut Vec<u8>, number: u32, text: &str, micro: bool) -> bool {
    let Ok(time) = text.parse::<jiff::Timestamp>() else { return false };
    let (mut seconds, mut nanos) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    if seconds == YEAR_ONE && nanos == 0 {
        wire::bytes(out, number, b"");
        return true;
    }
    let nanos = if micro { nanos / 1_000 * 1_000 } else { 0 };
    put_one(out, number, |body| {
        wire::integer(body, 1, seconds);
        wire::integer(body, 2, nanos);
    });
    true
}

/// A field with a message of a few bytes.
fn put_one(out: &mut Vec<u8>, number: u32, make: impl FnOnce(&mut Vec<u8>)) {
    wire::key(out, number, BYTES);
    // Shorter than 128 bytes, so its length is one byte.
    let at = out.len();
    out.push(0);
    make(out);
    out[at] = (out.len() - at - 1) as u8;
}

/// Seconds of the zero time.
const YEAR_ONE: i64 = -62_135_596_800;

/// The zero time is null in JSON.
fn time(seconds: i64, nanos: i64, micro: bool) -> Value {
    if (seconds == 0 && nanos == 0) || seconds == YEAR_ONE {
        return Value::Null;
    }
    let nanos = i32::try_from(nanos).unwrap_or(0);
    match jiff::Timestamp::new(seconds, nanos) {
        Ok(time) if micro => Value::String(format!("{time:.6}")),
        Ok(time) => Value::String(format!("{time:.0}")),
        Err(_) => Value::Null,
    }
}

/// As Go writes it: `1h0m0s`, `1m30s`, `2s`, `1.5s`, `0s`, `100ms`.
fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    let fraction = |value: u64, unit: u64| {
        let (whole, rest) = (value / unit, value % unit);
        let digits = unit.ilog10() as usize;
        if rest == 0 { whole.to_string() } else { format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0')) }
    };
    if total < 1_000 {
        return format!("{sign}{total}ns");
    }
    if total < 1_000_000 {
        return format!("{sign}{}µs", fraction(total, 1_000));
    }
    if total < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(total, 1_000_000));
    }
    let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
    let seconds = fraction(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}
