//! What is wrong with an expression, and where, as `cel-go` prints it.

use cel::common::ast::SourceInfo;

/// Faults of one expression that are told.
const MAX_TOLD: usize = 100;
/// A longer line is not shown below its fault.
const MAX_LINE_BYTES: usize = 16_384;

#[derive(Default)]
pub struct Faults {
    all: Vec<Fault>,
}

struct Fault {
    id: u64,
    why: String,
    is_undeclared: bool,
}

impl Faults {
    pub fn add(&mut self, id: u64, why: String) {
        self.all.push(Fault { id, why, is_undeclared: false });
    }
    pub fn undeclared_name(&mut self, id: u64, name: &str) {
        self.all.push(Fault { id, why: format!("undeclared reference to '{name}' (in container '')"), is_undeclared: true });
    }
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
    /// Only what is not there.
    #[must_use]
    pub fn undeclared(mut self) -> Self {
        self.all.retain(|fault| fault.is_undeclared);
        self
    }

    /// All of them in the order of their places, with the lines that they are in.
    pub fn told(self, source: &SourceInfo) -> Option<String> {
        if self.all.is_empty() {
            return None;
        }
        let place = |fault: &Fault| source.offset_for(fault.id).map_or(0, |(start, _)| start as usize);
        // Upstream forgets the later ones before it sorts.
        let mut places: Vec<(usize, &str)> = self.all.iter().take(MAX_TOLD).map(|fault| (place(fault), fault.why.as_str())).collect();
        places.sort_by_key(|(place, _)| *place);
        let mut told: Vec<String> = places.into_iter().map(|(place, why)| located(&source.source, place, why)).collect();
        if self.all.len() > MAX_TOLD {
            told.push(format!("{} more errors were truncated", self.all.len() - MAX_TOLD));
        }
        Some(told.join("\n"))
    }
}

fn located(source: &str, place: usize, why: &str) -> String {
    let before = &source[..source.floor_char_boundary(place)];
    let line = before.matches('\n').count();
    let head = before.rsplit('\n').next().unwrap_or("");
    let told = format!("ERROR: <input>:{}:{}: {why}", line + 1, head.chars().count() + 1);
    let text = source.split('\n').nth(line).unwrap_or("");
    if text.len() > MAX_LINE_BYTES {
        return told;
    }
    let text = text.replace('\t', " ");
    let is_wide = |c: char| c.len_utf8() > 1;
    let dots: String = head.chars().map(|c| if is_wide(c) { '．' } else { '.' }).collect();
    let mark = if text.chars().nth(head.chars().count()).is_some_and(is_wide) { '＾' } else { '^' };
    format!("{told}\n | {text}\n | {dots}{mark}")
}
