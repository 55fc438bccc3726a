//! What a policy read of the cluster, kept so that another revision hears the same when it is asked about the same request: by the time a
//! shadow is asked, the request's own object may be stored already, and a budget would count it twice.

use std::collections::VecDeque;

use pintle_plugin_bindings::admission::pintle::admission::objects::{Query, ReadError};
use pintle_plugin_bindings::common::types::{ResourceId, Summary};

/// Bytes that one call's reads may have to be kept. With more the request is not compared.
const MAX_NOTED_BYTES: usize = 8 << 20;
/// What a summary takes beside its text.
const SUMMARY_BYTES: usize = 256;

/// What an instance does with its reads.
#[derive(Default)]
pub enum Witness {
    #[default]
    None,
    /// Keeps them.
    Notes(Notes),
    /// Hears what another one heard. What that one did not ask is read now.
    Answers(Notes),
}

/// Questions and what they were answered, in order.
#[derive(Default)]
pub struct Notes {
    reads: VecDeque<(String, Reply)>,
    pub bytes: usize,
    pub too_large: bool,
}

#[derive(Clone)]
pub enum Reply {
    Object(Result<Vec<u8>, ReadError>),
    Objects(Result<Vec<Vec<u8>>, ReadError>),
    Summaries(Result<Vec<Summary>, ReadError>),
}

impl Witness {
    pub fn into_notes(self) -> Notes {
        match self {
            Self::Notes(notes) | Self::Answers(notes) => notes,
            Self::None => Notes::default(),
        }
    }

    /// What the other one heard.
    pub fn recall(&mut self, question: &str) -> Option<Reply> {
        match self {
            Self::Answers(notes) => notes.recall(question),
            Self::None | Self::Notes(_) => None,
        }
    }

    pub fn note(&mut self, question: String, reply: impl FnOnce() -> Reply) {
        if let Self::Notes(notes) = self {
            notes.add(question, reply());
        }
    }
}

impl Notes {
    fn add(&mut self, question: String, reply: Reply) {
        self.bytes += question.len() + reply.bytes();
        if self.bytes > MAX_NOTED_BYTES {
            self.too_large = true;
            self.reads.clear();
        } else {
            self.reads.push_back((question, reply));
        }
    }

    /// Whoever asks twice hears what was said the second time, and the last word as often as it likes.
    fn recall(&mut self, question: &str) -> Option<Reply> {
        let mut places = self.reads.iter().enumerate().filter(|(_, (asked, _))| asked == question).map(|(at, _)| at);
        match (places.next()?, places.next()) {
            (at, Some(_)) => self.reads.remove(at).map(|(_, reply)| reply),
            (at, None) => self.reads.get(at).map(|(_, reply)| reply.clone()),
        }
    }
}

impl Reply {
    fn bytes(&self) -> usize {
        let text = |s: &Summary| SUMMARY_BYTES + s.labels.iter().map(|p| p.key.len() + p.value.len()).sum::<usize>();
        match self {
            Self::Object(Ok(json)) => json.len(),
            Self::Objects(Ok(all)) => all.iter().map(Vec::len).sum(),
            Self::Summaries(Ok(all)) => all.iter().map(text).sum(),
            Self::Object(Err(_)) | Self::Objects(Err(_)) | Self::Summaries(Err(_)) => 0,
        }
    }
}

pub fn question(verb: &str, resource: &ResourceId, rest: &[&str]) -> String {
    format!("{verb} {}/{}/{} {}", resource.group, resource.version, resource.name, rest.join(" "))
}

pub fn query(verb: &str, query: &Query) -> String {
    question(verb, &query.resource, &[&query.namespace, &query.label_selector, &query.field_selector])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Reply {
        Reply::Object(Ok(text.as_bytes().to_vec()))
    }
    fn said(notes: &mut Notes, question: &str) -> Option<String> {
        match notes.recall(question)? {
            Reply::Object(Ok(json)) => String::from_utf8(json).ok(),
            _ => None,
        }
    }

    #[test]
    fn each_question_hears_its_own_answers_in_order() {
        let mut notes = Notes::default();
        for (question, answer) in [("a", "1"), ("b", "2"), ("a", "3")] {
            notes.add(question.to_owned(), object(answer));
        }
        let asked: Vec<Option<String>> = ["a", "a", "a", "b", "c"].iter().map(|q| said(&mut notes, q)).collect();
        assert_eq!(asked, [Some("1".to_owned()), Some("3".to_owned()), Some("3".to_owned()), Some("2".to_owned()), None]);
    }

    #[test]
    fn too_much_is_not_kept() {
        let mut notes = Notes::default();
        notes.add("a".to_owned(), Reply::Objects(Ok(vec![vec![0; MAX_NOTED_BYTES]])));
        assert!(notes.too_large && notes.recall("a").is_none());
    }
}
