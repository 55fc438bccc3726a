//! Objects made at random from the table of fields: what is written is read back the same, and broken bytes are refused, not fatal.

use serde_json::{Map, Value, json};

use super::messages::{Field, Kind, Messages};
use super::special::Special;
use super::*;

/// Objects of each kind.
const ROUNDS: u64 = 20;
/// Deeper messages are left out where that is possible.
const DEPTH: u32 = 4;

/// splitmix64: a failing seed, which the failure prints, gives the same object again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    fn text(&mut self) -> String {
        let alphabet = ['a', 'Z', '0', '-', '.', '"', '\\', '\n', 'ü', '☃', '\u{1f980}', '\u{7f}'];
        let longest = if self.below(20) == 0 { 300 } else { 8 };
        (0..=self.below(longest)).map(|_| alphabet[self.below(alphabet.len() as u64) as usize]).collect()
    }
    fn integer(&mut self) -> i64 {
        let value = (self.next() >> self.below(63)).cast_signed();
        if value == 0 { 1 } else { value }
    }
}

/// Never what counts as empty.
fn value(random: &mut Random, table: &Messages, field: &Field, depth: u32) -> Value {
    match field.kind {
        Kind::Text => json!(random.text()),
        Kind::Bytes => json!(["AA==", "/wA=", "aGVsbG8gd29ybGQ="][random.below(3) as usize]),
        Kind::Integer => json!(random.integer()),
        Kind::Boolean => json!(true),
        Kind::Double => json!(random.below(1 << 40) as f64 + 0.125),
        Kind::Message(place) => match table.at(place).special {
            None => Value::Object(message(random, table, place, depth + 1)),
            Some(special) => shaped(random, table, special, place, depth),
        },
    }
}

fn shaped(random: &mut Random, table: &Messages, special: Special, place: usize, depth: u32) -> Value {
    let fields = &table.at(place).fields;
    let named = |name: &str| fields.iter().find(|f| f.json == name).unwrap();
    let schema = |random: &mut Random| value(random, table, named("schema"), depth + 1);
    match special {
        Special::Time => json!(format!("20{:02}-02-0{}T00:10:{:02}Z", random.below(90) + 10, random.below(9) + 1, random.below(60))),
        Special::MicroTime => json!(format!("1{:03}-12-31T23:59:59.{:06}Z", random.below(999), random.below(1_000_000))),
        Special::Quantity => json!(["0", "100m", "1Gi", "12e6", "-1500m"][random.below(5) as usize]),
        Special::IntOrString if random.below(2) == 0 => json!(random.next() as i32),
        Special::IntOrString => json!(random.text()),
        Special::Embedded => json!({"f:a": {".": {}, "k:{\"x\":1}": [1, null, 2.5, "s", true]}}),
        Special::Items => json!([random.text(), "", random.text()]),
        Special::SchemaOrArray if random.below(2) == 0 => json!([schema(random), {}]),
        Special::SchemaOrStrings if random.below(2) == 0 => json!([random.text()]),
        Special::SchemaOrBool if random.below(2) == 0 => json!(random.below(2) == 0),
        Special::SchemaOrArray | Special::SchemaOrBool | Special::SchemaOrStrings => schema(random),
        Special::Duration => unreachable!("no kind has a field of a duration"),
    }
}

fn message(random: &mut Random, table: &Messages, place: usize, depth: u32) -> Map<String, Value> {
    let mut object = Map::new();
    for field in &table.at(place).fields {
        let special = match field.kind {
            Kind::Message(inner) => Some(table.at(inner).special),
            _ => None,
        };
        let deep = matches!(special, Some(None | Some(Special::SchemaOrArray | Special::SchemaOrBool | Special::SchemaOrStrings)));
        // These are always on the wire, whatever JSON has.
        let always = matches!(special, Some(None | Some(Special::Quantity))) && !(field.pointer || field.repeated || field.map);
        let chosen = always || random.below(3) == 0 && !(deep && depth > DEPTH);
        if field.flattened {
            if let Value::Object(inner) = value(random, table, field, depth) {
                object.extend(inner);
            }
        } else if field.map {
            if chosen {
                let entries = (0..=random.below(3)).map(|_| (random.text(), value(random, table, field, depth))).collect();
                object.insert(field.json.to_owned(), Value::Object(entries));
            }
        } else if field.repeated {
            if chosen {
                object.insert(field.json.to_owned(), (0..=random.below(3)).map(|_| value(random, table, field, depth)).collect());
            }
        } else if chosen || !(field.pointer || field.omitted_when_empty) {
            object.insert(field.json.to_owned(), value(random, table, field, depth));
        }
    }
    object
}

/// Messages with the metadata of an object.
fn kinds(table: &'static Messages) -> Vec<(&'static str, usize)> {
    let is_kind = |place: usize| table.at(place).fields.iter().any(|f| f.json == "metadata");
    let mut kinds: Vec<_> = table.names().filter(|(_, place)| is_kind(*place)).collect();
    kinds.sort_unstable();
    assert!(kinds.len() > 100);
    kinds
}

#[test]
fn what_is_written_is_read_back() {
    let table = Messages::get();
    let mut writer = encode::Writer::new(table);
    for (name, place) in kinds(table) {
        for seed in 0..ROUNDS {
            let made = Value::Object(message(&mut Random(seed), table, place, 0));
            let bytes = writer.message(place, made.to_string().as_bytes()).unwrap();
            let read = decode::message(table, place, bytes, 0).unwrap();
            assert!(read == made, "{name}, seed {seed}:\nmade {made}\nread {read}");
        }
    }
}

/// The order of members in JSON changes nothing: here they come backwards.
#[test]
fn the_order_of_members_does_not_matter() {
    fn backwards(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                format!("{{{}}}", map.iter().rev().map(|(k, v)| format!("{}:{}", json!(k), backwards(v))).collect::<Vec<_>>().join(","))
            }
            Value::Array(list) => format!("[{}]", list.iter().map(backwards).collect::<Vec<_>>().join(" , ")),
            other => other.to_string(),
        }
    }
    let table = Messages::get();
    let mut writer = encode::Writer::new(table);
    for (name, place) in kinds(table) {
        let made = Value::Object(message(&mut Random(7), table, place, 0));
        // What is embedded goes out as it is written.
        if made.to_string().contains("f:a") {
            continue;
        }
        let forwards = writer.message(place, made.to_string().as_bytes()).unwrap().to_vec();
        assert!(writer.message(place, backwards(&made).as_bytes()).unwrap() == forwards, "{name}");
    }
}

#[test]
fn broken_bytes_are_no_panic() {
    let table = Messages::get();
    let mut writer = encode::Writer::new(table);
    let mut random = Random(11);
    for (name, place) in kinds(table) {
        let made = Value::Object(message(&mut random, table, place, 0));
        let whole = writer.message(place, made.to_string().as_bytes()).unwrap().to_vec();
        for _ in 0..ROUNDS {
            let mut broken = whole.clone();
            broken.truncate(random.below(whole.len() as u64 + 1) as usize);
            for _ in 0..random.below(4) {
                let at = random.below(broken.len().max(1) as u64) as usize;
                if let Some(byte) = broken.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            let (api_version, kind) = ("v1", name.rsplit('.').next().unwrap());
            let mut body = MAGIC.to_vec();
            let mut meta = Vec::new();
            wire::bytes(&mut meta, 1, api_version.as_bytes());
            wire::bytes(&mut meta, 2, kind.as_bytes());
            wire::bytes(&mut body, 1, &meta);
            wire::bytes(&mut body, 2, &broken);
            let _ = to_json(&body, None);
            let _ = decode::message(table, place, &broken, 0);
            let noise: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            let _ = to_json(&[MAGIC, &noise].concat(), None);
            let _ = decode::message(table, place, &noise, 0);
        }
    }
}

/// Messages in messages, deeper than any kind: refused before the stack ends.
#[test]
fn endless_nesting_is_refused() {
    let mut schema = Vec::new();
    for _ in 0..1_000 {
        let mut outer = Vec::new();
        wire::bytes(&mut outer, 27, &schema);
        schema = outer;
    }
    let table = Messages::get();
    let place = table.of_kind("apiextensions.k8s.io/v1", "JSONSchemaProps").unwrap();
    assert_eq!(decode::message(table, place, &schema, 0), Err(Error::TooDeep));
}
