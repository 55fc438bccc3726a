//! Between JSON and the evaluator's values. Numbers without a fraction are CEL's ints, as Kubernetes has it.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use cel::{Context, Value as Cel};
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

/// What a schema's `format` makes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Bytes,
    Duration,
    Date,
    DateTime,
}

impl Format {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "byte" => Self::Bytes,
            "duration" => Self::Duration,
            "date" => Self::Date,
            "date-time" => Self::DateTime,
            _ => return None,
        })
    }

    /// A text that is not of the format stays one: who takes it for more fails.
    fn value(self, text: &str) -> Owned {
        let made = match self {
            Self::Bytes => STANDARD.decode(text).ok().map(|bytes| Box::new(CelBytes::from(bytes)) as Owned),
            Self::Duration => called("duration", text.to_owned()),
            Self::Date => called("timestamp", format!("{text}T00:00:00Z")),
            Self::DateTime => called("timestamp", text.to_owned()),
        };
        made.unwrap_or_else(|| Box::new(CelString::from(text.to_owned())))
    }
}

fn called(function: &str, text: String) -> Option<Owned> {
    let text = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(text.into())) };
    let call = IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args: vec![text] }) };
    let context = Context::with_env(super::env().clone());
    let value = Cel::resolve_val(&call, &context).ok()?.into_owned();
    Some(value.clone_as_boxed())
}

/// What a schema makes of values, as far as it differs from what they look like.
#[derive(Default)]
pub struct Shape {
    pub format: Option<Format>,
    /// Numbers are doubles, whatever they look like.
    pub is_double: bool,
    /// By the names that they have in objects, under those that expressions know them by; none where these cannot say them.
    pub fields: HashMap<String, (Option<String>, Shape)>,
    /// Of a list's items, or of a map's values.
    pub each: Option<Box<Shape>>,
}

impl Shape {
    /// Values are what they look like.
    pub fn is_plain(&self) -> bool {
        self.format.is_none() && !self.is_double && self.fields.is_empty() && self.each.is_none()
    }

    pub fn cel_of(&self, value: &Value) -> Owned {
        match value {
            Value::String(text) if self.format.is_some() => self.format.map_or_else(|| cel_of(value), |format| format.value(text)),
            Value::Number(number) if self.is_double => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
            Value::Array(items) => match &self.each {
                Some(each) => Box::new(CelList::from(items.iter().map(|item| each.cel_of(item)).collect::<Vec<_>>())),
                None => cel_of(value),
            },
            Value::Object(fields) => {
                let mut all = HashMap::with_capacity(fields.len());
                let mut add = |name: &str, value: Owned| drop(all.insert(CelMapKey::String(CelString::from(name.to_owned())), value));
                for (name, value) in fields {
                    match (self.fields.get(name), &self.each) {
                        (Some((Some(shown), shape)), _) => {
                            add(shown, shape.cel_of(value));
                            // Words that the language keeps may be written as they are.
                            if shown.len() == name.len() + 4 && shown[2..].starts_with(name.as_str()) {
                                add(name, shape.cel_of(value));
                            }
                        }
                        (Some((None, _)), _) => {}
                        (None, Some(each)) => add(name, each.cel_of(value)),
                        (None, None) => add(name, cel_of(value)),
                    }
                }
                Box::new(CelMap::from(all))
            }
            other => cel_of(other),
        }
    }
}
