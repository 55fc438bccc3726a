//! What an expression may cost at most, judged from its text and its variables' schema alone: `cel-go`'s estimate with Kubernetes' prices.
//!
//! Upstream's checker knows the type of every part; here types follow from the schema, from literals and from what functions are known to
//! give. Where that does not tell, a part is taken to be cheap: an estimate is never above upstream's for such a reason.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::declared::{Declared, Shape};
use super::names;

const UNKNOWN: Size = Size { min: 0, max: u64::MAX };
const ONE: Size = Size { min: 1, max: 1 };
/// Of the items of a list that a call or a comprehension makes: upstream does not follow them, and takes them for empty.
const NOTHING: Size = Size { min: 0, max: 0 };
/// Upstream's guess of the expression behind a named format, through four as all regular expressions.
const FORMAT_COST: u64 = 128 / 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    min: u64,
    max: u64,
}

impl Size {
    fn exactly(size: usize) -> Self {
        Self { min: size as u64, max: size as u64 }
    }
    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }
    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }
    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// `size * factor`, rounded up, as Go rounds it.
fn part(size: u64, factor: f64) -> u64 {
    let product = (size as f64 * factor).ceil();
    if product >= u64::MAX as f64 { u64::MAX } else { product as u64 }
}

fn tenth(size: u64) -> u64 {
    part(size, 0.1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Number,
    Time,
    String,
    Bytes,
    List,
    Map,
    Object,
    Null,
    Dyn,
    /// Of Kubernetes' own.
    Opaque,
    /// It cannot be told here.
    Unknown,
}

impl Type {
    fn is_scalar(self) -> bool {
        matches!(self, Self::Bool | Self::Number | Self::Time)
    }
    fn may_be_text(self) -> bool {
        matches!(self, Self::String | Self::Bytes | Self::Dyn)
    }
}

/// What is known of a part's values.
#[derive(Clone, Debug)]
struct Known<'s> {
    of: Type,
    size: Option<Size>,
    /// Where the value comes from the variable as it is.
    declared: Option<&'s Declared>,
    /// Of the items of a list that the expression makes.
    item: Option<Box<Known<'s>>>,
}

impl<'s> Known<'s> {
    fn plain(of: Type) -> Self {
        Self { of, size: of.is_scalar().then_some(ONE), declared: None, item: None }
    }
    fn sized(of: Type, size: Size) -> Self {
        Self { size: Some(size), ..Self::plain(of) }
    }
    fn of(declared: &'s Declared) -> Self {
        Self { size: Some(Size { min: 0, max: declared.max }), declared: Some(declared), ..Self::plain(type_of(&declared.shape)) }
    }
    fn size(&self) -> Size {
        self.size.unwrap_or(UNKNOWN)
    }
    /// An item of a list, or a value of a map.
    fn element(&self) -> Self {
        match self.declared.map(|declared| &declared.shape) {
            Some(Shape::List(item) | Shape::Map(item)) => Self::of(item),
            _ => self.item.as_deref().cloned().unwrap_or_else(|| Self::plain(Type::Unknown)),
        }
    }
    fn field(&self, name: &str) -> Self {
        match self.declared.map(|declared| &declared.shape) {
            Some(Shape::Object(fields)) => fields.get(name).map_or_else(|| Self::plain(Type::Unknown), Self::of),
            // Written as a field a map's key leads nowhere in the schema.
            Some(Shape::Map(value)) => Self::plain(type_of(&value.shape)),
            _ => self.item.as_deref().cloned().unwrap_or_else(|| Self::plain(Type::Unknown)),
        }
    }
    /// What a comprehension's variable stands for: an item, or a key.
    fn turned(&self) -> Self {
        match self.of {
            Type::Map if self.declared.is_some() => Self::sized(Type::String, Size { min: 0, max: 0 }),
            Type::Map => Self::plain(Type::Unknown),
            _ => self.element(),
        }
    }
}

fn type_of(shape: &Shape) -> Type {
    match shape {
        Shape::Bool => Type::Bool,
        Shape::Int | Shape::Double => Type::Number,
        Shape::String => Type::String,
        Shape::Bytes => Type::Bytes,
        Shape::Duration | Shape::Timestamp => Type::Time,
        Shape::Dyn => Type::Dyn,
        Shape::List(_) => Type::List,
        Shape::Map(_) => Type::Map,
        Shape::Object(_) => Type::Object,
    }
}

/// What the expression costs at most, with variables of these types.
pub fn most(expression: &IdedExpr, variables: &[(&str, &Declared)]) -> u64 {
    let variables = variables.iter().map(|(name, declared)| ((*name).to_owned(), Known::of(declared))).collect();
    Estimate { variables }.look(expression).0
}

struct Estimate<'s> {
    variables: Vec<(String, Known<'s>)>,
}

type Found<'s> = (u64, Known<'s>);

impl<'s> Estimate<'s> {
    fn look(&mut self, expression: &IdedExpr) -> Found<'s> {
        match &expression.expr {
            Expr::Literal(literal) => (0, literal_known(literal)),
            Expr::Ident(name) => {
                (1, self.variables.iter().rev().find(|(known, _)| known == name).map_or_else(|| Known::plain(Type::Unknown), |(_, k)| k.clone()))
            }
            Expr::Select(select) => {
                let (cost, operand) = self.look(&select.operand);
                if select.test {
                    return (cost, Known::plain(Type::Bool));
                }
                let own = u64::from(matches!(operand.of, Type::Map | Type::Object | Type::Unknown));
                (cost.saturating_add(own), operand.field(&select.field))
            }
            Expr::List(list) => {
                let found: Vec<Found<'s>> = list.elements.iter().map(|item| self.look(item)).collect();
                let cost = found.iter().fold(10, |sum: u64, (cost, _)| sum.saturating_add(*cost));
                let item = found.into_iter().map(|(_, known)| known).reduce(union).map(|known| Box::new(Known { declared: None, ..known }));
                (cost, Known { item, ..Known::sized(Type::List, Size::exactly(list.elements.len())) })
            }
            Expr::Map(map) => {
                let cost = map.entries.iter().fold(30, |sum: u64, entry| sum.saturating_add(self.entry(&entry.expr)));
                (cost, Known::sized(Type::Map, Size::exactly(map.entries.len())))
            }
            Expr::Struct(object) => {
                let cost = object.entries.iter().fold(40, |sum: u64, entry| sum.saturating_add(self.entry(&entry.expr)));
                (cost, Known::plain(Type::Object))
            }
            Expr::Comprehension(all) => self.comprehension(all),
            Expr::Call(call) => {
                let space = match call.target.as_deref() {
                    Some(IdedExpr { expr: Expr::Ident(name), .. }) if names::is_function(name, &call.func_name) => Some(name),
                    _ => None,
                };
                let name = space.map_or_else(|| call.func_name.clone(), |space| format!("{space}.{}", call.func_name));
                let target = call.target.as_deref().filter(|_| space.is_none()).map(|target| self.look(target));
                let args: Vec<Found<'s>> = call.args.iter().map(|arg| self.look(arg)).collect();
                if name == operators::CONDITIONAL && args.len() == 3 {
                    let cost = args[0].0.saturating_add(args[1].0.max(args[2].0));
                    return (cost, union(args[1].1.clone(), args[2].1.clone()));
                }
                let before = target.iter().chain(&args).fold(0, |sum: u64, (cost, _)| sum.saturating_add(*cost));
                let known: Vec<Known<'s>> = target.into_iter().chain(args).map(|(_, known)| known).collect();
                let (own, result) = call_cost(&name, &known, &call.args);
                (before.saturating_add(own), result)
            }
            Expr::Unspecified => (0, Known::plain(Type::Unknown)),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> u64 {
        match entry {
            EntryExpr::StructField(field) => self.look(&field.value).0,
            EntryExpr::MapEntry(entry) => self.look(&entry.key).0.saturating_add(self.look(&entry.value).0),
        }
    }

    fn comprehension(&mut self, all: &ComprehensionExpr) -> Found<'s> {
        let (range_cost, range) = self.look(&all.iter_range);
        let (init_cost, init) = self.look(&all.accu_init);
        let depth = self.variables.len();
        // A value under a name: `sortBy`.
        let is_bind = matches!(&all.iter_range.expr, Expr::List(list) if list.elements.is_empty()) && all.accu_var != "@result";
        self.variables.push((all.accu_var.clone(), if is_bind { init.clone() } else { Known { declared: None, ..init.clone() } }));
        self.variables.push((all.iter_var.clone(), range.turned()));
        let turn = if is_bind { (0, Known::plain(Type::Unknown)) } else { self.look(&all.loop_step) };
        let cond = if is_bind { 0 } else { self.look(&all.loop_cond).0 };
        self.variables.truncate(depth + 1);
        let (result_cost, result) = self.look(&all.result);
        self.variables.truncate(depth);
        let turns = range.size().max.saturating_mul(turn.0.saturating_add(cond));
        let cost = range_cost.saturating_add(init_cost).saturating_add(result_cost).saturating_add(turns);
        let known = match &all.accu_init.expr {
            Expr::List(_) if !is_bind => {
                let item = turn.1.item.map(|item| Box::new(Known { size: Some(NOTHING), ..*item }));
                Known { size: range.size, item, ..Known::plain(Type::List) }
            }
            _ => result,
        };
        (cost, known)
    }
}

fn literal_known<'s>(literal: &LiteralValue) -> Known<'s> {
    match literal {
        LiteralValue::Boolean(_) => Known::plain(Type::Bool),
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Known::plain(Type::Number),
        LiteralValue::Null => Known::sized(Type::Null, ONE),
        LiteralValue::String(text) => Known::sized(Type::String, Size::exactly(text.inner().chars().count())),
        LiteralValue::Bytes(bytes) => Known::sized(Type::Bytes, Size::exactly(bytes.inner().len())),
    }
}

fn union<'s>(one: Known<'s>, other: Known<'s>) -> Known<'s> {
    let size = match (one.size, other.size) {
        (Some(one), Some(other)) => Some(one.or(other)),
        _ => None,
    };
    let of = if one.of == other.of || one.of == Type::Unknown || one.of == Type::Null { other.of } else { one.of };
    Known { of, size, declared: None, item: one.item.or(other.item) }
}

/// What the call itself costs, and what is known of its result. The first of `all` is a method's target.
fn call_cost<'s>(name: &str, all: &[Known<'s>], args: &[IdedExpr]) -> Found<'s> {
    let first = all.first().cloned().unwrap_or_else(|| Known::plain(Type::Unknown));
    let second = all.get(1).cloned().unwrap_or_else(|| Known::plain(Type::Unknown));
    let (a, b) = (first.size(), second.size());
    let untold = |known: &Known<'_>| known.of == Type::Unknown && known.size.is_none();
    let bool_of = |cost: u64| (cost, Known::plain(Type::Bool));
    // A part whose type cannot be told here costs little.
    let told = |cost: u64| if all.iter().any(untold) { cost.min(1) } else { cost };
    let text = |cost: u64, size: Size| (told(cost), Known::sized(Type::String, size));
    let texts =
        |cost: u64, size: Size| (told(cost), Known { item: Some(Box::new(Known::sized(Type::String, NOTHING))), ..Known::sized(Type::List, size) });
    match name {
        operators::LOGICAL_AND | operators::LOGICAL_OR => bool_of(0),
        operators::EQUALS | operators::NOT_EQUALS if first.of == Type::Opaque => bool_of(1),
        operators::EQUALS | operators::NOT_EQUALS => bool_of(told(tenth(a.max.min(b.max)))),
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS
            if first.of.may_be_text() && second.of.may_be_text() =>
        {
            bool_of(tenth(a.max.min(b.max)))
        }
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => bool_of(1),
        operators::ADD if first.of == Type::List || second.of == Type::List => {
            (1, Known { item: first.item.clone().or(second.item.clone()), ..Known::sized(Type::List, a.plus(b)) })
        }
        operators::ADD if first.of.may_be_text() && second.of.may_be_text() => (tenth(a.plus(b).max), Known::sized(first.of, a.plus(b))),
        operators::IN if second.of == Type::List => bool_of(b.max),
        operators::IN => bool_of(1),
        operators::INDEX | operators::OPT_INDEX => (1, first.element()),
        operators::OPT_SELECT => match args.get(1).map(|arg| &arg.expr) {
            Some(Expr::Literal(LiteralValue::String(field))) => (1, first.field(field.inner())),
            _ => (1, Known::plain(Type::Unknown)),
        },
        "orValue" | "or" => (1, union(first, second)),
        "first" | "last" if first.of == Type::List => (1, first.element()),
        "unwrapOpt" | "optional.unwrap" => (1, first),
        "value" | "optional.of" | "optional.ofNonZeroValue" | "dyn" => (1, first),
        "@pairs" => (0, pairs(first)),
        "@mapOf" | "@merged" => (0, Known { size: first.size, ..Known::plain(Type::Map) }),
        "startsWith" | "endsWith" => bool_of(told(tenth(b.max))),
        "contains" => bool_of(told(tenth(a.max).saturating_mul(tenth(b.max)))),
        "matches" => bool_of(told(tenth(a.max.saturating_add(1)).saturating_mul(part(b.max, 0.25)))),
        "find" => text(tenth(a.max.saturating_add(1)).saturating_mul(part(b.max, 0.25)), Size { min: 0, max: a.max }),
        "findAll" => texts(tenth(a.max.saturating_add(1)).saturating_mul(part(b.max, 0.25)), Size { min: 0, max: a.max }),
        "isSorted" => bool_of(over_items(&first)),
        "indexOf" | "lastIndexOf" => (over_items(&first), Known::plain(Type::Number)),
        "sum" | "min" | "max" => (over_items(&first), first.element()),
        "url" => (told(tenth(a.max)), Known::sized(Type::Opaque, a)),
        "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => text(tenth(a.max), a),
        "strings.quote" => text(tenth(a.max), Size { min: a.min + 2, max: a.max.saturating_mul(2).saturating_add(2) }),
        "format" => (told(tenth(a.max)), Known::plain(Type::String)),
        "replace" => text(part(a.max, 0.2), replaced(a, b, all.get(2).map_or(UNKNOWN, Known::size))),
        "split" => {
            let limit = match args.get(1).map(|arg| &arg.expr) {
                Some(Expr::Literal(LiteralValue::Int(limit))) => u64::try_from(*limit.inner()).unwrap_or(a.max),
                _ => a.max,
            };
            texts(part(a.max, 0.2), Size { min: 0, max: limit })
        }
        "join" => {
            let items = if first.element().of == Type::Unknown { Size { min: 0, max: 0 } } else { a.times(items_size(&first)) };
            let between = Size { min: a.min.saturating_sub(1), max: a.max.saturating_sub(1) };
            let whole = if all.len() > 1 { items.plus(b.times(between)) } else { items };
            text(tenth(whole.max), whole)
        }
        "isIP" | "isCIDR" | "isQuantity" | "isSemver" => bool_of(told(tenth(a.max))),
        "ip" if first.of == Type::Opaque => (1, Known::plain(Type::Opaque)),
        "cidr" | "ip" | "quantity" | "semver" => (told(tenth(a.max)), Known::plain(Type::Opaque)),
        "ip.isCanonical" => bool_of(told(part(a.max, 0.2))),
        "containsIP" => bool_of(4u64.saturating_add(if second.of == Type::Opaque { 0 } else { told(tenth(b.max)) })),
        "containsCIDR" => bool_of(7u64.saturating_add(if second.of == Type::Opaque { 0 } else { told(tenth(b.max)) })),
        "validate" => (told(tenth(b.max).saturating_mul(FORMAT_COST)), Known::plain(Type::List)),
        "string" if matches!(first.of, Type::Bytes) => text(tenth(a.max), Size { min: a.min / 4, max: a.max }),
        "string" => (1, Known { size: first.size.filter(|_| first.of == Type::String), ..Known::plain(Type::String) }),
        "bytes" => (told(tenth(a.max)), Known::sized(Type::Bytes, Size { min: a.min, max: a.max.saturating_mul(4) })),
        "size" | "int" | "uint" | "double" => (1, Known::plain(Type::Number)),
        "timestamp" | "duration" => (1, Known::plain(Type::Time)),
        "add" | "sub" | "masked" => (1, Known::plain(Type::Opaque)),
        "getScheme" | "getHost" | "getHostname" | "getPort" | "getEscapedPath" => (1, Known { size: first.size, ..Known::plain(Type::String) }),
        "distinct" | "sort" | "reverse" | "slice" => (1, Known { declared: None, item: Some(Box::new(first.element())), ..first }),
        _ if name.starts_with("get") || matches!(name, "major" | "minor" | "patch" | "compareTo" | "sign" | "family" | "prefixLength") => {
            (1, Known::plain(Type::Number))
        }
        _ if name.starts_with("is") || matches!(name, "hasValue" | "!_" | "@not_strictly_false") || name.starts_with("sets.") => bool_of(1),
        _ => (1, if first.of == Type::Number { Known::plain(Type::Number) } else { Known::plain(Type::Unknown) }),
    }
}

/// What a list's items are at most; of lists that the expression makes nothing is known, as upstream has it.
fn items_size(list: &Known<'_>) -> Size {
    match list.declared.map(|declared| &declared.shape) {
        Some(Shape::List(item)) => Size { min: 0, max: item.max },
        _ => UNKNOWN,
    }
}

fn over_items(whole: &Known<'_>) -> u64 {
    if whole.of == Type::String {
        return tenth(whole.size().max);
    }
    if whole.of == Type::Unknown && whole.size.is_none() {
        return 1;
    }
    let item = whole.element().of;
    let each = if matches!(item, Type::String | Type::Bytes) { tenth(items_size(whole).max).saturating_add(1) } else { 1 };
    whole.size().max.saturating_mul(each)
}

/// How long a text is after as many replacements as may be.
fn replaced(whole: Size, from: Size, to: Size) -> Size {
    let longest = if from.min == 0 {
        whole.max.saturating_add(1).saturating_mul(to.max).saturating_add(whole.max)
    } else if to.max <= from.min {
        whole.max
    } else {
        whole.max.div_ceil(from.min).saturating_mul(to.max)
    };
    Size { min: 0, max: longest }
}

/// Pairs of place and item, or of key and value: what a comprehension over two variables goes over.
fn pairs(whole: Known<'_>) -> Known<'_> {
    let value = whole.element();
    let pair = Known { item: Some(Box::new(Known { declared: None, ..value })), ..Known::sized(Type::List, Size { min: 2, max: 2 }) };
    Known { of: Type::List, size: whole.size, declared: None, item: Some(Box::new(pair)) }
}
