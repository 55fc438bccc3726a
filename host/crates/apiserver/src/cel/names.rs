//! What an expression refers to that is not there, and of which type its result is, as far as that can be told without the types of its
//! variables. Both in upstream's words; called where an expression is first read.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

/// What expressions may call: the language's functions, its libraries for strings, lists, sets and optional values, and Kubernetes' own.
const FUNCTIONS: [&str; 135] = [
    "@go",
    "@keep",
    "@mapOf",
    "@merged",
    "@not_strictly_false",
    "@pairs",
    "@sortByAssociatedKeys",
    "add",
    "allowed",
    "asApproximateFloat",
    "asInteger",
    "bool",
    "bytes",
    "charAt",
    "check",
    "cidr",
    "compareTo",
    "contains",
    "containsCIDR",
    "containsIP",
    "distinct",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "error",
    "errored",
    "family",
    "fieldSelector",
    "find",
    "findAll",
    "flatten",
    "format",
    "format.byte",
    "format.date",
    "format.datetime",
    "format.dns1035Label",
    "format.dns1035LabelPrefix",
    "format.dns1123Label",
    "format.dns1123LabelPrefix",
    "format.dns1123Subdomain",
    "format.dns1123SubdomainPrefix",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.uri",
    "format.uuid",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getFullYear",
    "getHost",
    "getHostname",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getPort",
    "getQuery",
    "getScheme",
    "getSeconds",
    "group",
    "hasValue",
    "indexOf",
    "int",
    "ip",
    "ip.isCanonical",
    "isCIDR",
    "isGlobalUnicast",
    "isGreaterThan",
    "isIP",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isQuantity",
    "isSemver",
    "isSorted",
    "isURL",
    "isUnspecified",
    "join",
    "jsonpatch.escapeKey",
    "labelSelector",
    "lastIndexOf",
    "lists.range",
    "lowerAscii",
    "major",
    "masked",
    "matches",
    "max",
    "min",
    "minor",
    "name",
    "namespace",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "or",
    "orValue",
    "patch",
    "path",
    "prefixLength",
    "quantity",
    "reason",
    "replace",
    "resource",
    "reverse",
    "semver",
    "serviceAccount",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "sign",
    "size",
    "slice",
    "sort",
    "split",
    "startsWith",
    "string",
    "strings.quote",
    "sub",
    "subresource",
    "substring",
    "sum",
    "timestamp",
    "trim",
    "type",
    "uint",
    "upperAscii",
    "url",
    "validate",
    "value",
];

/// The namespaces of functions.
const NAMESPACES: [&str; 7] = ["optional", "sets", "lists", "strings", "format", "ip", "jsonpatch"];

/// Whether `namespace.function` is one function, and the namespace no value.
pub fn is_function(namespace: &str, function: &str) -> bool {
    NAMESPACES.contains(&namespace)
        && FUNCTIONS.iter().any(|known| known.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('.')) == Some(function))
}

/// Names of types, and the first parts of such names.
const TYPES: [&str; 18] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "google",
    "int",
    "kubernetes",
    "list",
    "map",
    "net",
    "null_type",
    "optional_type",
    "string",
    "timestamp",
    "type",
    "uint",
    "Object",
];

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Double,
    String,
    List,
    Map,
    Null,
    Other,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::List => "list",
            Self::Map => "map",
            Self::Null => "null_type",
            Self::Other => "object",
        }
    }
}

/// The variables (all, where there is no list) and functions that are not there, one message for each.
pub fn undeclared(expression: &IdedExpr, variables: Option<&[&str]>, source: &SourceInfo) -> Vec<String> {
    let mut search = Search { variables, source, scope: Vec::new(), faults: Vec::new() };
    search.look(expression);
    search.faults
}

struct Search<'a> {
    variables: Option<&'a [&'a str]>,
    source: &'a SourceInfo,
    /// Of comprehensions.
    scope: Vec<&'a str>,
    faults: Vec<String>,
}

impl<'a> Search<'a> {
    fn miss(&mut self, id: u64, name: &str) {
        self.faults.push(located(self.source, id, &format!("undeclared reference to '{name}' (in container '')")));
    }

    fn look(&mut self, expression: &'a IdedExpr) {
        match &expression.expr {
            Expr::Ident(name) => {
                let plain = name.trim_start_matches('.');
                let known = |list: &[&str]| list.contains(&plain);
                let is_known = plain.starts_with(['@', '#']) || known(&self.scope) || known(&TYPES) || self.variables.is_none_or(known);
                if !is_known {
                    self.miss(expression.id, plain);
                }
            }
            Expr::Call(call) => {
                let function = call.func_name.as_str();
                let space = match call.target.as_deref() {
                    Some(IdedExpr { expr: Expr::Ident(name), .. }) if NAMESPACES.contains(&name.as_str()) && !self.scope.contains(&name.as_str()) => {
                        Some(name)
                    }
                    _ => None,
                };
                let qualified = space.map(|space| format!("{space}.{function}"));
                let is_operator = function.starts_with('_') || function.starts_with('@') || function.starts_with(['!', '-']);
                if let Some(target) = call.target.as_deref().filter(|_| space.is_none()) {
                    self.look(target);
                }
                if !is_operator && !FUNCTIONS.contains(&qualified.as_deref().unwrap_or(function)) {
                    self.miss(expression.id, qualified.as_deref().unwrap_or(function));
                }
                call.args.iter().for_each(|arg| self.look(arg));
            }
            Expr::Select(select) => self.look(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(|item| self.look(item)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.look_into(&entry.expr)),
            Expr::Struct(object) => {
                self.miss(expression.id, &object.type_name);
                object.entries.iter().for_each(|entry| self.look_into(&entry.expr));
            }
            Expr::Comprehension(all) => {
                self.look(&all.iter_range);
                self.look(&all.accu_init);
                let depth = self.scope.len();
                self.scope.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
                self.look(&all.loop_cond);
                self.look(&all.loop_step);
                self.look(&all.result);
                self.scope.truncate(depth);
            }
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn look_into(&mut self, entry: &'a EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.look(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.look(&entry.key);
                self.look(&entry.value);
            }
        }
    }
}

/// The regular expressions that are written out, as upstream checks them beforehand.
pub fn bad_patterns(expression: &IdedExpr, source: &SourceInfo, faults: &mut Vec<String>) {
    each(expression, &mut |part| {
        if let Expr::Call(call) = &part.expr
            && matches!(call.func_name.as_str(), "matches" | "find" | "findAll")
            && let Some(IdedExpr { id, expr: Expr::Literal(LiteralValue::String(pattern)) }) = call.args.get(usize::from(call.target.is_none()))
            && super::library::regexes::fault(pattern.inner()).is_some()
        {
            faults.push(located(source, *id, "invalid matches argument"));
        }
    });
}

/// Calls back for the expression and all in it.
pub fn each<'e>(expression: &'e IdedExpr, see: &mut dyn FnMut(&'e IdedExpr)) {
    see(expression);
    match &expression.expr {
        Expr::Call(call) => call.target.iter().map(|t| &**t).chain(&call.args).for_each(|part| each(part, see)),
        Expr::Select(select) => each(&select.operand, see),
        Expr::List(list) => list.elements.iter().for_each(|part| each(part, see)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| each_in(&entry.expr, see)),
        Expr::Struct(object) => object.entries.iter().for_each(|entry| each_in(&entry.expr, see)),
        Expr::Comprehension(all) => {
            [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result].into_iter().for_each(|part| each(part, see));
        }
        _ => {}
    }
}

fn each_in<'e>(entry: &'e EntryExpr, see: &mut dyn FnMut(&'e IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => each(&field.value, see),
        EntryExpr::MapEntry(entry) => [&entry.key, &entry.value].into_iter().for_each(|part| each(part, see)),
    }
}

/// A fault as upstream prints it, with the line it is in.
pub fn located(source: &SourceInfo, id: u64, why: &str) -> String {
    let at = source.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before: String = source.source.chars().take(at).collect();
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().map_or(0, |head| head.chars().count());
    let text = source.source.split('\n').nth(line).unwrap_or("");
    format!("ERROR: <input>:{}:{}: {why}\n | {text}\n | {}^", line + 1, column + 1, ".".repeat(column))
}

/// Of which type the result is; `None`: it depends on values.
pub fn kind(expression: &IdedExpr) -> Option<Kind> {
    match &expression.expr {
        Expr::Literal(literal) => Some(match literal {
            LiteralValue::Boolean(_) => Kind::Bool,
            LiteralValue::Int(_) => Kind::Int,
            LiteralValue::Double(_) => Kind::Double,
            LiteralValue::String(_) => Kind::String,
            LiteralValue::Null => Kind::Null,
            LiteralValue::Bytes(_) | LiteralValue::UInt(_) => Kind::Other,
        }),
        Expr::List(_) => Some(Kind::List),
        Expr::Map(_) => Some(Kind::Map),
        Expr::Struct(_) => Some(Kind::Other),
        Expr::Select(select) => select.test.then_some(Kind::Bool),
        Expr::Comprehension(all) => match &all.result.expr {
            Expr::Ident(_) => kind(&all.accu_init),
            _ => kind(&all.result),
        },
        Expr::Call(call) => match call.func_name.as_str() {
            operators::CONDITIONAL => kind(call.args.get(1)?).or_else(|| kind(call.args.get(2)?)),
            operators::ADD => kind(call.args.first()?).or_else(|| kind(call.args.get(1)?)),
            operators::EQUALS | operators::NOT_EQUALS | operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT | operators::IN => {
                Some(Kind::Bool)
            }
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => Some(Kind::Bool),
            "startsWith" | "endsWith" | "matches" | "hasValue" | "isURL" | "isIP" | "isCIDR" | "isQuantity" | "isSemver" | "isSorted" | "allowed" => {
                Some(Kind::Bool)
            }
            "string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "substring" | "join" | "find" | "getHost" | "getScheme" | "getPort" => {
                Some(Kind::String)
            }
            "size" | "int" => Some(Kind::Int),
            "double" => Some(Kind::Double),
            "split" | "findAll" | "flatten" | "distinct" | "sort" => Some(Kind::List),
            _ => None,
        },
        Expr::Ident(_) | Expr::Unspecified => None,
    }
}
