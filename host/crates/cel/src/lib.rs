//! Expressions in CEL over objects: compiled once, evaluated with JSON values.
//!
//! Admission policies, match conditions, validation rules of custom kinds and the mapping of other issuers' tokens use it. An expression
//! has no side effects. It may call what upstream lets it call (`library`), names what its place has to name (`names`), and pays for what it
//! does (`charged`, `meter`), so it ends soon and holds little, whatever it says. What a rule of a custom kind may cost at most is
//! reckoned from the kind's schema before (`declared`, `estimate`).

mod charged;
pub mod check;
mod declared;
mod escape;
mod estimate;
mod faults;
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

pub use check::Scope;
pub use check::types::{NAMESPACE, REQUEST, Type};
pub use declared::Declared;
pub use escape::escaped;
pub use library::authorizer::{Answer, Authorize, Authorizer, Question};
pub use meter::{BUDGET_EXCEEDED, Budget, CALL_EXCEEDED, CONDITIONS_BUDGET};
pub use names::Kind;
pub use values::{Format, Shape};

/// The longest message of a failed evaluation; some cite the values.
const MAX_MESSAGE_BYTES: usize = 1 << 10;
/// The stack that one level of an expression takes at most, without optimisation.
const STACK_A_LEVEL: usize = 64 << 10;

pub struct Expression {
    program: IdedExpr,
    /// What it costs whatever its variables hold.
    cost: u64,
    /// Of its result, where its scope says of which types its parts are.
    result: Option<Type>,
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
        Self::compile_in(text, &Scope::open())
    }

    /// With these variables, of whatever types.
    pub fn compile_with(text: &str, variables: &[&str]) -> Result<Self, String> {
        Self::compile_in(text, &Scope::of(variables))
    }

    pub fn compile_in(text: &str, scope: &Scope) -> Result<Self, String> {
        stacker::maybe_grow(parse::STACK_BYTES / 2, parse::STACK_BYTES, || {
            let (mut program, source) = parse::parse(text)?;
            let result = check::check(&program, scope, &source)?;
            parse::plain_objects(&mut program);
            let variables = program.references().variables().into_iter().map(str::to_owned).collect();
            let cost = charged::charge_for(&mut program);
            let stack = STACK_A_LEVEL * (4 + parse::depth(&program));
            Ok(Self { program, cost, result, stack, variables })
        })
    }

    /// The type of the result, where its scope tells.
    pub fn result(&self) -> Option<&Type> {
        self.result.as_ref()
    }

    /// Refuses what gives something else, in upstream's words.
    pub fn must_give(&self, wanted: &[Kind]) -> Result<(), String> {
        let Some(given) = self.result.as_ref().map(Type::result_name) else { return Ok(()) };
        if wanted.iter().any(|kind| kind.name() == given) {
            return Ok(());
        }
        let names: Vec<&str> = wanted.iter().map(|kind| kind.name()).collect();
        let wanted = if names.len() == 1 { names[0].to_owned() } else { format!("one of [{}]", names.join(" ")) };
        Err(format!("must evaluate to {wanted} but got {given}"))
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

/// What an expression may cost at most, by the schemas of its variables; `None`: it does not compile.
pub fn most_cost(text: &str, variables: &[(&str, &Declared)], scope: &Scope) -> Option<u64> {
    stacker::maybe_grow(parse::STACK_BYTES / 2, parse::STACK_BYTES, || {
        let (mut program, source) = parse::parse(text).ok()?;
        check::check(&program, scope, &source).ok()?;
        parse::plain_objects(&mut program);
        Some(estimate::most(&program, variables))
    })
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
    pub fn set_optional(&mut self, name: &str, value: Option<&Value>, shape: &Shape) {
        self.context.add_variable_as_val(name, Box::new(CelOptional::from(value.map(|value| shape.cel_of(value)))));
    }
    /// With what a schema makes of it.
    pub fn set_shaped(&mut self, name: &str, value: &Value, shape: &Shape) {
        self.context.add_variable_as_val(name, shape.cel_of(value));
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
