//! Success policies of indexed Jobs, and lists of indexes (`1,3-5`) as they and the status write them.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::nonnegative;
use crate::faults::{Faults, Path};

const MAX_RULES: usize = 20;
const MAX_INDEXES_BYTES: usize = 64 * 1024;

pub fn policy(policy: &Value, completions: i64, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("rules");
    let rules = policy.list_at(&["rules"]);
    if rules.is_empty() {
        faults.required(&list, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_RULES {
        faults.too_many(&list, rules.len(), MAX_RULES);
    }
    for (i, one) in rules.iter().enumerate() {
        rule(one, completions, &list.index(i), faults);
    }
}

fn rule(rule: &Value, completions: i64, path: &Path<'_>, faults: &mut Faults) {
    let (count, listed) = (rule.i64_at(&["succeededCount"]), rule.get("succeededIndexes").and_then(Value::as_str));
    if count.is_none() && listed.is_none() {
        faults.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut selected = None;
    if let Some(text) = listed {
        let here = path.field("succeededIndexes");
        if text.len() > MAX_INDEXES_BYTES {
            faults.too_long(&here, MAX_INDEXES_BYTES);
        }
        match count_indexes(text, completions) {
            Ok(number) => selected = Some(number),
            Err(why) => {
                // What cannot be read names none.
                selected = Some(0);
                faults.invalid_str(&here, text, &format!("error parsing succeededIndexes: {why}"));
            }
        }
    }
    let Some(count) = count else { return };
    let here = path.field("succeededCount");
    nonnegative(Some(&count.into()), &here, faults);
    if count > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        faults.invalid(&here, &count.into(), &why);
    }
    if let Some(selected) = selected.filter(|selected| count > *selected) {
        let why = format!("must be less than or equal to {selected} (the number of indexes in the specified succeededIndexes field)");
        faults.invalid(&here, &count.into(), &why);
    }
}

/// How many indexes the text names: numbers and ranges in growing order, each below `completions`.
pub fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"));
    let (mut count, mut last) = (0, None);
    for part in text.split(',') {
        let limits: Vec<&str> = part.split('-').collect();
        if limits.len() > 2 {
            return Err(format!("the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"));
        }
        let mut first = 0;
        for (i, limit) in limits.iter().enumerate() {
            let index = number(limit)?;
            if let Some(previous) = last.filter(|previous| *previous >= index) {
                return Err(format!("non-increasing order, previous: {previous}, current: {index}"));
            }
            if index >= completions {
                return Err(format!("too large index: {limit:?}"));
            }
            last = Some(index);
            if i == 0 {
                first = index;
            }
        }
        count += last.unwrap_or(first) - first + 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_grow_and_stay_below_the_completions() {
        let told = |text: &str| count_indexes(text, 10).map_or_else(|why| why, |count| count.to_string());
        let cases = ["", "0", "0-9", "1,3-5,7", "x", "2-1", "0,0", "10", "1-2-3"].map(told);
        expect_test::expect![[r#"
            0
            1
            10
            5
            cannot convert string to integer for index: "x"
            non-increasing order, previous: 2, current: 1
            non-increasing order, previous: 0, current: 0
            too large index: "10"
            the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'"#]]
        .assert_eq(&cases.join("\n"));
    }
}
