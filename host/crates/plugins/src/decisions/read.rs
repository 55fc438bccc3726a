//! Reading the log: a decision by what it was about, everything in order, or a plugin's part of it as one file.
//!
//! Blocks; call it on a blocking thread. Files that are dropped meanwhile are passed over.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::{Decision, Record, Session, key};
use super::segment::{Draft, LogError, SegmentReader, segments, write_header};

/// Decisions of one answer, at most.
pub const MAX_FOUND: usize = 500;
/// Records are packed together up to here in an export.
const EXPORT_BLOCK_BYTES: usize = 256 << 10;

/// Which decisions are wanted. Empty text: any.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub plugin: String,
    pub namespace: String,
    /// `pods`, `deployments.apps`.
    pub resource: String,
    pub name: String,
    pub limit: usize,
}

pub struct Found {
    pub session: Session,
    pub decision: Decision,
    /// Where it stands.
    pub segment: PathBuf,
}

/// The newest first. One that only wrote the object counts as well when an object is named.
pub fn find(folder: &Path, wanted: &Wanted) -> Result<Vec<Found>, LogError> {
    let limit = wanted.limit.clamp(1, MAX_FOUND);
    let mut found = Vec::new();
    for path in segments(folder)?.iter().rev() {
        match find_in(path, wanted, limit - found.len(), &mut found) {
            Err(LogError::Io(_, error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            // What an earlier build left: the folder gets newer ones beside it.
            Err(LogError::Format(..)) => {}
            other => other?,
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

fn find_in(path: &Path, wanted: &Wanted, mut limit: usize, found: &mut Vec<Found>) -> Result<(), LogError> {
    let wanted_key = wanted.key();
    let mut reader = SegmentReader::open(path)?;
    let blocks = reader.blocks();
    let mut sessions: HashMap<u64, Session> = HashMap::new();
    for block in blocks.iter().filter(|b| b.has_sessions) {
        for record in reader.records(block)? {
            if let Record::Session(session) = record {
                sessions.insert(session.id, session);
            }
        }
    }
    let may_hold = |keys: &[u64], decisions: u32| decisions > 0 && wanted_key.is_none_or(|key| keys.binary_search(&key).is_ok());
    for block in blocks.iter().rev().filter(|b| may_hold(&b.keys, b.decisions)) {
        for record in reader.records(block)?.into_iter().rev() {
            let Record::Decision(decision) = record else { continue };
            let Some(session) = sessions.get(&decision.session).filter(|session| wanted.takes(session, &decision)) else { continue };
            found.push(Found { session: session.clone(), decision: *decision, segment: path.to_owned() });
            limit -= 1;
            if limit == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Wanted {
    fn key(&self) -> Option<u64> {
        (!self.resource.is_empty() && !self.name.is_empty()).then(|| key(&self.resource, &self.namespace, &self.name))
    }

    fn takes(&self, session: &Session, decision: &Decision) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let subject = &decision.subject;
        if !is(&self.plugin, &session.plugin) {
            return false;
        }
        match self.key() {
            Some(key) => decision.keys().any(|k| k == key),
            None => is(&self.namespace, &subject.namespace) && is(&self.resource, &subject.resource) && is(&self.name, &subject.name),
        }
    }
}

/// Everything in order, oldest first. `None`: a segment begins, and what it refers to is in it.
pub fn each(path: &Path, mut take: impl FnMut(Option<Record>) -> Result<(), LogError>) -> Result<(), LogError> {
    let all = segments(path)?;
    if all.is_empty() {
        return Err(LogError::Empty(path.to_owned()));
    }
    let is_folder = path.is_dir();
    for segment in all {
        let mut reader = match SegmentReader::open(&segment) {
            Err(LogError::Format(..)) if is_folder => continue,
            opened => opened?,
        };
        take(None)?;
        while let Some(block) = reader.next_block() {
            for record in reader.records(&block)? {
                take(Some(record))?;
            }
        }
    }
    Ok(())
}

/// What concerns one plugin, as one segment.
pub fn export(folder: &Path, plugin: &str, out: &mut impl Write) -> Result<(), LogError> {
    let fault = |e| LogError::Io(folder.to_owned(), e);
    write_header(out).map_err(fault)?;
    let mut block = Draft::default();
    let mut sessions: HashSet<u64> = HashSet::new();
    let mut written: HashSet<u64> = HashSet::new();
    // Versions that no decision of this plugin has asked for yet. They stand right before the decision that refers to them first.
    let mut contents: HashMap<u64, Record> = HashMap::new();
    let take = |record: Option<Record>| {
        let Some(record) = record else {
            contents.clear();
            return Ok(());
        };
        match &record {
            Record::Session(session) => {
                if *session.plugin != *plugin || !sessions.insert(session.id) {
                    return Ok(());
                }
            }
            Record::Fed(fed) if !sessions.contains(&fed.session) => return Ok(()),
            Record::Fed(_) => {}
            Record::Content(content) => {
                if !written.contains(&content.id) {
                    contents.insert(content.id, record);
                }
                return Ok(());
            }
            Record::Decision(decision) => {
                if !sessions.contains(&decision.session) {
                    return Ok(());
                }
                for id in decision.refs() {
                    if let Some(content) = contents.remove(&id) {
                        written.insert(id);
                        block.push(&content)?;
                    }
                }
            }
        }
        block.push(&record)?;
        if block.raw.len() >= EXPORT_BLOCK_BYTES {
            block.flush(out).map_err(fault)?;
        }
        Ok(())
    };
    match each(folder, take) {
        // A plugin that decided nothing yet has an empty log.
        Err(LogError::Empty(_)) => {}
        other => other?,
    }
    block.flush(out).map_err(fault).map(drop)
}
