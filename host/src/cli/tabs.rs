//! Columns of text by elastic tab stops: a cell ends with a tab, and a run of lines that have a cell in the same place shares its
//! width. The last cell of a line is never padded. Tables and descriptions are written through this.

/// Spaces between columns and the least width of a column, padding included.
#[derive(Clone, Copy)]
pub struct Style {
    pub min_width: usize,
    pub padding: usize,
}

pub const TABLE: Style = Style { min_width: 6, padding: 3 };
pub const DESCRIPTION: Style = Style { min_width: 0, padding: 2 };

pub fn align(text: &str, style: Style) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let ended = text.ends_with('\n');
    let count = lines.len() - usize::from(ended);
    block(&lines[..count], &mut Vec::new(), style, &mut out);
    if !ended {
        out.pop();
    }
    out
}

fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, style: Style, out: &mut String) {
    let column = widths.len();
    let mut rest = lines;
    while !rest.is_empty() {
        let has_cell = |line: &&Vec<&str>| column + 1 < line.len();
        let before = rest.iter().take_while(|l| !has_cell(l)).count();
        write(&rest[..before], widths, out);
        rest = &rest[before..];
        let run = rest.iter().take_while(has_cell).count();
        if run > 0 {
            let widest = rest[..run].iter().map(|l| l[column].chars().count() + style.padding).max();
            widths.push(widest.unwrap_or(0).max(style.min_width));
            block(&rest[..run], widths, style, out);
            widths.pop();
            rest = &rest[run..];
        }
    }
}

fn write(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(at) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_share_a_width() {
        let text = "Name:\tx\nLabels:\ta=b\n\tc=d\nplain\nA:\ty\n";
        assert_eq!(align(text, DESCRIPTION), "Name:    x\nLabels:  a=b\n         c=d\nplain\nA:  y\n");
        assert_eq!(align("NAME\tAGE\nweb-1234\t5s\n", TABLE), "NAME       AGE\nweb-1234   5s\n");
    }
}
