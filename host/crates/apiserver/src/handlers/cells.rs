//! The cells of an object's row, made once for each state of the object.
//!
//! Parsing an object for its columns costs far more than sending its row, and kubectl asks for the same rows again and again. Only ages
//! change by themselves: where one stands, the kept text has a mark with the moment it counts from. Called by `table`.

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use serde_json::{Value, json};

use crate::cache::{Stored, partial};
use crate::registry::print;
use crate::resources::Resource;

/// Appends the cells of an object that came from anywhere.
pub fn write(out: &mut Vec<u8>, resource: &Resource, json: &[u8], now: jiff::Timestamp) -> Result<(), Status> {
    let object = partial::read(json, resource.strategy.cells_need()).map_err(|e| Status::internal(format!("unreadable object: {e}")))?;
    serde_json::to_writer(out, &cells(resource, &object, now)).map_err(Status::internal)
}

/// Appends the cells of a cached object, in the form that it is stored in.
pub fn write_stored(out: &mut Vec<u8>, resource: &Resource, object: &Stored, now: jiff::Timestamp) -> Result<(), Status> {
    if let Some(kept) = object.cells(resource.serial) {
        fill(out, kept, now);
        return Ok(());
    }
    let mut marked = Vec::new();
    write(&mut marked, resource, object.as_slice(), print::MARKED)?;
    fill(out, &marked, now);
    object.keep_cells(resource.serial, marked.into());
    Ok(())
}

fn cells(resource: &Resource, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
    let strategy = &resource.strategy;
    let own = strategy.cells(object, now);
    if strategy.whole_table() {
        return own;
    }
    let (mut wide, mut narrow) = (Vec::new(), vec![json!(object.name())]);
    for (column, cell) in strategy.columns().iter().zip(own) {
        if column.priority == 0 { narrow.push(cell) } else { wide.push(cell) }
    }
    narrow.push(print::age(object, now));
    narrow.append(&mut wide);
    narrow
}

/// Copies the text, with durations in the places of its marks.
fn fill(out: &mut Vec<u8>, marked: &[u8], now: jiff::Timestamp) {
    let mut rest = marked;
    while let Some(start) = mark_in(rest) {
        let inside = &rest[start + print::MARK_JSON.len()..];
        let end = mark_in(inside);
        let moment = end.and_then(|end| std::str::from_utf8(&inside[..end]).ok()?.parse().ok());
        // An object's own text may hold what looks like the beginning of one.
        let (Some(end), Some(moment)) = (end, moment) else {
            let past = start + print::MARK_JSON.len();
            out.extend_from_slice(&rest[..past]);
            rest = &rest[past..];
            continue;
        };
        out.extend_from_slice(&rest[..start]);
        out.extend_from_slice(print::since_moment(moment, now).as_bytes());
        rest = &inside[end + print::MARK_JSON.len()..];
    }
    out.extend_from_slice(rest);
}

/// A row is shorter than what it takes to prepare a search in it.
fn mark_in(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(print::MARK_JSON[0], text).find(|at| text[*at..].starts_with(print::MARK_JSON))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(cells: &Value, now: &str) -> String {
        let mut out = Vec::new();
        fill(&mut out, cells.to_string().as_bytes(), now.parse().expect("a time"));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn ages_are_told_from_the_moment_that_was_marked() {
        let made = "2026-01-01T00:00:00Z";
        let cells = json!(["a", format!("2 ({} ago)", print::since(made, print::MARKED)), print::since(made, print::MARKED), "z"]);
        assert_eq!(filled(&cells, "2026-01-01T00:00:05Z"), r#"["a","2 (5s ago)","5s","z"]"#);
        assert_eq!(filled(&cells, "2026-01-03T06:00:00Z"), r#"["a","2 (2d6h ago)","2d6h","z"]"#);
    }

    #[test]
    fn text_that_looks_like_a_mark_stays_as_it_is() {
        let cells = json!(["\u{1}", "\u{1}x\u{1}", "\\u0001", print::since("nothing", print::MARKED)]);
        assert_eq!(filled(&cells, "2026-01-01T00:00:05Z"), cells.to_string());
    }
}
