//! Two texts side by side, as lines with `-` and `+`. For manifests: thousands of lines, not millions.

use super::print;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;
/// Lines that are compared each with each; longer middles are shown as replaced whole.
const MAX_COMPARED: usize = 4_000;

/// Prints the difference; false when there is none.
pub fn show(name: &str, before: &str, after: &str) -> bool {
    if before == after {
        return false;
    }
    print::line(&format!("--- live/{name}\n+++ merged/{name}"));
    print::text(&unified(before, after));
    true
}

/// A mark and a line each: ' ', '-', '+'. Stretches without a change are cut out with `@@`.
pub fn unified(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let edits = edits(&a, &b);
    let near: Vec<bool> = (0..edits.len())
        .map(|at| edits[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(edits.len())].iter().any(|(mark, _)| *mark != ' '))
        .collect();
    let mut out = String::new();
    let mut cut = false;
    for (index, (mark, line)) in edits.iter().enumerate() {
        if near[index] {
            if cut || index == 0 {
                out.push_str("@@\n");
            }
            out.push_str(&format!("{mark}{line}\n"));
        }
        cut = !near[index];
    }
    out
}

fn edits<'t>(a: &[&'t str], b: &[&'t str]) -> Vec<(char, &'t str)> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let mut out: Vec<(char, &str)> = a[..head].iter().map(|l| (' ', *l)).collect();
    middle(&a[head..a.len() - tail], &b[head..b.len() - tail], &mut out);
    out.extend(a[a.len() - tail..].iter().map(|l| (' ', *l)));
    out
}

/// By the longest common subsequence.
fn middle<'t>(a: &[&'t str], b: &[&'t str], out: &mut Vec<(char, &'t str)>) {
    if a.len() > MAX_COMPARED || b.len() > MAX_COMPARED {
        out.extend(a.iter().map(|l| ('-', *l)));
        out.extend(b.iter().map(|l| ('+', *l)));
        return;
    }
    let width = b.len() + 1;
    let mut length = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i * width + j] =
                if a[i] == b[j] { length[(i + 1) * width + j + 1] + 1 } else { length[(i + 1) * width + j].max(length[i * width + j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || length[(i + 1) * width + j] >= length[i * width + j + 1]) {
            out.push(('-', a[i]));
            i += 1;
        } else {
            out.push(('+', b[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_changed_only() {
        assert_eq!(unified("a\nb\nc\n", "a\nx\nc\n"), "@@\n a\n-b\n+x\n c\n");
        let long = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        assert_eq!(unified(long, &long.replace('9', "n")), "@@\n 6\n 7\n 8\n-9\n+n\n");
    }
}
