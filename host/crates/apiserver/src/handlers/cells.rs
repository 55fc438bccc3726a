//! The cells of an object's row, made once for each state of the object.
//!
//! Parsing an object for its columns costs far more than sending its row, and kubectl asks for the same rows again and again. Only ages
//! change by themselves: they are left out of the kept text, and where they stand and what they count from is kept beside it.
//! Who writes an object of a kind that is listed by the thousand has it parsed already and makes them then. Called by `table` and the writes.

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use pintle_registry::print;
use serde_json::{Value, json};

use crate::cache::{KeptCells, Stored};
use crate::resources::Resource;

/// Most rows fit without their text being moved while it grows.
const COMMON_BYTES: usize = 256;

/// Appends the cells of an object that came from anywhere.
pub fn write(out: &mut Vec<u8>, resource: &Resource, json: &[u8], now: jiff::Timestamp) -> Result<(), Status> {
    write_object(out, resource, &read(resource, json)?, now)
}

/// Appends the cells of a cached object, in the form that it is stored in.
pub fn write_stored(out: &mut Vec<u8>, resource: &Resource, object: &Stored, now: jiff::Timestamp) -> Result<(), Status> {
    if let Some(kept) = object.cells(resource.serial) {
        fill(out, kept, now);
        return Ok(());
    }
    let made = make(resource, &read(resource, object.as_slice())?)?;
    fill(out, &made, now);
    object.keep_cells(resource.serial, made);
    Ok(())
}

/// Makes the cells of what was just written, where the kind wants that. `object` is what `stored` was made of.
pub fn keep(resource: &Resource, stored: &Stored, object: &Object) {
    if resource.converts || !resource.strategy.cells_with_write() {
        return;
    }
    // What cannot be made now is told to who asks for the row.
    if let Ok(made) = make(resource, object) {
        stored.keep_cells(resource.serial, made);
    }
}

fn read(resource: &Resource, json: &[u8]) -> Result<Object, Status> {
    pintle_partial::read(json, resource.strategy.cells_need()).map_err(|e| Status::internal(format!("unreadable object: {e}")))
}

fn write_object(out: &mut Vec<u8>, resource: &Resource, object: &Object, now: jiff::Timestamp) -> Result<(), Status> {
    serde_json::to_writer(out, &cells(resource, object, now)).map_err(Status::internal)
}

fn make(resource: &Resource, object: &Object) -> Result<KeptCells, Status> {
    let mut marked = Vec::with_capacity(COMMON_BYTES);
    write_object(&mut marked, resource, object, print::MARKED)?;
    Ok(without_marks(&marked))
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

/// Copies the text, with durations in their places.
fn fill(out: &mut Vec<u8>, kept: &KeptCells, now: jiff::Timestamp) {
    let mut done = 0;
    for (at, moment) in &kept.since {
        let at = *at as usize;
        out.extend_from_slice(&kept.text[done..at]);
        print::write_duration(out, print::seconds_since(*moment, now));
        done = at;
    }
    out.extend_from_slice(&kept.text[done..]);
}

/// Takes the marks out of a text, and notes where they stood.
fn without_marks(marked: &[u8]) -> KeptCells {
    let (mut text, mut since) = (Vec::with_capacity(marked.len()), Vec::new());
    let mut rest = marked;
    while let Some(start) = mark_in(rest) {
        let inside = &rest[start + print::MARK_JSON.len()..];
        let end = mark_in(inside);
        let moment = end.and_then(|end| std::str::from_utf8(&inside[..end]).ok()?.parse().ok());
        let at = u32::try_from(text.len() + start).ok();
        // An object's own text may hold what looks like the beginning of one.
        let (Some(end), Some(moment), Some(at)) = (end, moment, at) else {
            let past = start + print::MARK_JSON.len();
            text.extend_from_slice(&rest[..past]);
            rest = &rest[past..];
            continue;
        };
        text.extend_from_slice(&rest[..start]);
        since.push((at, moment));
        rest = &inside[end + print::MARK_JSON.len()..];
    }
    text.extend_from_slice(rest);
    KeptCells { text: text.into(), since: since.into() }
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
        fill(&mut out, &without_marks(cells.to_string().as_bytes()), now.parse().expect("a time"));
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
