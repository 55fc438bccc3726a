//! Label requirements and node selector terms, compiled to symbols.

use pintle_sdk::scheduler::{NodeSelectorTerm, Operator, Pair, PodAffinity, PodAffinityTerm, Requirement};

use crate::cluster::Node;
use crate::intern::{Symbol, Symbols};

/// Sorted by key.
pub type Labels = Box<[(Symbol, Symbol)]>;

pub fn labels(pairs: &[Pair], symbols: &mut Symbols) -> Labels {
    let mut labels: Vec<_> = pairs.iter().map(|p| (symbols.intern(&p.key), symbols.intern(&p.value))).collect();
    labels.sort_unstable();
    labels.into()
}

pub fn value(labels: &[(Symbol, Symbol)], key: Symbol) -> Option<Symbol> {
    labels.binary_search_by_key(&key, |l| l.0).ok().map(|i| labels[i].1)
}

#[derive(Clone, Debug)]
enum Test {
    In(Box<[Symbol]>),
    NotIn(Box<[Symbol]>),
    Exists,
    Absent,
    Greater(Option<i64>),
    Less(Option<i64>),
}

/// All must hold.
#[derive(Clone, Debug, Default)]
pub struct Selector(Box<[(Symbol, Test)]>);

impl Selector {
    pub fn compile(requirements: &[Requirement], symbols: &mut Symbols) -> Self {
        let compiled = requirements.iter().map(|r| {
            let key = symbols.intern(&r.key);
            let number = || r.values.first().and_then(|v| v.parse().ok());
            let test = match r.operator {
                Operator::In => {
                    let mut values: Vec<Symbol> = r.values.iter().map(|v| symbols.intern(v)).collect();
                    values.sort_unstable();
                    values.dedup();
                    Test::In(values.into())
                }
                Operator::NotIn => Test::NotIn(r.values.iter().map(|v| symbols.intern(v)).collect()),
                Operator::Exists => Test::Exists,
                Operator::DoesNotExist => Test::Absent,
                Operator::Gt => Test::Greater(number()),
                Operator::Lt => Test::Less(number()),
            };
            (key, test)
        });
        Self(compiled.collect())
    }

    /// Demands nothing and so matches everything; some of upstream's counts leave it out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A label that whatever it selects must have, and with which values, each once.
    pub fn wanted(&self) -> Option<(Symbol, &[Symbol])> {
        self.0.iter().find_map(|(key, test)| match test {
            Test::In(values) => Some((*key, &**values)),
            _ => None,
        })
    }

    /// The same where nothing else is asked for.
    pub fn wanted_alone(&self) -> Option<(Symbol, &[Symbol])> {
        match &*self.0 {
            [(key, Test::In(values))] => Some((*key, values)),
            _ => None,
        }
    }

    pub fn matches(&self, labels: &[(Symbol, Symbol)], symbols: &Symbols) -> bool {
        self.0.iter().all(|(key, test)| holds(test, value(labels, *key), symbols))
    }
}

fn holds(test: &Test, found: Option<Symbol>, symbols: &Symbols) -> bool {
    let compare = |bound: &Option<i64>, order: std::cmp::Ordering| {
        found.and_then(|f| symbols.number(f)).zip(*bound).is_some_and(|(number, bound)| number.cmp(&bound) == order)
    };
    match test {
        Test::In(values) => found.is_some_and(|f| values.contains(&f)),
        Test::NotIn(values) => !found.is_some_and(|f| values.contains(&f)),
        Test::Exists => found.is_some(),
        Test::Absent => found.is_none(),
        Test::Greater(bound) => compare(bound, std::cmp::Ordering::Greater),
        Test::Less(bound) => compare(bound, std::cmp::Ordering::Less),
    }
}

/// One term of node affinity: labels and, as the only field, the node's name.
#[derive(Clone, Debug)]
pub struct NodeTerm {
    labels: Selector,
    fields: Selector,
    empty: bool,
}

impl NodeTerm {
    pub fn compile(term: &NodeSelectorTerm, symbols: &mut Symbols) -> Self {
        Self {
            labels: Selector::compile(&term.labels, symbols),
            fields: Selector::compile(&term.fields, symbols),
            empty: term.labels.is_empty() && term.fields.is_empty(),
        }
    }

    pub fn matches(&self, node: &Node, symbols: &Symbols) -> bool {
        let fields = [(node.name_field, node.name)];
        !self.empty && self.labels.matches(&node.labels, symbols) && self.fields.matches(&fields, symbols)
    }
}

/// One term of pod affinity or anti-affinity.
#[derive(Clone, Debug)]
pub struct PodTerm {
    selector: Option<Selector>,
    namespaces: Box<[Symbol]>,
    namespace_selector: Option<Selector>,
    pub topology_key: Symbol,
}

impl PodTerm {
    pub fn compile(term: &PodAffinityTerm, symbols: &mut Symbols) -> Self {
        Self {
            selector: term.selector.as_deref().map(|s| Selector::compile(s, symbols)),
            namespaces: term.namespaces.iter().map(|n| symbols.intern(n)).collect(),
            namespace_selector: term.namespace_selector.as_deref().map(|s| Selector::compile(s, symbols)),
            topology_key: symbols.intern(&term.topology_key),
        }
    }

    pub fn compile_all(terms: &[PodAffinityTerm], symbols: &mut Symbols) -> Vec<Self> {
        terms.iter().map(|term| Self::compile(term, symbols)).collect()
    }

    /// Preferred affinity and anti-affinity, the latter with negative weights.
    pub fn compile_preferred(asked: &PodAffinity, symbols: &mut Symbols) -> Vec<(i64, Self)> {
        let mut preferred = Vec::new();
        for (terms, sign) in [(&asked.preferred, 1), (&asked.preferred_anti, -1)] {
            preferred.extend(terms.iter().map(|t| (sign * i64::from(t.weight), Self::compile(&t.term, symbols))));
        }
        preferred
    }

    /// Whether a pod with these labels, in this namespace (with the namespace's labels), is meant.
    pub fn matches(&self, namespace: Symbol, namespace_labels: &[(Symbol, Symbol)], labels: &[(Symbol, Symbol)], symbols: &Symbols) -> bool {
        let in_namespace =
            self.namespaces.contains(&namespace) || self.namespace_selector.as_ref().is_some_and(|s| s.matches(namespace_labels, symbols));
        in_namespace && self.selector.as_ref().is_some_and(|s| s.matches(labels, symbols))
    }
}
