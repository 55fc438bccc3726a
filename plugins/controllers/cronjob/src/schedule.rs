//! Cron schedules: five fields with ranges, steps and names, the `@` macros, `@every`, in a time zone. Pure.

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// A schedule that has no time for so long never has one: the 31st of February.
const MAX_YEARS: i16 = 5;
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

#[derive(Debug)]
pub enum Schedule {
    Fields(Box<Fields>),
    Every { seconds: i64 },
}

#[derive(Debug)]
pub struct Fields {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    zone: TimeZone,
}

/// Bits of the values that match. `any`: the field was a star, so it restricts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set {
    bits: u64,
    any: bool,
}

impl Set {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

/// `zone`: `spec.timeZone`; empty for UTC.
pub fn parse(text: &str, zone: &str) -> Result<Schedule, String> {
    let (zone, text) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        Some(rest) => rest.split_once(' ').ok_or("a time zone without a schedule")?,
        None => (zone, text),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if let Some(duration) = text.strip_prefix("@every ") {
        // Whole seconds, one at the least.
        return Ok(Schedule::Every { seconds: (seconds(duration)? as i64).max(1) });
    }
    let plain = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other if other.starts_with('@') => return Err(format!("unrecognized descriptor: {other}")),
        other => other,
    };
    let fields: Vec<&str> = plain.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields[..] else {
        return Err(format!("expected exactly 5 fields, found {}: {plain}", fields.len()));
    };
    Ok(Schedule::Fields(Box::new(Fields {
        minutes: set(minutes, 0, 59, 0, &[])?,
        hours: set(hours, 0, 23, 0, &[])?,
        days: set(days, 1, 31, 0, &[])?,
        months: set(months, 1, 12, 1, MONTHS)?,
        weekdays: set(weekdays, 0, 6, 0, DAYS)?,
        zone: time_zone(zone)?,
    })))
}

/// Empty is UTC.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    if matches!(name, "" | "UTC") {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))
}

impl Schedule {
    /// The first time after this one, in seconds since 1970.
    pub fn next(&self, after: i64) -> Option<i64> {
        match self {
            Schedule::Every { seconds } => after.checked_add(*seconds),
            Schedule::Fields(fields) => fields.next(after),
        }
    }
}

impl Fields {
    fn next(&self, after: i64) -> Option<i64> {
        let mut date = Timestamp::from_second(after).ok()?.to_zoned(self.zone.clone()).date();
        let last = date.year().checked_add(MAX_YEARS)?;
        while date.year() <= last {
            if !self.months.has(date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
                continue;
            }
            if self.is_day(date)
                && let Some(found) = self.next_on(date, after)
            {
                return Some(found);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    /// Where both the day of the month and of the week are restricted, either suffices.
    fn is_day(&self, date: Date) -> bool {
        let by_month = self.days.has(date.day());
        let by_week = self.weekdays.has(weekday(date.weekday()));
        if self.days.any || self.weekdays.any { by_month && by_week } else { by_month || by_week }
    }

    /// A time that the clock skips does not come; one that it repeats comes twice.
    fn next_on(&self, date: Date, after: i64) -> Option<i64> {
        let mut repeated: Option<i64> = None;
        for hour in (0..24).filter(|h| self.hours.has(*h)) {
            for minute in (0..60).filter(|m| self.minutes.has(*m)) {
                let civil = date.at(hour, minute, 0, 0);
                let at = |offset: jiff::tz::Offset| offset.to_timestamp(civil).ok().map(Timestamp::as_second).filter(|t| *t > after);
                match self.zone.to_ambiguous_timestamp(civil).offset() {
                    AmbiguousOffset::Unambiguous { offset } => {
                        if let Some(found) = at(offset) {
                            return Some(repeated.map_or(found, |r| r.min(found)));
                        }
                    }
                    AmbiguousOffset::Gap { .. } => {}
                    AmbiguousOffset::Fold { before, after } => repeated = [repeated, at(before), at(after)].into_iter().flatten().min(),
                }
            }
        }
        repeated
    }
}

fn weekday(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

fn set(field: &str, low: u8, high: u8, first_name: u8, names: &[&str]) -> Result<Set, String> {
    let mut whole = Set { bits: 0, any: false };
    for part in field.split(',') {
        let one = range(part, low, high, first_name, names)?;
        whole = Set { bits: whole.bits | one.bits, any: whole.any | one.any };
    }
    Ok(whole)
}

/// `*`, `5`, `2-6`, each with an optional step; `5/10` goes on to the end.
fn range(part: &str, low: u8, high: u8, first_name: u8, names: &[&str]) -> Result<Set, String> {
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => (span, Some(step.parse::<u8>().map_err(|_| format!("failed to parse int from {step}"))?)),
        None => (part, None),
    };
    let value = |text: &str| {
        let named = names.iter().position(|n| text.eq_ignore_ascii_case(n)).and_then(|i| u8::try_from(i).ok());
        named.map(|i| i + first_name).or_else(|| text.parse().ok()).ok_or_else(|| format!("failed to parse int from {text}"))
    };
    let star = matches!(span, "*" | "?");
    let (from, to) = match span.split_once('-') {
        _ if star => (low, high),
        Some((from, to)) => (value(from)?, value(to)?),
        None if step.is_some() => (value(span)?, high),
        None => (value(span)?, value(span)?),
    };
    let step = step.unwrap_or(1);
    if from < low {
        return Err(format!("beginning of range ({from}) below minimum ({low}): {part}"));
    }
    if to > high {
        return Err(format!("end of range ({to}) above maximum ({high}): {part}"));
    }
    if from > to {
        return Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    let bits = (from..=to).step_by(usize::from(step)).fold(0, |bits, v| bits | 1 << v);
    Ok(Set { bits, any: star && step == 1 })
}

/// `1h30m`, `90s`, `1.5h`.
fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("failed to parse duration @every {text}");
    let (mut rest, mut total) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let units: [(&str, f64); 6] = [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, scale) = units.into_iter().find(|(unit, _)| rest[digits..].starts_with(unit)).ok_or_else(wrong)?;
        total += amount * scale;
        rest = &rest[digits + unit.len()..];
    }
    if text.trim().is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// Three times from the given one on, in the zone.
    fn check(text: &str, zone: &str, from: &str, expected: Expect) {
        let shown = match parse(text, zone) {
            Err(why) => why,
            Ok(schedule) => {
                let mut at = from.parse::<Timestamp>().expect("a time").as_second();
                let mut times = Vec::new();
                for _ in 0..3 {
                    match schedule.next(at) {
                        Some(next) => times.push(
                            Timestamp::from_second(next)
                                .expect("in range")
                                .to_zoned(time_zone(zone).expect("known"))
                                .strftime("%a %F %R%:z")
                                .to_string(),
                        ),
                        None => times.push("never".to_owned()),
                    }
                    at = schedule.next(at).unwrap_or(at);
                }
                times.join(", ")
            }
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn fields_ranges_steps_and_names() {
        let from = "2023-11-14T22:13:20Z";
        check("*/15 * * * *", "", from, expect!["Tue 2023-11-14 22:15+00:00, Tue 2023-11-14 22:30+00:00, Tue 2023-11-14 22:45+00:00"]);
        check("30 6-16/4 * * MON-fri", "", from, expect!["Wed 2023-11-15 06:30+00:00, Wed 2023-11-15 10:30+00:00, Wed 2023-11-15 14:30+00:00"]);
        check("0 0 13 * 5", "", from, expect!["Fri 2023-11-17 00:00+00:00, Fri 2023-11-24 00:00+00:00, Fri 2023-12-01 00:00+00:00"]);
        check("0 0 */2 * 1", "", from, expect!["Wed 2023-11-15 00:00+00:00, Fri 2023-11-17 00:00+00:00, Sun 2023-11-19 00:00+00:00"]);
        check("5/20 3 1 jan,Jul ?", "", from, expect!["Mon 2024-01-01 03:05+00:00, Mon 2024-01-01 03:25+00:00, Mon 2024-01-01 03:45+00:00"]);
        check("@weekly", "", from, expect!["Sun 2023-11-19 00:00+00:00, Sun 2023-11-26 00:00+00:00, Sun 2023-12-03 00:00+00:00"]);
        check("@every 1h30m", "", from, expect!["Tue 2023-11-14 23:43+00:00, Wed 2023-11-15 01:13+00:00, Wed 2023-11-15 02:43+00:00"]);
        check("59 23 31 2 *", "", from, expect!["never, never, never"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let from = "2023-11-14T22:13:20Z";
        check("* * * *", "", from, expect!["expected exactly 5 fields, found 4: * * * *"]);
        check("60 * * * *", "", from, expect!["end of range (60) above maximum (59): 60"]);
        check("9-3 * * * *", "", from, expect!["beginning of range (9) beyond end of range (3): 9-3"]);
        check("*/0 * * * *", "", from, expect!["step of range should be a positive number: */0"]);
        check("* * * foo *", "", from, expect!["failed to parse int from foo"]);
        check("@often", "", from, expect!["unrecognized descriptor: @often"]);
        check("* * * * *", "Nowhere/Town", from, expect!["unknown time zone Nowhere/Town"]);
    }

    #[test]
    fn clocks_that_jump() {
        // Half past two does not come on the last Sunday of March, and comes twice on the last of October.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2024-03-29T12:00:00Z",
            expect!["Sat 2024-03-30 02:30+01:00, Mon 2024-04-01 02:30+02:00, Tue 2024-04-02 02:30+02:00"],
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2024-10-26T12:00:00Z",
            expect!["Sun 2024-10-27 02:30+02:00, Sun 2024-10-27 02:30+01:00, Mon 2024-10-28 02:30+01:00"],
        );
        check(
            "0 12 * * *",
            "Asia/Kolkata",
            "2024-10-26T12:00:00Z",
            expect!["Sun 2024-10-27 12:00+05:30, Mon 2024-10-28 12:00+05:30, Tue 2024-10-29 12:00+05:30"],
        );
    }
}
