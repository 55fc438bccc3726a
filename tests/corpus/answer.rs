//! What a server said to a case, without what differs from one run to the next.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longer messages are cut: some repeat the whole object.
const MESSAGE_BYTES: usize = 1500;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Answer {
    pub code: u16,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Sorted, since upstream walks maps in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default)]
    pub field: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

impl Answer {
    pub fn read(code: u16, body: &Value, warnings: Vec<String>) -> Self {
        let is_status = body["kind"] == "Status" && body["status"] == "Failure";
        let text = |value: &Value| stable(value.as_str().unwrap_or_default());
        let mut answer = Self { code, warnings: warnings.iter().map(|w| stable(w)).collect(), ..Self::default() };
        if is_status {
            (answer.reason, answer.message) = (text(&body["reason"]), text(&body["message"]));
            let causes = body["details"]["causes"].as_array().into_iter().flatten();
            answer.causes = causes.map(|c| Cause { field: text(&c["field"]), reason: text(&c["reason"]), message: text(&c["message"]) }).collect();
            answer.causes.sort();
        } else if code >= 400 {
            answer.message = stable(body.as_str().unwrap_or_default().trim());
        }
        answer
    }

    /// The same refusal at the same fields.
    pub fn same_fields(&self, other: &Self) -> bool {
        let fields = |a: &Self| a.causes.iter().map(|c| (c.field.clone(), c.reason.clone())).collect::<Vec<_>>();
        self.code == other.code && self.reason == other.reason && fields(self) == fields(other)
    }

    /// The same to the letter. The message of several causes lists them in no order, so the causes stand for it.
    pub fn same(&self, other: &Self) -> bool {
        let several = self.causes.len() > 1;
        self.same_fields(other) && self.causes == other.causes && (several || self.message == other.message) && self.warnings == other.warnings
    }
}

/// Without uids and times and the numbers that upstream adds to the names of types it makes, and not endless.
fn stable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MESSAGE_BYTES));
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = volatile(rest) {
            out.push_str(if length == UUID_BYTES { "<uid>" } else { "<time>" });
            rest = &rest[length..];
        } else if let Some(more) = rest.strip_prefix(MADE_TYPE) {
            out.push_str(MADE_TYPE);
            rest = more.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
        if out.len() > MESSAGE_BYTES {
            out.push('…');
            break;
        }
    }
    out
}

const UUID_BYTES: usize = 36;
/// Of `self` in a rule of a definition.
const MADE_TYPE: &str = "selfType";

/// The length of the uid or the time that the text begins with. Times that cases name are older than the corpus.
fn volatile(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let shaped = |shape: &str| {
        bytes.len() >= shape.len()
            && shape.bytes().zip(bytes).all(|(s, b)| match s {
                b'x' => b.is_ascii_hexdigit(),
                b'0' => b.is_ascii_digit(),
                other => other == *b,
            })
    };
    if shaped("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") && !text.starts_with("00000000") {
        return Some(UUID_BYTES);
    }
    (shaped("0000-00-00T00:00:00Z") && text >= "2026").then_some("0000-00-00T00:00:00Z".len())
}
