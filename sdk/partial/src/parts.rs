//! Parts of an object cut out of its text: a text again, of which nothing became a value on the way.
//!
//! For whoever passes parts on, or compares those of two states: the host, before it asks a controller about a change, and the test
//! harness, which does as the host. Paths are known when it runs; those that are known when it is built are [`crate::Needed::paths`].

use crate::Text;

/// What some paths of member names lead to, with the way there: objects without their other members, and each element of a list. An object
/// in which the way ends without leading anywhere is left out, unless it is such an element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// A path ends here.
    pub(crate) whole: bool,
    pub(crate) members: Vec<(String, Parts)>,
}

impl Parts {
    /// A path without names leads to all of the object.
    pub fn new<'a, P: IntoIterator<Item = &'a str>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut parts = Self::default();
        paths.into_iter().for_each(|path| parts.add(path.into_iter()));
        parts
    }

    /// `None`: the text is no JSON.
    pub fn cut(&self, json: &[u8]) -> Option<Vec<u8>> {
        let mut text = Text { json, at: 0 };
        let mut cut = Vec::new();
        text.cut(self, &mut cut)?;
        text.peek().is_none().then_some(cut)
    }

    fn add<'a>(&mut self, mut path: impl Iterator<Item = &'a str>) {
        let Some(name) = path.next() else {
            *self = Self { whole: true, members: Vec::new() };
            return;
        };
        if self.whole {
            return;
        }
        let at = self.members.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.members.push((name.to_owned(), Self::default()));
            self.members.len() - 1
        });
        self.members[at].1.add(path);
    }

    pub(crate) fn of(&self, member: &str) -> Option<&Self> {
        self.members.iter().find(|(name, _)| name == member).map(|(_, part)| part)
    }
}

impl Text<'_> {
    fn cut(&mut self, parts: &Parts, cut: &mut Vec<u8>) -> Option<()> {
        match self.peek()? {
            b'{' if !parts.whole => self.cut_members(parts, cut),
            b'[' if !parts.whole => self.cut_elements(parts, cut),
            _ => self.pass().map(|value| cut.extend_from_slice(value)),
        }
    }

    fn cut_members(&mut self, parts: &Parts, cut: &mut Vec<u8>) -> Option<()> {
        self.take(b'{')?;
        cut.push(b'{');
        let none = cut.len();
        while self.peek()? != b'}' {
            let (text, name) = self.name()?;
            match parts.of(&name) {
                None => drop(self.pass()?),
                Some(part) => {
                    let before = cut.len();
                    if before > none {
                        cut.push(b',');
                    }
                    cut.extend_from_slice(text);
                    cut.push(b':');
                    let begin = cut.len();
                    self.cut(part, cut)?;
                    if !part.whole && &cut[begin..] == b"{}" {
                        cut.truncate(before);
                    }
                }
            }
            self.end_of_element(b'}')?;
        }
        self.at += 1;
        cut.push(b'}');
        Some(())
    }

    fn cut_elements(&mut self, parts: &Parts, cut: &mut Vec<u8>) -> Option<()> {
        self.take(b'[')?;
        cut.push(b'[');
        let none = cut.len();
        while self.peek()? != b']' {
            if cut.len() > none {
                cut.push(b',');
            }
            self.cut(parts, cut)?;
            self.end_of_element(b']')?;
        }
        self.at += 1;
        cut.push(b']');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn parts(paths: &[&str]) -> Parts {
        Parts::new(paths.iter().map(|path| path.split('.').filter(|name| !name.is_empty())))
    }

    fn check(paths: &[&str], json: &str, expected: Expect) {
        let cut = parts(paths).cut(json.as_bytes()).map(|cut| String::from_utf8(cut).unwrap());
        expected.assert_eq(&cut.unwrap_or_else(|| "no JSON".to_owned()));
    }

    #[test]
    fn the_way_to_a_part_is_kept_and_nothing_beside_it() {
        let json = r#"{"a":{"b":{"c":1},"bc":{"d":2,"e":3},"c":4},"b":5,"l":[{"n":1,"o":2},{"m":{"k":3,"n":4}},7,[{"n":8}]],"w":{"x":1}}"#;
        check(&["a.b", "a.bc.d"], json, expect![[r#"{"a":{"b":{"c":1},"bc":{"d":2}}}"#]]);
        check(&["l.n", "l.m.k"], json, expect![[r#"{"l":[{"n":1},{"m":{"k":3}},7,[{"n":8}]]}"#]]);
        check(&["w.x", "w", "w.y"], json, expect![[r#"{"w":{"x":1}}"#]]);
        check(&["a.x.y", "b", "w.z", "l.x"], json, expect![[r#"{"b":5,"l":[{},{},7,[{}]]}"#]]);
        check(&["a", "b.c"], r#"{"a":{},"b":{}}"#, expect![[r#"{"a":{}}"#]]);
        check(&["b.c", "x.y"], json, expect![[r#"{"b":5}"#]]);
        check(&[], json, expect!["{}"]);
        check(&["a", ""], " { \"a\" : 1, \"b\" : [ ] } ", expect![[r#"{ "a" : 1, "b" : [ ] }"#]]);
        check(&["a"], r#"{"\u0061":"\"}","b":"\\"}"#, expect![[r#"{"\u0061":"\"}"}"#]]);
        check(&["a"], "[{\"a\":1,\"b\":2},{}]", expect![[r#"[{"a":1},{}]"#]]);
    }

    #[test]
    fn a_name_may_have_dots() {
        let json = br#"{"metadata":{"annotations":{"example.com/a":"1","example":{"com/a":"2"}}}}"#;
        let cut = Parts::new([["metadata", "annotations", "example.com/a"]]).cut(json);
        assert_eq!(cut.as_deref(), Some(&br#"{"metadata":{"annotations":{"example.com/a":"1"}}}"#[..]));
    }

    #[test]
    fn what_is_no_json_is_not_cut() {
        for broken in ["", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}", "{\"b\":[}", "{} 1", "{\"a\":1}}"] {
            check(&["a"], broken, expect!["no JSON"]);
        }
    }
}
