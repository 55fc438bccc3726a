//! Unified diffs of texts, as upstream's messages have them.
//!
//! Upstream compares with Ratcliff and Obershelp's method: the longest common run of lines, then the same on both sides of it. Of a long text,
//! lines that come often begin no run. That may take quadratic time, so past [`MAX_STEPS`] what is left counts as changed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

const CONTEXT_LINES: usize = 3;
/// From this length on lines that come often are no beginning of a run.
const LONG_LINES: usize = 200;
/// Lines looked at, for one diff: some hundredths of a second.
const MAX_STEPS: usize = 2_000_000;

/// Without names of files; empty where the texts are the same.
pub fn unified(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    for group in groups(&changes(&a, &b), a.len(), b.len()) {
        write_group(&group, &a, &b, &mut out);
    }
    out
}

/// Lines of the old text, and the lines of the new one that stand for them.
type Change = (Range<usize>, Range<usize>);

/// What differs, in order, with common lines between.
fn changes(a: &[&str], b: &[&str]) -> Vec<Change> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(j);
    }
    if b.len() >= LONG_LINES {
        places.retain(|_, found| found.len() <= b.len() / 100 + 1);
    }
    let mut matcher = Matcher { a, b, places, steps: 0, runs: Vec::new() };
    matcher.find(0..a.len(), 0..b.len());
    let (mut i, mut j, mut changes) = (0, 0, Vec::new());
    for (at, with, length) in matcher.runs.into_iter().chain([(a.len(), b.len(), 0)]) {
        if i < at || j < with {
            changes.push((i..at, j..with));
        }
        (i, j) = (at + length, with + length);
    }
    changes
}

struct Matcher<'a> {
    a: &'a [&'a str],
    b: &'a [&'a str],
    /// Where a line stands in `b`.
    places: HashMap<&'a str, Vec<usize>>,
    steps: usize,
    /// Common runs in order: their beginnings in `a` and `b`, and their length.
    runs: Vec<(usize, usize, usize)>,
}

impl Matcher<'_> {
    /// Each level looks at a line at least of all that is left, so the steps bound the depth as well.
    fn find(&mut self, of_a: Range<usize>, of_b: Range<usize>) {
        let Some((i, j, length)) = self.longest(&of_a, &of_b) else { return };
        if of_a.start < i && of_b.start < j {
            self.find(of_a.start..i, of_b.start..j);
        }
        self.runs.push((i, j, length));
        if i + length < of_a.end && j + length < of_b.end {
            self.find(i + length..of_a.end, j + length..of_b.end);
        }
    }

    /// The first of the longest common runs.
    fn longest(&mut self, of_a: &Range<usize>, of_b: &Range<usize>) -> Option<(usize, usize, usize)> {
        let (mut i, mut j, mut length) = (of_a.start, of_b.start, 0);
        let mut ending: HashMap<usize, usize> = HashMap::new();
        for at in of_a.clone() {
            self.steps += 1;
            let found = self.places.get(self.a[at]).map_or(&[][..], Vec::as_slice);
            let first = found.partition_point(|place| *place < of_b.start);
            let mut next = HashMap::new();
            for place in found[first..].iter().copied().take_while(|place| *place < of_b.end) {
                self.steps += 1;
                let run = place.checked_sub(1).and_then(|before| ending.get(&before)).unwrap_or(&0) + 1;
                next.insert(place, run);
                if run > length {
                    (i, j, length) = (at + 1 - run, place + 1 - run, run);
                }
            }
            if self.steps > MAX_STEPS {
                return None;
            }
            ending = next;
        }
        while i > of_a.start && j > of_b.start && self.a[i - 1] == self.b[j - 1] {
            (i, j, length) = (i - 1, j - 1, length + 1);
        }
        while i + length < of_a.end && j + length < of_b.end && self.a[i + length] == self.b[j + length] {
            length += 1;
        }
        (length > 0).then_some((i, j, length))
    }
}

/// Changes whose contexts touch, with the lines from where to where each group goes.
struct Group {
    changes: Vec<Change>,
    of_a: Range<usize>,
    of_b: Range<usize>,
}

fn groups(changes: &[Change], a_lines: usize, b_lines: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (of_a, of_b) in changes.iter().cloned() {
        // Common lines before and behind are as many on both sides.
        let end_a = (of_a.end + CONTEXT_LINES).min(a_lines);
        let end_b = (of_b.end + CONTEXT_LINES).min(b_lines);
        match groups.last_mut().filter(|g| g.changes.last().is_some_and(|(before, _)| of_a.start - before.end <= 2 * CONTEXT_LINES)) {
            Some(group) => {
                (group.of_a.end, group.of_b.end) = (end_a, end_b);
                group.changes.push((of_a, of_b));
            }
            None => groups.push(Group {
                of_a: of_a.start.saturating_sub(CONTEXT_LINES)..end_a,
                of_b: of_b.start.saturating_sub(CONTEXT_LINES)..end_b,
                changes: vec![(of_a, of_b)],
            }),
        }
    }
    groups
}

fn write_group(group: &Group, a: &[&str], b: &[&str], out: &mut String) {
    let _ = writeln!(out, "@@ -{} +{} @@", lines_word(&group.of_a), lines_word(&group.of_b));
    let mut write = |mark: char, lines: &[&str]| lines.iter().for_each(|line| out.extend([mark].into_iter().chain(line.chars()).chain(['\n'])));
    let mut at = group.of_a.start;
    for (old, new) in &group.changes {
        write(' ', &a[at..old.start]);
        write('-', &a[old.clone()]);
        write('+', &b[new.clone()]);
        at = old.end;
    }
    write(' ', &a[at..group.of_a.end]);
}

/// The first line and their number, which is left out when it is one. No lines begin at the line before.
fn lines_word(lines: &Range<usize>) -> String {
    match lines.len() {
        1 => format!("{}", lines.start + 1),
        0 => format!("{},0", lines.start),
        length => format!("{},{length}", lines.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn changes_are_shown_with_three_lines_around() {
        let old: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[1] = "two".to_owned();
        new.remove(8);
        new.insert(18, "more".to_owned());
        expect![[r"
            @@ -1,12 +1,11 @@
             1
            -2
            +two
             3
             4
             5
             6
             7
             8
            -9
             10
             11
             12
            @@ -17,4 +16,5 @@
             17
             18
             19
            +more
             20
        "]]
        .assert_eq(&unified(&old.join("\n"), &new.join("\n")));
        assert_eq!(unified("a\nb", "a\nb"), "");
        assert_eq!(unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
    }

    #[test]
    fn long_texts_of_like_lines_end_soon() {
        let text = |from: usize, to: usize| (from..to).map(|n| ["x", "y", "z"][n * n % 7 % 3]).collect::<Vec<_>>().join("\n");
        let (old, new) = (text(0, 150), text(1, 190));
        assert!(!unified(&old, &new).is_empty());
        let numbered = |step: usize| (0..100_000_usize).map(|n| (n * step % 100_003).to_string()).collect::<Vec<_>>().join("\n");
        assert!(unified(&numbered(1), &numbered(7)).starts_with("@@ -"));
    }
}
