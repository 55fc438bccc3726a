//! Expressions in CEL over objects: compiled once, evaluated with JSON values.
//!
//! Admission policies, match conditions, validation rules of custom kinds and the mapping of other issuers' tokens use it. An expression
//! has no side effects. It may call what upstream lets it call (`library`), names what its place has to name (`names`), and pays for what it
//! does (`charged`, `meter`), so it ends soon and holds little, whatever it says. What a rule of a custom kind may cost at most is
//! reckoned from the kind's schema before (`declared`, `estimate`).

mod charged;
mod declared;
mod estimate;
mod library;
mod meter;
mod names;
mod parse;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::{CelMap, CelMapKey, CelOptional, CelString};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, Value as Cel};
use serde_json::Value;

pub use declared::Declared;
pub use library::authorizer::{Answer, Authorize, Authorizer, Question};
pub use meter::{BUDGET_EXCEEDED, Budget, CALL_EXCEEDED, CONDITIONS_BUDGET};
pub use names::Kind;

/// The longest message of a failed evaluation; some cite the values.
const MAX_MESSAGE_BYTES: usize = 1 << 10;
/// The stack that one level of an expression takes at most, without optimisation.
const STACK_A_LEVEL: usize = 64 << 10;

pub struct Expression {
    program: IdedExpr,
    /// What it costs whatever its variables hold.
    cost: u64,
    /// Of its result, where that can be told.
    kind: Option<Kind>,
    /// The stack that evaluating takes.
    stack: usize,
    variables: Vec<String>,
}

/// What an expression may name, and what evaluating may cost.
pub struct Variables<'v> {
    context: Context<'v, 'v>,
    budget: Budget,
}

impl Expression {
    /// With whatever variables: those that are not there are missed when it is evaluated.
    pub fn compile(text: &str) -> Result<Self, String> {
        Self::compiled(text, None)
    }

    /// With these variables.
    pub fn compile_with(text: &str, variables: &[&str]) -> Result<Self, String> {
        Self::compiled(text, Some(variables))
    }

    fn compiled(text: &str, variables: Option<&[&str]>) -> Result<Self, String> {
        stacker::maybe_grow(parse::STACK_BYTES / 2, parse::STACK_BYTES, || {
            let (mut program, source) = parse::parse(text)?;
            let mut faults = names::undeclared(&program, variables, &source);
            names::bad_patterns(&program, &source, &mut faults);
            if !faults.is_empty() {
                return Err(faults.join("\n"));
            }
            let kind = names::kind(&program);
            let variables = program.references().variables().into_iter().map(str::to_owned).collect();
            let cost = charged::charge_for(&mut program);
            let stack = STACK_A_LEVEL * (4 + parse::depth(&program));
            Ok(Self { program, cost, kind, stack, variables })
        })
    }

    /// The type of the result, where it does not depend on values.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Refuses what surely gives something else, in upstream's words.
    pub fn must_give(&self, wanted: &[Kind]) -> Result<(), String> {
        match self.kind {
            Some(kind) if !wanted.contains(&kind) => {
                let names: Vec<&str> = wanted.iter().map(|kind| kind.name()).collect();
                let wanted = if names.len() == 1 { names[0].to_owned() } else { format!("one of [{}]", names.join(" ")) };
                Err(format!("must evaluate to {wanted} but got {}", kind.name()))
            }
            _ => Ok(()),
        }
    }

    pub fn evaluate(&self, variables: &Variables<'_>) -> Result<Value, String> {
        self.run(variables, |value| {
            let value: Cel = value.as_ref().try_into().map_err(told)?;
            value.json().map_err(|why| cut(why.to_string()))
        })
    }

    fn run<'v, T>(&self, variables: &Variables<'v>, take: impl FnOnce(CowVal<'_, 'v>) -> Result<T, String>) -> Result<T, String> {
        let work = || {
            meter::charge(self.cost).map_err(told)?;
            let value = Cel::resolve_val(&self.program, &variables.context).map_err(told)?;
            take(value)
        };
        let guarded = || catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("internal error: the evaluation panicked".to_owned()));
        stacker::maybe_grow(self.stack, self.stack.max(1 << 20), || meter::metered(&variables.budget, guarded))
    }

    /// Whether the expression names a variable.
    pub fn refers_to(&self, name: &str) -> bool {
        self.variables.iter().any(|variable| variable == name)
    }

    pub fn is_true(&self, variables: &Variables<'_>) -> Result<bool, String> {
        match self.evaluate(variables)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(cut(format!("the expression gives {other}, which is no bool"))),
        }
    }
}

/// What an expression may cost at most, by the schemas of its variables; `None`: it does not parse.
pub fn most_cost(text: &str, variables: &[(&str, &Declared)]) -> Option<u64> {
    stacker::maybe_grow(parse::STACK_BYTES / 2, parse::STACK_BYTES, || Some(estimate::most(&parse::parse(text).ok()?.0, variables)))
}

fn told(why: ExecutionError) -> String {
    cut(match why {
        ExecutionError::FunctionError { message, .. } => message,
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        why => why.to_string(),
    })
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push_str("...");
    }
    message
}

impl Variables<'_> {
    pub fn new() -> Self {
        Self::within(Budget::default())
    }
    pub fn within(budget: Budget) -> Self {
        Self { context: Context::with_env(env().clone()), budget }
    }
    #[must_use]
    pub fn with(mut self, name: &str, value: &Value) -> Self {
        self.set(name, value);
        self
    }
    /// A value that may not be there, as CEL's optional.
    pub fn set_optional(&mut self, name: &str, value: Option<&Value>) {
        self.context.add_variable_as_val(name, Box::new(CelOptional::from(value.map(values::cel_of))));
    }
    pub fn set(&mut self, name: &str, value: &Value) {
        self.context.add_variable_as_val(name, values::cel_of(value));
    }
    /// `authorizer`, and `authorizer.requestResource` where the request is about one.
    pub fn set_authorizer(&mut self, who: &Arc<dyn Authorize>, resource: Option<Question>) {
        self.context.add_variable_as_val("authorizer", Box::new(Authorizer::new(who.clone())));
        if let Some(resource) = resource {
            self.context.add_variable_as_val("authorizer.requestResource", Box::new(Authorizer::of_resource(who.clone(), resource)));
        }
    }
    /// Binds every name to what its expression gives; the values of those that are there, under one name as a map. One that fails is
    /// missed by whoever uses it, and by nobody else.
    pub fn set_results(&mut self, root: &str, expressions: &[(String, Result<Expression, String>)]) {
        let mut all = HashMap::new();
        for (name, expression) in expressions {
            let Ok(value) = expression.as_ref().map_err(Clone::clone).and_then(|e| e.run(self, |value| Ok(value.into_owned()))) else { continue };
            all.insert(CelMapKey::String(CelString::from(name.clone())), value.clone_as_boxed());
            self.context.add_variable_as_val(format!("{root}.{name}"), value);
        }
        self.context.add_variable_as_val(root, Box::new(CelMap::from(all)));
    }
    /// What may be spent from now on; what could be before.
    pub fn allow(&self, units: u64) -> u64 {
        self.budget.replace(units)
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
        for library in [cel::extensions::strings, cel::extensions::lists, library::register, charged::register] {
            if let Err(why) = env.add_extension(library) {
                tracing::error!(?why, "a library of CEL");
            }
        }
        Arc::new(env)
    });
    &ENV
}
