//! Between JSON and the evaluator's values. Numbers without a fraction are CEL's ints, as Kubernetes has it.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use serde_json::Value;

/// A value of any lifetime that owns what it holds.
pub type Owned = Box<dyn Val>;

pub fn cel_of(value: &Value) -> Owned {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            _ => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(cel_of).collect::<Vec<_>>())),
        Value::Object(fields) => {
            let entry = |(key, value): (&String, &Value)| (CelMapKey::String(CelString::from(key.clone())), cel_of(value));
            Box::new(CelMap::from(fields.iter().map(entry).collect::<HashMap<_, _>>()))
        }
    }
}
