//! How many warnings an answer carries: each once, and no more of them than headers have room for. Upstream's figures and order.

use std::collections::HashSet;

/// In all, in characters. Beyond it every warning is cut, and the last ones are left out.
const MAX_CHARACTERS: usize = 4 * 1024;
/// Of one that is cut.
const CUT_CHARACTERS: usize = 256;

/// Those that are sent. Called by whoever writes the headers.
pub fn bounded(all: &[String]) -> Vec<&str> {
    let mut seen = HashSet::new();
    let distinct = all.iter().map(String::as_str).filter(|text| !text.is_empty() && seen.insert(*text));
    let (mut sent, mut written, mut cuts) = (Vec::new(), 0, false);
    for text in distinct {
        if !cuts {
            written += text.chars().count();
            sent.push(text);
            if written > MAX_CHARACTERS {
                cuts = true;
                sent.iter_mut().for_each(|text| *text = cut(text));
                written = sent.iter().map(|text| text.chars().count()).sum();
            }
        } else if written < MAX_CHARACTERS {
            sent.push(cut(text));
            written += sent.last().map_or(0, |text| text.chars().count());
        } else {
            break;
        }
    }
    sent
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(CUT_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(all: &[String]) -> Vec<usize> {
        bounded(all).iter().map(|text| text.chars().count()).collect()
    }

    #[test]
    fn each_once_and_only_so_many() {
        let text = |length: usize, first: char| format!("{first}{}", "ä".repeat(length - 1));
        assert_eq!(lengths(&["".to_owned(), text(9, 'a'), text(9, 'a'), text(9, 'b')]), [9, 9]);
        assert_eq!(lengths(&[text(4000, 'a'), text(96, 'b')]), [4000, 96], "as many as may be");
        assert_eq!(lengths(&[text(4000, 'a'), text(97, 'b'), text(300, 'c'), text(9, 'd')]), [256, 97, 256, 9]);
        let many: Vec<String> = (0..30_000).map(|n| format!("{n:08}")).collect();
        assert_eq!(lengths(&many), [8; 513], "the one that did not fit is there as well");
    }
}
