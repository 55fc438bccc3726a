//! What upstream asks of the places that a custom kind's scale subresource names: whole numbers that are no less than zero, and a selector as text.

use pintle_api::patch::shown::{shown, type_of};
use pintle_api::{Cause, Object};
use serde_json::Value;

use crate::strategy::ScalePaths;

pub fn check_spec(object: &Object, paths: &ScalePaths) -> Vec<Cause> {
    replicas(object, &paths.spec)
}

pub fn check_status(object: &Object, paths: &ScalePaths) -> Vec<Cause> {
    let mut causes = replicas(object, &paths.status);
    if let Some(path) = &paths.selector
        && let Err(why) = at(object, path, "string", Value::is_string)
    {
        causes.push(Cause::invalid(path.clone(), &"".into(), &why));
    }
    causes
}

fn replicas(object: &Object, path: &str) -> Vec<Cause> {
    let invalid = |value: i64, why: &str| vec![Cause::invalid(path.to_owned(), &value.into(), why)];
    match at(object, path, "int64", Value::is_i64).map(|found| found.and_then(Value::as_i64)) {
        Err(why) => invalid(0, &why),
        Ok(Some(value)) if value < 0 => invalid(value, "should be a non-negative integer"),
        Ok(Some(value)) if value > i64::from(i32::MAX) => invalid(value, "should be less than or equal to 2147483647"),
        Ok(_) => Vec::new(),
    }
}

/// What stands at the path, if anything does; `Err`: something else stands there or on the way.
fn at<'a>(object: &'a Object, path: &str, wanted: &str, fits: fn(&Value) -> bool) -> Result<Option<&'a Value>, String> {
    let misfit = |way: &[&str], value: &Value, wanted: &str| {
        format!(".{} accessor error: {} is of the type {}, expected {wanted}", way.join("."), shown(value), type_of(value))
    };
    let steps: Vec<&str> = path.trim_start_matches('.').split('.').collect();
    let mut here: &Value = object;
    for (taken, step) in steps.iter().enumerate() {
        if here.is_null() {
            return Ok(None);
        }
        let Some(fields) = here.as_object() else { return Err(misfit(&steps[..=taken], here, "map[string]interface{}")) };
        let Some(next) = fields.get(*step) else { return Ok(None) };
        here = next;
    }
    if fits(here) { Ok(Some(here)) } else { Err(misfit(&steps, here, wanted)) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn places_of_a_scale() {
        let paths = ScalePaths { spec: ".spec.replicas".into(), status: ".status.replicas".into(), selector: Some(".status.selector".into()) };
        let told = |object: Value| {
            let causes = [check_spec(&object, &paths), check_status(&object, &paths)].concat();
            causes.iter().map(|cause| format!("{}: {}\n", cause.field, cause.message)).collect::<String>()
        };
        assert_eq!(told(json!({"spec": {"replicas": 3}, "status": {"selector": "a=b"}})), "");
        assert_eq!(told(json!({"spec": null})), "");
        let wrong = [
            json!({"spec": {"replicas": -1}, "status": {"replicas": 3_000_000_000_u64}}),
            json!({"spec": {"replicas": 2.0}, "status": {"selector": {"a": 1}}}),
            json!({"spec": "text", "status": {"replicas": null}}),
        ];
        expect![[r#"
            .spec.replicas: Invalid value: -1: should be a non-negative integer
            .status.replicas: Invalid value: 3000000000: should be less than or equal to 2147483647
            .spec.replicas: Invalid value: 0: .spec.replicas accessor error: 2 is of the type float64, expected int64
            .status.selector: Invalid value: "": .status.selector accessor error: map[a:1] is of the type map[string]interface {}, expected string
            .spec.replicas: Invalid value: 0: .spec.replicas accessor error: text is of the type string, expected map[string]interface{}
            .status.replicas: Invalid value: 0: .status.replicas accessor error: <nil> is of the type <nil>, expected int64
        "#]]
        .assert_eq(&wrong.map(told).concat());
    }
}
