//! The wire format: keys, varints, lengths; and messages by the table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Error;
use super::messages::{Field, Kind, Messages};

/// Deeper nesting is refused: a schema in a schema in a schema ends somewhere.
pub const MAX_DEPTH: usize = 64;

/// `runtime.Unknown`.
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

pub fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    let mut input = bytes;
    while let Some((number, wire)) = next(&mut input)? {
        match (number, wire) {
            (1, Wire::Bytes(mut meta)) => {
                while let Some((number, wire)) = next(&mut meta)? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => envelope.api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => envelope.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

pub fn message(messages: &Messages, place: usize, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let described = messages.at(place);
    let mut object = Map::new();
    let mut raw = None;
    let mut input = bytes;
    while let Some((number, wire)) = next(&mut input)? {
        let Some(field) = described.field(number) else { continue };
        if field.kind == Kind::Bytes
            && described.special.is_some()
            && let Wire::Bytes(bytes) = wire
        {
            raw = Some(bytes);
        } else if field.map {
            let (key, value) = map_entry(messages, field, wire, depth)?;
            let map = object.entry(field.json).or_insert_with(|| Value::Object(Map::new()));
            if let Some(map) = map.as_object_mut() {
                map.insert(key, value);
            }
        } else if field.repeated {
            append(messages, field, wire, depth, &mut object)?;
        } else {
            put(field, scalar(messages, field, wire, depth)?, &mut object);
        }
    }
    match described.special {
        Some(special) => special.shape(object, raw),
        None => Ok(Value::Object(object)),
    }
}

fn put(field: &Field, value: Value, object: &mut Map<String, Value>) {
    if field.flattened {
        if let Value::Object(inner) = value {
            object.extend(inner);
        }
    } else if !(value.is_null() || field.omitted_when_empty && is_empty(&value)) {
        object.insert(field.json.to_owned(), value);
    }
}

/// Repeated numbers may come packed.
fn append(messages: &Messages, field: &Field, wire: Wire<'_>, depth: usize, object: &mut Map<String, Value>) -> Result<(), Error> {
    let entry = object.entry(field.json).or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = entry.as_array_mut() else { return Ok(()) };
    match (field.kind, wire) {
        (Kind::Integer | Kind::Boolean, Wire::Bytes(mut packed)) => {
            while !packed.is_empty() {
                let wire = Wire::Varint(varint(&mut packed)?);
                list.push(scalar(messages, field, wire, depth)?);
            }
        }
        (_, wire) => list.push(scalar(messages, field, wire, depth)?),
    }
    Ok(())
}

fn map_entry(messages: &Messages, field: &Field, wire: Wire<'_>, depth: usize) -> Result<(String, Value), Error> {
    let Wire::Bytes(mut entry) = wire else { return Err(Error::WireType(0)) };
    let (mut key, mut value) = (String::new(), None);
    while let Some((number, wire)) = next(&mut entry)? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => value = Some(scalar(messages, field, wire, depth)?),
            _ => {}
        }
    }
    let empty = || match field.kind {
        Kind::Text | Kind::Bytes => Value::String(String::new()),
        Kind::Integer => Value::from(0),
        Kind::Boolean => Value::Bool(false),
        Kind::Double => Value::from(0.0),
        Kind::Message(_) => Value::Object(Map::new()),
    };
    Ok((key, value.unwrap_or_else(empty)))
}

fn scalar(messages: &Messages, field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (field.kind, wire) {
        (Kind::Text, Wire::Bytes(text)) => Value::String(utf8(text)?),
        (Kind::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Kind::Integer, Wire::Varint(number)) => Value::from(number.cast_signed()),
        (Kind::Boolean, Wire::Varint(number)) => Value::Bool(number != 0),
        (Kind::Double, Wire::Fixed64(bits)) => double(f64::from_bits(bits)),
        (Kind::Message(place), Wire::Bytes(bytes)) => message(messages, place, bytes, depth + 1)?,
        (_, Wire::Varint(_)) => return Err(Error::WireType(0)),
        (_, Wire::Fixed64(_)) => return Err(Error::WireType(1)),
        (_, Wire::Bytes(_)) => return Err(Error::WireType(2)),
        (_, Wire::Fixed32) => return Err(Error::WireType(5)),
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        // Go's `omitempty` leaves out no struct.
        Value::Object(_) => false,
    }
}

/// Without a point where Go writes none.
fn double(value: f64) -> Value {
    const EXACT: f64 = (1_i64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() < EXACT { Value::from(value as i64) } else { Value::from(value) }
}

/// The next field, or `None` at the end.
fn next<'a>(input: &mut &'a [u8]) -> Result<Option<(u32, Wire<'a>)>, Error> {
    if input.is_empty() {
        return Ok(None);
    }
    let key = varint(input)?;
    let number = u32::try_from(key >> 3).map_err(|_| Error::Truncated)?;
    let wire = match (key & 7) as u8 {
        0 => Wire::Varint(varint(input)?),
        1 => Wire::Fixed64(u64::from_le_bytes(take(input, 8)?.try_into().map_err(|_| Error::Truncated)?)),
        2 => {
            let length = usize::try_from(varint(input)?).map_err(|_| Error::Truncated)?;
            Wire::Bytes(take(input, length)?)
        }
        5 => take(input, 4).map(|_| Wire::Fixed32)?,
        other => return Err(Error::WireType(other)),
    };
    Ok(Some((number, wire)))
}

fn varint(input: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(Error::Truncated)?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Truncated)
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Error> {
    let (taken, rest) = input.split_at_checked(length).ok_or(Error::Truncated)?;
    *input = rest;
    Ok(taken)
}

fn utf8(bytes: &[u8]) -> Result<String, Error> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Text)
}
