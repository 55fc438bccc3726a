//! Durations, times and regular expressions that are written out are looked at before anything is evaluated.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use crate::faults::Faults;
use crate::library::regexes;
use crate::names::each;

pub fn check(expression: &IdedExpr, faults: &mut Faults) {
    each(expression, &mut |part| {
        let Expr::Call(call) = &part.expr else { return };
        let function = call.func_name.as_str();
        for arg in &call.args {
            let IdedExpr { id, expr: Expr::Literal(LiteralValue::String(text)) } = arg else { continue };
            let (is_wrong, said) = match (function, &call.target) {
                ("duration", None) => (!is_duration(text.inner()), function),
                ("timestamp", None) => (!is_time(text.inner()), function),
                // Upstream looks at the text of `matches(text, pattern)`, too.
                ("matches", _) | ("find" | "findAll", Some(_)) => (regexes::fault(text.inner()).is_some(), "matches"),
                _ => continue,
            };
            if is_wrong {
                faults.add(*id, format!("invalid {said} argument"));
            }
        }
    });
}

const UNITS: [(&str, f64); 8] = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// As Go reads them: `1h30m`, `-1.5s`, `0`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut seconds = 0.0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let Ok(number) = number.parse::<f64>() else { return false };
        let Some((unit, of)) = UNITS.iter().find(|(unit, _)| after.starts_with(unit)) else { return false };
        seconds += number * of;
        rest = &after[unit.len()..];
    }
    // What does not surely overflow passes.
    !text.is_empty() && !text.ends_with(['-', '+']) && seconds < 9.3e9
}

fn is_time(text: &str) -> bool {
    text.replace(',', ".").parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for good in ["1h30m", "0", "-1.5s", "+2ms", ".5h", "1.s", "3ns4us", "-0"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["", "1", "x", "1d", "-", "1h30", "s", ".s", "9999999999h", " 1s", "1 s"] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
