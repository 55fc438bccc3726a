//! Regular expressions that users write are in Go's dialect (RE2); this turns one into the dialect of the `regex` crate.
//!
//! The two differ in what stands for itself (an unescaped `[` or `&&` inside a class, a `{` that repeats nothing, any escaped
//! punctuation), in what `\d`, `\s`, `\w` and `\b` mean (ASCII in Go), and in what is refused (`a**`, more than 1000 times). Faults are
//! told in the words of Go's parser. Called for `pattern` in the schemas of custom resources, and by the functions of CEL.

mod class;

/// The most that repetitions inside each other may come to.
const MAX_REPEATS: u64 = 1000;

/// The same expression in the dialect of the `regex` crate, or what Go says of it.
pub fn translate(pattern: &str) -> Result<String, String> {
    let mut parser =
        Parser { whole: pattern, rest: pattern, out: String::with_capacity(pattern.len() + 8), groups: Vec::new(), here: Group::default() };
    parser.run().map_err(|fault| format!("error parsing regexp: {}: `{}`", fault.said, fault.part))?;
    Ok(parser.out)
}

#[derive(Debug)]
struct Fault<'p> {
    said: &'static str,
    part: &'p str,
}

fn fault<'p>(said: &'static str, part: &'p str) -> Fault<'p> {
    Fault { said, part }
}

/// What is open: a group, or the whole expression.
#[derive(Default)]
struct Group {
    /// How often what stands last is repeated inside of itself at most; `None` where nothing is there to be repeated.
    last: Option<u64>,
    /// The most of all that came before.
    most: u64,
}

struct Parser<'p> {
    whole: &'p str,
    rest: &'p str,
    out: String,
    groups: Vec<Group>,
    here: Group,
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Result<(), Fault<'p>> {
        let mut last_repeat: Option<&'p str> = None;
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut is_repeat = false;
            match c {
                '(' if self.rest.starts_with("(?") => self.flags()?,
                '(' => self.open("(", 1),
                ')' => self.close()?,
                '|' => {
                    self.note_last();
                    self.here.last = None;
                    self.take(1, "|");
                }
                '^' | '$' | '.' => {
                    self.take(1, &before[..1]);
                    self.atom(1);
                }
                '[' => {
                    let (text, rest) = class::class(self.rest)?;
                    self.rest = rest;
                    self.out.push_str(&text);
                    self.atom(1);
                }
                '*' | '+' | '?' => {
                    self.repeat(1, None, last_repeat)?;
                    is_repeat = true;
                }
                '{' => match counts(self.rest) {
                    Some((least, most, bytes)) => {
                        self.repeat(bytes, Some((least, most)), last_repeat)?;
                        is_repeat = true;
                    }
                    None => self.literal('{', 1),
                },
                '\\' => self.escape()?,
                other => self.literal(other, other.len_utf8()),
            }
            last_repeat = is_repeat.then_some(before);
        }
        if self.groups.is_empty() { Ok(()) } else { Err(fault("missing closing )", self.whole)) }
    }

    /// Goes on by so many bytes, for which this stands.
    fn take(&mut self, bytes: usize, text: &str) {
        self.out.push_str(text);
        self.rest = &self.rest[bytes..];
    }

    fn literal(&mut self, c: char, bytes: usize) {
        self.out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
        self.rest = &self.rest[bytes..];
        self.atom(1);
    }

    fn note_last(&mut self) {
        self.here.most = self.here.most.max(self.here.last.unwrap_or(1));
    }

    fn atom(&mut self, repeats: u64) {
        self.note_last();
        self.here.last = Some(repeats);
    }

    fn open(&mut self, text: &str, bytes: usize) {
        self.take(bytes, text);
        self.groups.push(std::mem::take(&mut self.here));
    }

    fn close(&mut self) -> Result<(), Fault<'p>> {
        let Some(outer) = self.groups.pop() else { return Err(fault("unexpected )", self.whole)) };
        self.note_last();
        let inner = std::mem::replace(&mut self.here, outer).most;
        self.take(1, ")");
        self.atom(inner);
        Ok(())
    }

    /// `*`, `+`, `?` or `{n,m}` with so many bytes, and the `?` behind it.
    fn repeat(&mut self, bytes: usize, counts: Option<(u64, Option<u64>)>, last_repeat: Option<&'p str>) -> Result<(), Fault<'p>> {
        let bytes_of_all = bytes + usize::from(self.rest[bytes..].starts_with('?'));
        let text = &self.rest[..bytes_of_all];
        if counts.is_some_and(|(least, most)| least > MAX_REPEATS || most.is_some_and(|most| most > MAX_REPEATS || least > most)) {
            return Err(fault("invalid repeat count", &self.rest[..bytes]));
        }
        if let Some(last) = last_repeat {
            let both = last.len() - self.rest.len() + bytes_of_all;
            return Err(fault("invalid nested repetition operator", &last[..both]));
        }
        let Some(inner) = self.here.last else { return Err(fault("missing argument to repetition operator", text)) };
        if let Some((least, most)) = counts {
            let times = most.unwrap_or(least);
            let all = match times {
                0 if most == Some(0) => 1,
                0 => inner,
                _ => inner.saturating_mul(times),
            };
            if all > MAX_REPEATS {
                return Err(fault("invalid repeat count", text));
            }
            self.here.last = Some(all);
        }
        self.take(bytes_of_all, text);
        Ok(())
    }

    /// `(?flags)`, `(?flags:` and named groups; names are of no use here.
    fn flags(&mut self) -> Result<(), Fault<'p>> {
        let whole = self.rest;
        for start in ["(?P<", "(?<"] {
            if let Some(named) = whole.strip_prefix(start).filter(|named| !named.is_empty()) {
                let Some(end) = named.find('>') else { return Err(fault("invalid named capture", whole)) };
                let name = &named[..end];
                let bytes = start.len() + end + 1;
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return Err(fault("invalid named capture", &whole[..bytes]));
                }
                self.open("(", bytes);
                return Ok(());
            }
        }
        let (mut set, mut cleared) = (String::new(), String::new());
        let (mut is_negated, mut any_since) = (false, false);
        for (at, c) in whole.char_indices().skip(2) {
            match c {
                'i' | 'm' | 's' | 'U' => {
                    let (into, other) = if is_negated { (&mut cleared, &mut set) } else { (&mut set, &mut cleared) };
                    other.retain(|flag| flag != c);
                    if !into.contains(c) {
                        into.push(c);
                    }
                    any_since = true;
                }
                '-' if !is_negated => (is_negated, any_since) = (true, false),
                ':' | ')' if !is_negated || any_since => {
                    let minus = if cleared.is_empty() { "" } else { "-" };
                    match (c, set.is_empty() && cleared.is_empty()) {
                        (':', _) => self.open(&format!("(?{set}{minus}{cleared}:"), at + 1),
                        (_, true) => self.take(at + 1, ""),
                        (_, false) => self.take(at + 1, &format!("(?{set}{minus}{cleared})")),
                    }
                    return Ok(());
                }
                _ => return Err(fault("invalid or unsupported Perl syntax", &whole[..at + c.len_utf8()])),
            }
        }
        Err(fault("invalid or unsupported Perl syntax", whole))
    }

    fn escape(&mut self) -> Result<(), Fault<'p>> {
        let whole = self.rest;
        match whole.chars().nth(1) {
            Some('A') => self.take(2, r"\A"),
            Some('z') => self.take(2, r"\z"),
            Some('b') => self.take(2, r"(?-u:\b)"),
            Some('B') => self.take(2, r"(?-u:\B)"),
            Some('Q') => {
                let (literal, rest) = whole[2..].split_once(r"\E").unwrap_or((&whole[2..], ""));
                literal.chars().for_each(|c| self.literal(c, 0));
                self.rest = rest;
                return Ok(());
            }
            _ => {
                if let Some((text, rest)) = class::named(whole)? {
                    self.out.push_str(&text);
                    self.rest = rest;
                } else {
                    let (c, rest) = class::escaped(whole)?;
                    self.literal(c, whole.len() - rest.len());
                    return Ok(());
                }
            }
        }
        self.atom(1);
        Ok(())
    }
}

/// `{n}`, `{n,}` or `{n,m}`: how often at least and at most, and how many bytes that is. Anything else stands for itself.
fn counts(text: &str) -> Option<(u64, Option<u64>, usize)> {
    fn number(text: &str) -> Option<(u64, &str)> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(digits);
        let has_zero_in_front = number.len() > 1 && number.starts_with('0');
        (digits > 0 && !has_zero_in_front).then(|| (number.parse().unwrap_or(u64::MAX), rest))
    }
    let (least, rest) = number(text.strip_prefix('{')?)?;
    let (most, rest) = match rest.strip_prefix(',') {
        None => (Some(least), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => number(rest).map(|(most, rest)| (Some(most), rest))?,
    };
    let rest = rest.strip_prefix('}')?;
    Some((least, most, text.len() - rest.len()))
}

#[cfg(test)]
mod tests;
