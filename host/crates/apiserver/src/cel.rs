//! Expressions in CEL over objects: compiled once, evaluated with JSON values.
//!
//! Match conditions of admission webhooks and admission policies use it. An expression has no side effects and no loop
//! without end; numbers without a fraction are CEL's ints, as Kubernetes has it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, MapEntryExpr, MapExpr};
use cel::{Context, Env, Value as Cel};
use serde_json::Value;

/// The longest expression that is compiled.
const MAX_EXPRESSION_BYTES: usize = 64 << 10;

/// CEL's own functions, and those of its libraries for strings, lists and optional values.
const FUNCTIONS: [&str; 52] = [
    "bool", "bytes", "charAt", "contains", "distinct", "double", "duration", "dyn", "endsWith", "flatten", "format", "getDate",
    "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds",
    "hasValue", "indexOf", "int", "join", "lastIndexOf", "lowerAscii", "matches", "none", "of", "ofNonZeroValue", "optional.none",
    "optional.of", "optional.ofNonZeroValue", "or", "orValue", "quote", "replace", "reverse", "size", "slice", "sort", "split",
    "startsWith", "string", "substring", "timestamp", "trim", "type", "uint", "upperAscii", "value",
];

pub struct Expression {
    program: IdedExpr,
}

/// What an expression may name.
pub struct Variables<'v> {
    context: Context<'v, 'v>,
}

impl Expression {
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the expression is empty".to_owned());
        }
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("the expression has more than {MAX_EXPRESSION_BYTES} bytes"));
        }
        let mut program = env().parser().parse(text).map_err(|why| why.to_string().trim().to_owned())?;
        plain_objects(&mut program);
        Ok(Self { program })
    }

    pub fn evaluate(&self, variables: &Variables<'_>) -> Result<Value, String> {
        let value = variables.context.resolve(&self.program).map_err(|why| why.to_string())?;
        value.json().map_err(|why| why.to_string())
    }

    /// Whether the expression names a variable.
    pub fn refers_to(&self, name: &str) -> bool {
        self.program.references().has_variable(name)
    }

    /// The functions that it calls and that nobody here knows.
    pub fn unknown_functions(&self) -> Vec<String> {
        let operator = |name: &str| name.starts_with(['_', '@', '!', '-']);
        let references = self.program.references();
        references.functions().into_iter().filter(|f| !operator(f) && !FUNCTIONS.contains(f)).map(str::to_owned).collect()
    }

    pub fn is_true(&self, variables: &Variables<'_>) -> Result<bool, String> {
        match self.evaluate(variables)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(format!("the expression gives {other}, which is no bool")),
        }
    }
}

impl Variables<'_> {
    pub fn new() -> Self {
        Self { context: Context::with_env(env().clone()) }
    }
    #[must_use]
    pub fn with(mut self, name: &str, value: &Value) -> Self {
        self.set(name, value);
        self
    }
    pub fn set(&mut self, name: &str, value: &Value) {
        self.context.add_variable_from_value(name, cel_of(value));
    }
}

impl Default for Variables<'_> {
    fn default() -> Self {
        Self::new()
    }
}

fn env() -> &'static Arc<Env> {
    static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib().with_optional_support(true);
        for added in [env.add_extension(cel::extensions::strings), env.add_extension(cel::extensions::lists)] {
            if let Err(why) = added {
                tracing::error!(?why, "a library of CEL");
            }
        }
        Arc::new(env)
    });
    &ENV
}

/// Makes `Object{...}`, `Object.spec{...}` and `JSONPatch{...}`, with which policies write what they want of an object, plain
/// maps: what fields an object has is for its schema to say.
fn plain_objects(expression: &mut IdedExpr) {
    if let Expr::Struct(object) = &mut expression.expr
        && (object.type_name == "Object" || object.type_name.starts_with("Object.") || object.type_name == "JSONPatch")
    {
        let entries = std::mem::take(&mut object.entries).into_iter().map(|entry| IdedEntryExpr { id: entry.id, expr: as_map_entry(entry.id, entry.expr) });
        expression.expr = Expr::Map(MapExpr { entries: entries.collect() });
    }
    match &mut expression.expr {
        Expr::Call(call) => call.target.iter_mut().map(|t| &mut **t).chain(&mut call.args).for_each(plain_objects),
        Expr::List(list) => list.elements.iter_mut().for_each(plain_objects),
        Expr::Select(select) => plain_objects(&mut select.operand),
        Expr::Comprehension(all) => {
            let parts = [&mut all.iter_range, &mut all.accu_init, &mut all.loop_cond, &mut all.loop_step, &mut all.result];
            parts.into_iter().for_each(plain_objects);
        }
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => [&mut entry.key, &mut entry.value].into_iter().for_each(plain_objects),
            EntryExpr::StructField(field) => plain_objects(&mut field.value),
        }),
        Expr::Struct(object) => object.entries.iter_mut().for_each(|entry| {
            if let EntryExpr::StructField(field) = &mut entry.expr {
                plain_objects(&mut field.value);
            }
        }),
        _ => {}
    }
}

fn as_map_entry(id: u64, entry: EntryExpr) -> EntryExpr {
    match entry {
        EntryExpr::StructField(field) => {
            let key = IdedExpr { id, expr: Expr::Literal(LiteralValue::String(field.field.into())) };
            EntryExpr::MapEntry(MapEntryExpr { key, value: field.value, optional: field.optional })
        }
        entry => entry,
    }
}

fn cel_of(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Cel::Int(int),
            (None, Some(uint)) => Cel::UInt(uint),
            _ => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(cel_of).collect())),
        Value::Object(fields) => Cel::Map(fields.iter().map(|(k, v)| (k.clone(), cel_of(v))).collect::<HashMap<String, Cel>>().into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_over_objects() {
        let object = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"replicas": 3}});
        let variables = Variables::new().with("object", &object).with("oldObject", &Value::Null);
        let check = |text: &str| Expression::compile(text).and_then(|e| e.evaluate(&variables));
        assert_eq!(check("object.metadata.name != 'skip-me'"), Ok(json!(true)));
        assert_eq!(check("object.spec.replicas + 1 <= 4 && oldObject == null"), Ok(json!(true)));
        assert_eq!(check("has(object.metadata.annotations)"), Ok(json!(false)));
        assert_eq!(check("object.metadata.labels.all(k, k.startsWith('x'))"), Ok(json!(true)));
        assert!(check("object.spec.none > 1").is_err());
        assert!(Expression::compile("... [] bad expression").is_err());
        assert_eq!(check("Object{spec: Object.spec{replicas: object.spec.replicas * 2}}"), Ok(json!({"spec": {"replicas": 6}})));
        assert_eq!(check("[JSONPatch{op: 'add', path: '/x', value: [1]}]"), Ok(json!([{"op": "add", "path": "/x", "value": [1]}])));
        assert!(Expression::compile("1 + 1").unwrap().is_true(&variables).is_err());
    }
}
