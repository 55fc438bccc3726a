//! Tables: what a client chooses of them, and times and amounts of time as people read them there: `47s`, `5m30s`, `3d4h`, `2y`.
//!
//! Called by the printers of the registry, by tables of custom columns and by the command line. The forms are the
//! ones that `kubectl get` has always shown, so scripts that read the AGE column keep working.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    V1,
    V1beta1,
}

/// What of each object a table carries along (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    Nothing,
    #[default]
    Metadata,
    Object,
}

impl MetaVersion {
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// Two units where the second still tells something, else one.
pub fn human_duration(seconds: i64) -> String {
    let two = |unit: i64, name: char, small: i64, small_name: char| match seconds % unit / small {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{small_name}", seconds / unit),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, 'm', 1, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, 'h', MINUTE, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, 'd', HOUR, 'h'),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, 'y', DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// One unit, rounded down.
pub fn short_duration(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        DAY..YEAR => format!("{}d", seconds / DAY),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The age of an RFC 3339 time; `<unknown>` for an empty or unreadable one.
pub fn since(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>().map_or_else(|_| UNKNOWN.to_owned(), |then| human_duration(whole_seconds(then, now)))
}

/// How long it is until an RFC 3339 time.
pub fn until(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>().map_or_else(|_| UNKNOWN.to_owned(), |then| human_duration(whole_seconds(now, then)))
}

const UNKNOWN: &str = "<unknown>";

/// Fractions are cut off towards zero.
fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    (to.duration_since(from)).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_coarser() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (8 * DAY - 1, "7d23h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (8 * YEAR - 1, "7y364d"),
            (8 * YEAR, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected);
        }
        assert_eq!([59, 60, 7200, 90_000, YEAR].map(short_duration), ["59s", "1m", "2h", "1d", "1y"]);
    }

    #[test]
    fn ages() {
        let now = "2026-01-02T00:00:00.5Z".parse().unwrap();
        assert_eq!(since("2026-01-01T00:00:00Z", now), "24h");
        assert_eq!(since("", now), "<unknown>");
        assert_eq!(since("2026-01-02T00:00:01Z", now), "0s");
        assert_eq!(until("2026-01-02T00:01:00Z", now), "59s");
    }
}
