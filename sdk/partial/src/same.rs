//! Two states of an object gone over in step, to see that parts of it are as they were: most of the second text is the first one's again,
//! and comparing it costs far less than finding where its values end.

use crate::{Parts, Text};

impl Parts {
    /// Whether all that [`Parts::cut`] would leave of both is the same text. False says little: members may have changed places, or a text
    /// is no JSON. What lies behind the last part is not looked at.
    pub fn is_same_text(&self, before: &[u8], after: &[u8]) -> bool {
        let (mut a, mut b) = (Text { json: before, at: 0 }, Text { json: after, at: 0 });
        match (a.peek(), b.peek(), self.whole) {
            (Some(b'{'), Some(b'{'), false) => same_members(&mut a, &mut b, self, self.members.len()).is_some(),
            _ => before == after,
        }
    }
}

/// `None` where they differ, or cannot be told to be the same.
fn same(a: &mut Text, b: &mut Text, parts: &Parts) -> Option<()> {
    match (a.peek()?, b.peek()?) {
        (b'{', b'{') if !parts.whole => same_members(a, b, parts, usize::MAX),
        (b'[', b'[') if !parts.whole => same_elements(a, b, parts),
        _ => {
            let value = a.pass()?;
            (b.pass_like(value)? == value).then_some(())
        }
    }
}

/// Ends early when so many of the parts were found.
fn same_members(a: &mut Text, b: &mut Text, parts: &Parts, mut wanted: usize) -> Option<()> {
    a.take(b'{')?;
    b.take(b'{')?;
    while wanted > 0 {
        let part = loop {
            if a.peek()? == b'}' {
                break None;
            }
            let (text, name) = a.name()?;
            if let Some(part) = parts.of(&name) {
                break Some((text, part));
            }
            let value = a.pass()?;
            // It stands in the same place of the other, mostly.
            let back = b.at;
            if b.peek()? == b'"' && b.rest().starts_with(text) {
                b.name()?;
                b.pass_like(value)?;
                b.end_of_element(b'}')?;
            } else {
                b.at = back;
            }
            a.end_of_element(b'}')?;
        };
        let other = loop {
            if b.peek()? == b'}' {
                break None;
            }
            let (text, name) = b.name()?;
            if parts.of(&name).is_some() {
                break Some(text);
            }
            b.pass()?;
            b.end_of_element(b'}')?;
        };
        match (part, other) {
            (None, None) => break,
            (Some((text, part)), Some(other)) if text == other => same(a, b, part)?,
            _ => return None,
        }
        a.end_of_element(b'}')?;
        b.end_of_element(b'}')?;
        wanted -= 1;
    }
    if wanted > 0 {
        (a.at, b.at) = (a.at + 1, b.at + 1);
    }
    Some(())
}

fn same_elements(a: &mut Text, b: &mut Text, parts: &Parts) -> Option<()> {
    a.take(b'[')?;
    b.take(b'[')?;
    while a.peek()? != b']' {
        same(a, b, parts)?;
        a.end_of_element(b']')?;
        b.end_of_element(b']')?;
    }
    b.take(b']')?;
    a.at += 1;
    Some(())
}

impl<'a> Text<'a> {
    fn rest(&self) -> &'a [u8] {
        self.json.get(self.at..).unwrap_or_default()
    }

    /// Passes over a value that may be this one: then its end is known. Numbers and words have none of their own.
    fn pass_like(&mut self, known: &[u8]) -> Option<&'a [u8]> {
        self.peek()?;
        let rest = self.rest();
        if matches!(known.first(), Some(b'"' | b'{' | b'[')) && rest.starts_with(known) {
            self.at += known.len();
            return Some(&rest[..known.len()]);
        }
        self.pass()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parts(paths: &[&str]) -> Parts {
        Parts::new(paths.iter().map(|path| path.split('.')))
    }

    #[track_caller]
    fn check(paths: &[&str], before: &str, after: &str, same: bool) {
        assert_eq!(parts(paths).is_same_text(before.as_bytes(), after.as_bytes()), same, "{before} {after}");
        assert_eq!(parts(paths).is_same_text(after.as_bytes(), before.as_bytes()), same, "{after} {before}");
    }

    #[test]
    fn what_is_beside_the_parts_may_come_go_and_change() {
        check(&["b"], r#"{"a":1,"b":2,"c":[{}]}"#, r#"{"a":12,"b":2}"#, true);
        check(&["b"], r#"{"a":1,"b":2}"#, r#"{"b":2,"c":3}"#, true);
        check(&["b"], r#"{"a":1,"b":2}"#, r#"{"a":1,"b":21}"#, false);
        check(&["b"], r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false);
        check(&["b"], "{}", r#"{"a":"b"}"#, true);
        check(&["a.x", "b"], r#"{"a":{"x":1,"y":2},"b":[1]}"#, r#"{"a":{"w":{"x":7},"x":1,"y":3},"b":[1]}"#, true);
        check(&["a.x"], r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"x":2,"y":2}}"#, false);
        check(&["l.n"], r#"{"l":[{"n":1,"o":2},{}]}"#, r#"{"l":[{"n":1},{"o":3}]}"#, true);
        check(&["l.n"], r#"{"l":[{"n":1}]}"#, r#"{"l":[{"n":1},{}]}"#, false);
        check(&["l.n"], r#"{"l":[1,12]}"#, r#"{"l":[1,1]}"#, false);
        check(&["a", "b"], r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, false);
        check(&["b"], r#"{"a":"x","b":2}"#, r#"{"a":"x\"","b":2}"#, true);
        check(&["a"], r#"{"a":1}"#, r#"{"a":"#, false);
        check(&["a"], "[1]", "[1]", true);
        check(&["a"], "", "{}", false);
    }

    #[test]
    fn what_is_told_to_be_the_same_is_cut_to_the_same() {
        const NAMES: [&str; 5] = ["a", "b", "c", "ab", "d\""];
        fn next(seed: &mut u64) -> usize {
            *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (*seed >> 33) as usize
        }
        fn made(seed: &mut u64, depth: u32) -> Value {
            match next(seed) % if depth == 0 { 4 } else { 8 } {
                0 => Value::Null,
                1 => (next(seed) % 20).into(),
                2 => ["", "}", "\\", "\"]"][next(seed) % 4].into(),
                3 => true.into(),
                4 => (0..next(seed) % 3).map(|_| made(seed, depth - 1)).collect(),
                _ => (0..next(seed) % 5).map(|_| (NAMES[next(seed) % 5].to_owned(), made(seed, depth - 1))).collect(),
            }
        }
        /// Somewhere in it something else.
        fn changed(value: &Value, seed: &mut u64) -> Value {
            match value {
                Value::Object(members) if !members.is_empty() && !next(seed).is_multiple_of(5) => {
                    let at = next(seed) % members.len();
                    let keep = |(n, (name, member)): (usize, (&String, &Value))| {
                        (name.clone(), if n == at { changed(member, seed) } else { member.clone() })
                    };
                    members.iter().enumerate().map(keep).collect()
                }
                _ => made(seed, 2),
            }
        }
        let (mut seed, mut same) = (7, 0);
        let parts = parts(&["a.b", "b", "c.a.b", "c.c", "ab"]);
        for _ in 0..20_000 {
            let before = Value::Object((0..4).map(|_| (NAMES[next(&mut seed) % 5].to_owned(), made(&mut seed, 3))).collect());
            let after = changed(&before, &mut seed);
            let (before, after) = (before.to_string(), after.to_string());
            let (left, right) = (parts.cut(before.as_bytes()), parts.cut(after.as_bytes()));
            if parts.is_same_text(before.as_bytes(), after.as_bytes()) {
                same += 1;
                assert_eq!(left, right, "{before} {after}");
            } else {
                // An object that leads nowhere is left out by the cut, and may come and go.
                let empty = |text: &str| text.contains(r#""a":{"#) || text.contains(r#""c":{"#);
                assert!(left != right || empty(&before) || empty(&after), "{before} {after}");
            }
        }
        assert!(same > 2000, "{same}");
    }
}
