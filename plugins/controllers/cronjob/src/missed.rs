//! Which time of a schedule is due, and when the next one is. Pure.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::time;
use serde_json::Value;

use crate::schedule::Schedule;

/// More than so many missed starts point to a wrong clock.
const MANY: i64 = 100;

pub struct Due {
    /// Where the search began: last start, creation, or the starting deadline.
    since: i64,
    /// The newest time that is over.
    pub latest: Option<i64>,
    missed: i64,
}

impl Due {
    pub fn is_suspicious(&self) -> bool {
        self.missed > MANY
    }
}

/// `Err`: the schedule never comes.
pub fn due(cron: &Value, schedule: &Schedule, now: i64, with_deadline: bool) -> Result<Due, String> {
    const NEVER: &str = "time difference between two schedules is less than 1 second";
    let mut since = time::seconds(cron.text(&["status", "lastScheduleTime"])).unwrap_or_else(|| cron.created());
    if let Some(deadline) = cron.integer(&["spec", "startingDeadlineSeconds"]).filter(|_| with_deadline) {
        since = since.max(now - deadline);
    }
    let first = schedule.next(since).ok_or(NEVER)?;
    if now < first {
        return Ok(Due { since, latest: None, missed: 0 });
    }
    let second = schedule.next(first).ok_or(NEVER)?;
    if now < second {
        return Ok(Due { since, latest: Some(first), missed: 0 });
    }
    let interval = second - first;
    if interval < 1 {
        return Err(NEVER.to_owned());
    }
    // A jump near to now spares walking over all of them; one interval back finds the time itself also where intervals differ.
    let missed = (now - first) / interval + 1;
    let mut latest = None;
    let mut next = schedule.next(first + (missed - 2) * interval);
    while let Some(time) = next.filter(|t| *t <= now) {
        latest = Some(time);
        next = schedule.next(time);
    }
    Ok(Due { since, latest, missed })
}

/// The time after the one that is due, for coming back.
pub fn following(cron: &Value, schedule: &Schedule, now: i64) -> Option<i64> {
    let from = match due(cron, schedule, now, false) {
        Ok(Due { latest: Some(latest), .. }) => latest,
        Ok(Due { since, missed: 0, .. }) => since,
        Ok(_) | Err(_) => now,
    };
    schedule.next(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::parse;
    use serde_json::json;

    fn check(text: &str, last: &str, now: &str, deadline: Option<i64>, latest: Option<&str>, following_at: &str) {
        let cron = json!({"metadata": {"creationTimestamp": last}, "spec": {"startingDeadlineSeconds": deadline}});
        let (schedule, now) = (parse(text, "").expect("well-formed"), time::seconds(now).expect("a time"));
        let found = due(&cron, &schedule, now, true).expect("it comes");
        assert_eq!(found.latest.map(time::text).as_deref(), latest);
        assert_eq!(following(&cron, &schedule, now).map(time::text).as_deref(), Some(following_at));
    }

    #[test]
    fn the_newest_of_the_missed_is_due() {
        check("0 * * * *", "2024-01-01T10:10:00Z", "2024-01-01T10:50:00Z", None, None, "2024-01-01T11:00:00Z");
        check("0 * * * *", "2024-01-01T10:10:00Z", "2024-01-01T11:01:00Z", None, Some("2024-01-01T11:00:00Z"), "2024-01-01T12:00:00Z");
        check("0 * * * *", "2024-01-01T10:10:00Z", "2024-01-05T15:30:00Z", None, Some("2024-01-05T15:00:00Z"), "2024-01-05T16:00:00Z");
        check("0 * * * *", "2024-01-01T10:10:00Z", "2024-01-05T15:30:00Z", Some(60), None, "2024-01-05T16:00:00Z");
        check("30 6-16/4 * * 1-5", "2024-01-05T15:00:00Z", "2024-01-08T11:00:00Z", None, Some("2024-01-08T10:30:00Z"), "2024-01-08T14:30:00Z");
        check("@every 5m", "2024-01-01T10:02:00Z", "2024-01-01T10:30:00Z", None, Some("2024-01-01T10:27:00Z"), "2024-01-01T10:32:00Z");
    }

    #[test]
    fn one_that_never_comes_is_an_error() {
        let schedule = parse("0 0 31 2 *", "").expect("well-formed");
        assert!(due(&json!({}), &schedule, 100, true).is_err());
    }
}
