//! Timestamps as the API writes them: RFC 3339, whole seconds, UTC.

use pintle_sdk::Env;

pub fn now_seconds(env: &dyn Env) -> i64 {
    i64::try_from(env.now_nanoseconds() / 1_000_000_000).unwrap_or(i64::MAX)
}

pub fn now_text(env: &dyn Env) -> String {
    text(now_seconds(env))
}

/// `None` where the text is no timestamp.
pub fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

pub fn text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}
