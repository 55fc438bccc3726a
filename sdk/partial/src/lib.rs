//! Objects read in part: what the reader does not look at is passed over in the text and never becomes a value.
//!
//! Most of an object's cost is making values of it, and most of the rest is looking at each token: so what is passed over is only
//! searched for its end. That it is valid JSON was checked when it was written; a text whose brackets do not fit is refused. The server
//! calls it for rows of tables and for indexes, which look at a few fields, and for observers, which look at all but `managedFields`; the
//! host of plugins for what a controller is told of a change ([`Parts`]).

mod parts;
mod same;

use std::borrow::Cow;

pub use parts::Parts;
use serde::de::{Error as _, IgnoredAny};
use serde_json::{Error, Map, Value};

/// What is read of a value.
#[derive(Clone, Copy, Debug)]
pub enum Needed {
    All,
    Nothing,
    /// These members; of a list, these of each element.
    Only(&'static [(&'static str, Needed)]),
    /// All other members whole, and of these only the part that stands beside them.
    But(&'static [(&'static str, Needed)]),
    /// What these paths lead to, through members and the elements of lists.
    Paths(Paths),
}

/// Paths of members with dots between them, followed as far as a value that was reached.
#[derive(Clone, Copy, Debug)]
pub struct Paths {
    all: &'static [&'static str],
    /// One of those that lead here; its first bytes, with a dot at their end, are the way.
    way: &'static str,
    way_bytes: usize,
}

/// All but `metadata.managedFields`, which is half of most objects.
pub const WITHOUT_MANAGERS: Needed = Needed::But(&[("metadata", Needed::But(&[("managedFields", Needed::Nothing)]))]);

pub const LABELS: Needed = Needed::Only(&[("metadata", Needed::Only(&[("labels", Needed::All)]))]);

pub fn read(json: &[u8], needed: Needed) -> Result<Value, Error> {
    let mut text = Text { json, at: 0 };
    let read = text.value(needed).filter(|_| text.peek().is_none());
    // What it is that is wrong is said by who reads all of it.
    read.ok_or_else(|| serde_json::from_slice::<IgnoredAny>(json).err().unwrap_or_else(|| Error::custom("the text cannot be read in part")))
}

/// The value that a text begins with, unread. What follows it does not matter.
pub fn first(json: &[u8]) -> Option<&[u8]> {
    Text { json, at: 0 }.pass()
}

impl Needed {
    /// What each of these leads to: `metadata.labels` all labels, `status.conditions.type` the types of all conditions.
    pub const fn paths(all: &'static [&'static str]) -> Self {
        Self::Paths(Paths { all, way: "", way_bytes: 0 })
    }

    fn of(self, member: &str) -> Self {
        let (listed, other) = match self {
            Self::All | Self::Nothing => return self,
            Self::Paths(paths) => return paths.of(member),
            Self::Only(listed) => (listed, Self::Nothing),
            Self::But(listed) => (listed, Self::All),
        };
        listed.iter().find(|(name, _)| *name == member).map_or(other, |(_, part)| *part)
    }
}

impl Paths {
    fn of(self, member: &str) -> Needed {
        let mut found = Needed::Nothing;
        if member.contains('.') {
            return found;
        }
        for path in self.all {
            let Some(rest) = path.strip_prefix(&self.way[..self.way_bytes]).and_then(|rest| rest.strip_prefix(member)) else { continue };
            if rest.is_empty() {
                return Needed::All;
            }
            if rest.starts_with('.') {
                found = Needed::Paths(Self { all: self.all, way: path, way_bytes: path.len() - rest.len() + 1 });
            }
        }
        found
    }
}

/// Where the reader stands. `None` from any of its functions: the text is not what it should be.
struct Text<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    fn value(&mut self, needed: Needed) -> Option<Value> {
        match (needed, self.peek()?) {
            (Needed::Only(_) | Needed::But(_) | Needed::Paths(_), b'{') => self.members(needed),
            (Needed::Only(_) | Needed::But(_) | Needed::Paths(_), b'[') => self.elements(needed),
            _ => serde_json::from_slice(self.pass()?).ok(),
        }
    }

    fn members(&mut self, needed: Needed) -> Option<Value> {
        let mut members = Map::new();
        self.take(b'{')?;
        while self.peek()? != b'}' {
            let (_, name) = self.name()?;
            match needed.of(&name) {
                Needed::Nothing => drop(self.pass()?),
                part => drop(members.insert(name.into_owned(), self.value(part)?)),
            }
            self.end_of_element(b'}')?;
        }
        self.at += 1;
        Some(Value::Object(members))
    }

    /// A member's name as it stands, and as it is read; and the colon behind it.
    fn name(&mut self) -> Option<(&'a [u8], Cow<'a, str>)> {
        if self.peek()? != b'"' {
            return None;
        }
        let text = self.pass()?;
        self.take(b':')?;
        let plain = text.get(1..text.len() - 1).filter(|name| !name.contains(&b'\\'));
        let name = match plain {
            Some(plain) => Cow::Borrowed(std::str::from_utf8(plain).ok()?),
            None => Cow::Owned(serde_json::from_slice(text).ok()?),
        };
        Some((text, name))
    }

    fn elements(&mut self, needed: Needed) -> Option<Value> {
        let mut elements = Vec::new();
        self.take(b'[')?;
        while self.peek()? != b']' {
            elements.push(self.value(needed)?);
            self.end_of_element(b']')?;
        }
        self.at += 1;
        Some(Value::Array(elements))
    }

    /// A comma with something behind it, or the end, which is left.
    fn end_of_element(&mut self, end: u8) -> Option<()> {
        if self.peek()? == end {
            return Some(());
        }
        self.take(b',')?;
        (self.peek()? != end).then_some(())
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.json.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Passes over a value; its text.
    fn pass(&mut self) -> Option<&'a [u8]> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => self.pass_string()?,
            b'{' | b'[' => self.pass_nested()?,
            _ => {
                let length = self.json[start..].iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
                self.at = length.map_or(self.json.len(), |length| start + length);
            }
        }
        (self.at > start).then(|| &self.json[start..self.at])
    }

    /// Looks at a block at a time: most end inside of the value, and then it is enough to count their brackets.
    fn pass_nested(&mut self) -> Option<()> {
        let (mut depth, mut text) = (0_u32, Quotes::default());
        loop {
            let rest = self.json.get(self.at..)?;
            let block = rest.first_chunk::<BLOCK_BYTES>();
            let last = match block {
                Some(_) => None,
                None => Some(std::array::from_fn(|at| rest.get(at).copied().unwrap_or(b' '))),
            };
            let block = block.or(last.as_ref())?;
            let outside = !text.inside(block);
            let (opens, closes) = (bits(block, |byte| byte | 0x20 == b'{') & outside, bits(block, |byte| byte | 0x20 == b'}') & outside);
            if depth > closes.count_ones() {
                depth = depth + opens.count_ones() - closes.count_ones();
            } else {
                let mut brackets = opens | closes;
                while brackets != 0 {
                    let at = brackets.trailing_zeros();
                    depth = if opens >> at & 1 == 1 { depth + 1 } else { depth - 1 };
                    if depth == 0 {
                        self.at += at as usize + 1;
                        return Some(());
                    }
                    brackets &= brackets - 1;
                }
            }
            if last.is_some() {
                return None;
            }
            self.at += BLOCK_BYTES;
        }
    }

    fn pass_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.json.get(self.at..)?)? + 1;
            if self.json[self.at - 1] == b'"' {
                return Some(());
            }
            self.at += 1;
        }
    }
}

/// As many bytes as a word has bits.
const BLOCK_BYTES: usize = 64;

/// One bit for each byte of which `is` is true.
#[inline]
fn bits(block: &[u8; BLOCK_BYTES], is: impl Fn(u8) -> bool) -> u64 {
    /// Brings the lowest bits of eight bytes together in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut hits = [0; BLOCK_BYTES];
    hits.iter_mut().zip(block).for_each(|(hit, byte)| *hit = u8::from(is(*byte)));
    let eights = hits.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56);
    eights.enumerate().fold(0, |all, (at, eight)| all | eight << (8 * at))
}

/// Tells strings from what is between them, block by block, as simdjson does it.
#[derive(Default)]
struct Quotes {
    /// All bits are set where the block before ended in a string.
    quoted: u64,
    /// One where it ended with a backslash that counts.
    escaped: u64,
}

impl Quotes {
    /// The bytes of strings, from the quote that begins one to before the quote that ends it.
    fn inside(&mut self, block: &[u8; BLOCK_BYTES]) -> u64 {
        let backslashes = bits(block, |byte| byte == b'\\');
        let mut inside = bits(block, |byte| byte == b'"') & !self.escaped_by(backslashes);
        for distance in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << distance;
        }
        inside ^= self.quoted;
        self.quoted = if inside >> 63 == 1 { u64::MAX } else { 0 };
        inside
    }

    /// What stands behind an odd number of backslashes.
    fn escaped_by(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        if backslashes == 0 {
            return std::mem::take(&mut self.escaped);
        }
        let begin = backslashes & !self.escaped;
        let ends = ((begin << 1 | ODD).wrapping_sub(begin)) ^ ODD;
        let escaped = ends ^ (backslashes | self.escaped);
        self.escaped = (ends & backslashes) >> 63;
        escaped
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(needed: Needed, json: &str, expected: Expect) {
        expected.assert_eq(&read(json.as_bytes(), needed).map_or_else(|why| why.to_string(), |read| read.to_string()));
    }

    #[test]
    fn only_what_was_asked_for_becomes_a_value() {
        const NEEDED: Needed =
            Needed::Only(&[("m", Needed::Only(&[("n", Needed::All)])), ("l", Needed::Only(&[("a", Needed::All)])), ("s", Needed::Only(&[]))]);
        check(
            NEEDED,
            r#"{"x":[1,{"m":2}],"m":{"n":{"k":[null]},"o":1},"l":[{"a":"\"","b":{}},{"b":1},3]}"#,
            expect![[r#"{"l":[{"a":"\""},{},3],"m":{"n":{"k":[null]}}}"#]],
        );
        check(NEEDED, r#"{"m":null,"l":true,"s":-1.5}"#, expect![[r#"{"l":true,"m":null,"s":-1.5}"#]]);
        check(NEEDED, r#"{"x":[1,}"#, expect!["expected value at line 1 column 9"]);
        check(NEEDED, " { \"m\" : { \"n\" : [ ] , \"o\" : \"}\\\"\\\\\" } , \"l\" : [ ] }\n", expect![[r#"{"l":[],"m":{"n":[]}}"#]]);
        check(NEEDED, r#"{"\u006d":{"n":"\u00e4 \" \\"},"x":"\\"}"#, expect![[r#"{"m":{"n":"ä \" \\"}}"#]]);
        check(NEEDED, "[]", expect!["[]"]);
        check(NEEDED, "7", expect!["7"]);
        for broken in [
            "",
            "{",
            "{\"",
            "{\"m",
            "{\"m\"",
            "{\"m\":",
            "{\"m\":{}",
            "{\"m\":{},",
            "{\"m\":{},}",
            "{\"l\":[",
            "{\"l\":[{}",
            "{\"l\":[{},]}",
            "{m:1}",
            "{\"x\":}",
            "{\"x\":\"\\",
            "{} 1",
        ] {
            assert!(read(broken.as_bytes(), NEEDED).is_err(), "{broken}");
        }
    }

    #[test]
    fn paths_lead_through_members_and_elements() {
        const NEEDED: Needed = Needed::paths(&["a.b", "a.bc.d", "l.n", "l.m.k", "w", "w.x"]);
        check(
            NEEDED,
            r#"{"a":{"b":{"c":1},"bc":{"d":2,"e":3},"c":4},"b":5,"l":[{"n":1,"o":2},{"m":{"k":3,"n":4}}],"w":{"x":1,"y":2},"bc":6}"#,
            expect![[r#"{"a":{"b":{"c":1},"bc":{"d":2}},"l":[{"n":1},{"m":{"k":3}}],"w":{"x":1,"y":2}}"#]],
        );
        check(NEEDED, r#"{"a":7,"l":{"n":[]},"a.b":1}"#, expect![[r#"{"a":7,"l":{"n":[]}}"#]]);
        check(Needed::paths(&[]), r#"{"a":7}"#, expect!["{}"]);
    }

    #[test]
    fn every_shape_of_text_is_read_as_a_whole_parse_would() {
        const NEEDED: Needed = Needed::But(&[("a", Needed::Nothing), ("b", Needed::But(&[("c", Needed::Nothing)]))]);
        fn without(value: &Value) -> Value {
            let Value::Object(members) = value else {
                return match value {
                    Value::Array(elements) => elements.iter().map(without).collect(),
                    other => other.clone(),
                };
            };
            let inner = |value: &Value| match value {
                Value::Object(members) => {
                    Value::Object(members.iter().filter(|(name, _)| *name != "c").map(|(n, v)| (n.clone(), v.clone())).collect())
                }
                Value::Array(elements) => elements
                    .iter()
                    .map(|e| match e {
                        Value::Object(m) => m.iter().filter(|(name, _)| *name != "c").map(|(n, v)| (n.clone(), v.clone())).collect(),
                        other => other.clone(),
                    })
                    .collect(),
                other => other.clone(),
            };
            Value::Object(
                members.iter().filter(|(name, _)| *name != "a").map(|(n, v)| (n.clone(), if n == "b" { inner(v) } else { v.clone() })).collect(),
            )
        }
        fn made(seed: &mut u64, depth: u32) -> Value {
            *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pick = (*seed >> 33) as usize;
            let count = pick / 64 % 4;
            match pick % if depth == 0 { 5 } else { 8 } {
                0 => Value::Null,
                1 => pick.is_multiple_of(2).into(),
                2 => (pick as i64 - 1_000_000).into(),
                3 => ["", "\"", "\\", "}{][", "\u{1}ä,:", "plain"][pick % 6].into(),
                4 => 1.5e-3.into(),
                5 => (0..count).map(|_| made(seed, depth - 1)).collect(),
                _ => (0..count).map(|_| (["a", "b", "c", "d\"", "\\"][*seed as usize >> 40 & 3].to_owned(), made(seed, depth - 1))).collect(),
            }
        }
        let mut seed = 42;
        for _ in 0..2000 {
            let value = made(&mut seed, 4);
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                assert_eq!(read(text.as_bytes(), NEEDED).unwrap(), without(&value), "{text}");
                assert_eq!(read(text.as_bytes(), Needed::All).unwrap(), value, "{text}");
            }
        }
    }

    #[test]
    fn the_first_value_ends_where_its_brackets_do() {
        let check = |json: &'static str, expected: Option<&'static str>| assert_eq!(first(json.as_bytes()), expected.map(str::as_bytes), "{json}");
        check(r#"{"a":"}","b":[{}]},"c":1}"#, Some(r#"{"a":"}","b":[{}]}"#));
        check(r#""a\"b",1"#, Some(r#""a\"b""#));
        check("7}", Some("7"));
        check(r#"{"a":1"#, None);
        check("}", None);
    }

    #[test]
    fn a_value_ends_in_the_same_place_wherever_its_blocks_begin() {
        for run in 0..6 {
            let inner = format!("{}{}", "\\\\".repeat(run), "\\\"}]".repeat(run % 2));
            let value = format!("{{\"a\":[\"{inner}\",{{}},\"{inner}\",[[]]],\"{inner}\":{{\"b\":\"{{\"}}}}");
            for space in 0..2 * BLOCK_BYTES {
                let text = format!("[{}{value},{value}]", " ".repeat(space));
                let behind = format!("{text}}},\"c\":[{value}");
                assert_eq!(first(behind.as_bytes()), Some(text.as_bytes()), "{behind}");
                assert_eq!(first(&text.as_bytes()[..text.len() - 1]), None, "{text}");
            }
        }
    }

    #[test]
    fn the_managers_are_left_out_of_the_metadata_alone() {
        let json = r#"{"metadata":{"name":"a","managedFields":[{"manager":"m"}]},"spec":{"managedFields":1}}"#;
        check(WITHOUT_MANAGERS, json, expect![[r#"{"metadata":{"name":"a"},"spec":{"managedFields":1}}"#]]);
    }
}
