//! Classes of characters, and characters behind a backslash.

use super::{Fault, fault};

const NOT_A_RANGE: &str = "invalid character class range";
const POSIX: [&str; 14] =
    ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word", "xdigit"];

/// The class that a text starts with, and what comes after it.
pub(super) fn class<'p>(whole: &'p str) -> Result<(String, &'p str), Fault<'p>> {
    let mut out = String::from("[");
    let mut rest = &whole[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut is_first = true;
    while is_first || !rest.starts_with(']') {
        is_first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|named| named.split_once(":]")) {
            let whole_name = &rest[..rest.len() - after.len()];
            if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(fault(NOT_A_RANGE, whole_name));
            }
            out.push_str(whole_name);
            rest = after;
            continue;
        }
        if let Some((text, after)) = named(rest)? {
            out.push_str(&text);
            rest = after;
            continue;
        }
        let range = rest;
        let (low, after) = character(rest, whole)?;
        let (high, after) = match after.strip_prefix('-') {
            Some(high) if !high.is_empty() && !high.starts_with(']') => character(high, whole)?,
            _ => (low, after),
        };
        if high < low {
            return Err(fault(NOT_A_RANGE, &range[..range.len() - after.len()]));
        }
        push(&mut out, low);
        if high != low {
            out.push('-');
            push(&mut out, high);
        }
        rest = after;
    }
    out.push(']');
    Ok((out, &rest[1..]))
}

/// Letters and digits as they are, all others by their number: some mean something inside of a class.
fn push(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:X}}}", c as u32));
    }
}

fn character<'p>(text: &'p str, class: &'p str) -> Result<(char, &'p str), Fault<'p>> {
    match text.chars().next() {
        None => Err(fault("missing closing ]", class)),
        Some('\\') => escaped(text),
        Some(c) => Ok((c, &text[c.len_utf8()..])),
    }
}

/// `\d`, `\pN`, `\p{Greek}` and the like at the start of a text, as a class of its own.
pub(super) fn named<'p>(whole: &'p str) -> Result<Option<(String, &'p str)>, Fault<'p>> {
    let mut chars = whole.chars();
    let (Some('\\'), Some(kind)) = (chars.next(), chars.next()) else { return Ok(None) };
    let text = match kind {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        // Not the vertical tab.
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        'p' | 'P' => return unicode(whole, kind == 'P').map(Some),
        _ => return Ok(None),
    };
    Ok(Some((text.to_owned(), chars.as_str())))
}

/// A category or a script; Go knows no other properties.
fn unicode<'p>(whole: &'p str, mut is_negated: bool) -> Result<(String, &'p str), Fault<'p>> {
    let first = whole[2..].chars().next().unwrap_or('{');
    let bytes = if first == '{' { whole.find('}').map(|end| end + 1).ok_or_else(|| fault(NOT_A_RANGE, whole))? } else { 2 + first.len_utf8() };
    let (part, rest) = whole.split_at(bytes);
    let mut name = part[2..].trim_start_matches('{').trim_end_matches('}');
    if let Some(other) = name.strip_prefix('^') {
        (name, is_negated) = (other, !is_negated);
    }
    let letter = if is_negated { 'P' } else { 'p' };
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | ' '));
    let whole_sets = ["any", "assigned", "ascii"];
    let candidates = if whole_sets.contains(&name.to_ascii_lowercase().as_str()) {
        vec![format!("\\{letter}{{{name}}}")]
    } else {
        vec![format!("\\{letter}{{gc={name}}}"), format!("\\{letter}{{sc={name}}}")]
    };
    match candidates.into_iter().find(|text| is_word && regex_syntax::parse(text).is_ok()) {
        Some(text) => Ok((text, rest)),
        None => Err(fault(NOT_A_RANGE, part)),
    }
}

/// The one character that a backslash and what follows it stand for.
pub(super) fn escaped<'p>(whole: &'p str) -> Result<(char, &'p str), Fault<'p>> {
    let mut chars = whole[1..].chars();
    let Some(c) = chars.next() else { return Err(fault("trailing backslash at end of expression", "")) };
    let after = chars.as_str();
    let wrong = |rest: &str| fault("invalid escape sequence", &whole[..whole.len() - rest.len()]);
    let octal_digits = |text: &str, most: usize| text.bytes().take(most).take_while(|b| matches!(b, b'0'..=b'7')).count();
    match c {
        // One digit alone would refer back.
        '1'..='7' if octal_digits(after, 1) == 0 => Err(wrong(after)),
        '0'..='7' => {
            let digits = 1 + octal_digits(after, 2);
            let number = u32::from_str_radix(&whole[1..=digits], 8).ok().and_then(char::from_u32);
            number.map(|c| (c, &whole[1 + digits..])).ok_or_else(|| wrong(after))
        }
        'x' => hexadecimal(after).map_err(wrong),
        'a' => Ok(('\x07', after)),
        'f' => Ok(('\x0C', after)),
        'n' => Ok(('\n', after)),
        'r' => Ok(('\r', after)),
        't' => Ok(('\t', after)),
        'v' => Ok(('\x0B', after)),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((c, after)),
        _ => Err(wrong(after)),
    }
}

/// Two digits, or any number of them in braces; else what comes after the first that is none.
fn hexadecimal(text: &str) -> Result<(char, &str), &str> {
    let after = |n: usize| text.char_indices().nth(n).map_or("", |(at, _)| &text[at..]);
    if !text.starts_with('{') {
        let number =
            text.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        return number.map(|number| (char::from(number), &text[2..])).ok_or_else(|| after(2));
    }
    let mut number = 0u32;
    for (n, c) in text.chars().enumerate().skip(1) {
        match c.to_digit(16) {
            // A surrogate is no character.
            None if c == '}' && n > 1 => return char::from_u32(number).map(|c| (c, after(n + 1))).ok_or_else(|| after(n + 1)),
            None => return Err(after(n + 1)),
            Some(digit) => number = number * 16 + digit,
        }
        if number > u32::from(char::MAX) {
            return Err(after(n + 1));
        }
    }
    Err("")
}
