//! What a component hears from the host during a call: written down while it is live, read out again in a replay.
//!
//! Lies beside an instance ([`crate::guest::HostState`]). Off unless its owner starts it, and cheap while it runs: versions of objects are
//! shared, not copied. A replay that asks for what was never asked gets values that depend on the recording alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::record::{Heard, Question, Ref, Reply};
use crate::index::Entry;

#[derive(Default)]
pub struct Tape {
    mode: Mode,
}

#[derive(Default)]
enum Mode {
    #[default]
    Off,
    Recording(Recording),
    Playing(Box<Player>),
}

/// What was heard during one call.
#[derive(Default)]
pub struct Recording {
    pub heard: Vec<Heard>,
    /// The versions that `heard` refers to, and whether they are Secrets.
    pub contents: Vec<(u64, Bytes, bool)>,
    /// About how many bytes it keeps alive.
    pub weight: usize,
}

/// Gives back what was recorded.
#[derive(Default)]
pub struct Player {
    /// Taken out as they are used.
    heard: Vec<Option<Heard>>,
    /// Nanoseconds since 1970, for who asks the time more often than the recorded component did.
    at: u64,
    seed: u64,
    /// Draws beyond the recording.
    drawn: u64,
}

impl Tape {
    pub fn start(&mut self) {
        self.mode = Mode::Recording(Recording::default());
    }

    /// What was heard since [`Tape::start`]; the tape is off then.
    pub fn stop(&mut self) -> Recording {
        match std::mem::take(&mut self.mode) {
            Mode::Recording(recording) => recording,
            Mode::Off | Mode::Playing(_) => Recording::default(),
        }
    }

    pub fn play(&mut self, heard: Vec<Heard>, at: u64, seed: u64) {
        let heard = heard.into_iter().map(Some).collect();
        self.mode = Mode::Playing(Box::new(Player { heard, at, seed, drawn: 0 }));
    }

    pub fn recording(&mut self) -> Option<&mut Recording> {
        match &mut self.mode {
            Mode::Recording(recording) => Some(recording),
            Mode::Off | Mode::Playing(_) => None,
        }
    }

    pub fn player(&mut self) -> Option<&mut Player> {
        match &mut self.mode {
            Mode::Playing(player) => Some(player),
            Mode::Off | Mode::Recording(_) => None,
        }
    }

    pub fn now(&mut self, real: impl FnOnce() -> u64) -> u64 {
        if let Some(player) = self.player() {
            return player.now();
        }
        let now = real();
        if let Some(recording) = self.recording() {
            recording.note(Heard::Now(now), 0);
        }
        now
    }

    pub fn random(&mut self, count: usize, real: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        if let Some(player) = self.player() {
            return player.random(count);
        }
        let bytes = real();
        if let Some(recording) = self.recording() {
            recording.note(Heard::Random(bytes.clone()), bytes.len());
        }
        bytes
    }
}

impl Recording {
    pub fn note(&mut self, heard: Heard, bytes: usize) {
        self.weight += bytes + size_of::<Heard>();
        self.heard.push(heard);
    }

    pub fn asked(&mut self, question: Question, reply: Reply) {
        let bytes = size_of::<Question>() + question.body.len() + size_of_val(reply.refs());
        self.note(Heard::Asked(Box::new(question), reply), bytes);
    }

    /// A version that an index holds.
    pub fn entry(&mut self, entry: &Arc<Entry>, secret: bool) -> Ref {
        let mut hasher = DefaultHasher::new();
        (&*entry.meta.uid, entry.revision).hash(&mut hasher);
        self.version(hasher.finish(), &entry.json, entry.revision, secret)
    }

    /// A version of its own.
    pub fn object(&mut self, json: &[u8], revision: u64, secret: bool) -> Ref {
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        self.weight += json.len();
        self.version(hasher.finish(), &Bytes::copy_from_slice(json), revision, secret)
    }

    fn version(&mut self, id: u64, json: &Bytes, revision: u64, secret: bool) -> Ref {
        self.contents.push((id, json.clone(), secret));
        self.weight += size_of::<(u64, Bytes, bool)>();
        Ref { id, revision }
    }
}

impl Player {
    fn now(&mut self) -> u64 {
        match self.take(|heard| matches!(heard, Heard::Now(_))) {
            Some(Heard::Now(now)) => now,
            _ => self.at,
        }
    }

    fn random(&mut self, count: usize) -> Vec<u8> {
        if let Some(Heard::Random(bytes)) = self.take(|heard| matches!(heard, Heard::Random(bytes) if bytes.len() == count)) {
            return bytes;
        }
        let mut bytes = Vec::with_capacity(count + 32);
        while bytes.len() < count {
            self.drawn += 1;
            bytes.extend(Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(self.drawn.to_le_bytes()).finalize());
        }
        bytes.truncate(count);
        bytes
    }

    /// The answer to the same question, in the order in which it was asked.
    pub fn reply(&mut self, question: &Question) -> Option<Reply> {
        match self.take(|heard| matches!(heard, Heard::Asked(asked, _) if asked.is_answered_by(question))) {
            Some(Heard::Asked(_, reply)) => Some(reply),
            _ => None,
        }
    }

    fn take(&mut self, fits: impl Fn(&Heard) -> bool) -> Option<Heard> {
        self.heard.iter_mut().find(|heard| heard.as_ref().is_some_and(&fits))?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_hears_what_was_recorded_and_then_what_follows_from_it() {
        let mut tape = Tape::default();
        tape.start();
        assert_eq!((tape.now(|| 7), tape.random(2, || vec![1, 2])), (7, vec![1, 2]));
        let heard = tape.stop().heard;
        assert_eq!(tape.now(|| 9), 9, "off");
        let mut again = || {
            tape.play(heard.clone(), 40, 1);
            let never = || unreachable!("a replay asks nobody");
            (tape.random(2, never), tape.now(|| unreachable!()), tape.now(|| unreachable!()), tape.random(3, never))
        };
        let first = again();
        assert_eq!((&first.0, first.1, first.2), (&vec![1, 2], 7, 40));
        assert_eq!(first, again());
    }
}
