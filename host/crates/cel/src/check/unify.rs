//! Which types may stand for which, and what that says of the types that are still open: `cel-go`'s unification.
//!
//! Types that are made of themselves again and again can grow beyond any expression's size, so the steps are counted: who runs out of them
//! is no longer checked, and nothing is said of the expression.

use std::sync::Arc;

use super::types::Type;

/// Looks at types that one expression's check may take. The most that upstream's own cases take is some hundreds.
const MAX_STEPS: u32 = 2_000_000;
/// Parts that one type may have; an object is one part, whatever its fields.
const MAX_PARTS: u32 = 1_000;

#[derive(Default)]
pub struct Bindings {
    bound: Vec<Option<Type>>,
    /// What was bound before, to go back where types turn out not to fit.
    undone: Vec<(u32, Option<Type>)>,
    steps: u32,
}

impl Bindings {
    /// No steps are left.
    pub fn gave_up(&self) -> bool {
        self.steps > MAX_STEPS
    }

    fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_add(1);
        !self.gave_up()
    }

    pub fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Variable(u32::try_from(self.bound.len() - 1).unwrap_or(u32::MAX))
    }

    /// The first of as many new variables.
    pub fn fresh_range(&mut self, count: u32) -> u32 {
        let first = self.bound.len();
        self.bound.resize(first + count as usize, None);
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    fn find(&self, of: &Type) -> Option<&Type> {
        match of {
            Type::Variable(number) => self.bound.get(*number as usize)?.as_ref(),
            _ => None,
        }
    }

    fn bind(&mut self, variable: &Type, to: Type) {
        if let Type::Variable(number) = variable
            && let Some(place) = self.bound.get_mut(*number as usize)
        {
            let before = place.replace(to);
            self.undone.push((*number, before));
        }
    }

    /// Whether each of the first may stand for its fellow; where not, nothing is learnt.
    pub fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        let mark = self.undone.len();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.fits(from, to));
        if !fits {
            while self.undone.len() > mark {
                if let Some((number, before)) = self.undone.pop() {
                    self.bound[number as usize] = before;
                }
            }
        }
        fits
    }

    pub fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.all_assignable(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    fn fits(&mut self, from: &Type, to: &Type) -> bool {
        if !self.step() {
            return true;
        }
        if matches!(to, Type::Variable(_)) {
            let (valid, has_sub) = self.may_bind(from, to);
            if valid || has_sub {
                return valid;
            }
        }
        if matches!(from, Type::Variable(_)) {
            return self.may_bind(to, from).0;
        }
        match (from, to) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(other, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
            }
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) | (Type::Pair(a), Type::Pair(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Opaque(a, x), Type::Opaque(b, y)) => a == b && x.len() == y.len() && x.iter().zip(y.iter()).all(|(x, y)| self.fits(x, y)),
            (from, to) => from == to,
        }
    }

    /// Whether the variable may stand for the type, and whether it stood for one before.
    fn may_bind(&mut self, of: &Type, variable: &Type) -> (bool, bool) {
        if of == variable {
            return (true, true);
        }
        if let Some(bound) = self.find(variable).cloned() {
            if *of == bound {
                return (true, true);
            }
            if self.fits(of, &bound) {
                let general = self.more_general(of, &bound);
                if self.is_apart(variable, &general) {
                    self.bind(variable, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.is_apart(variable, of) {
            self.bind(variable, of.clone());
            return (true, false);
        }
        (false, false)
    }

    pub fn more_general(&mut self, one: &Type, other: &Type) -> Type {
        if self.is_no_more_specific(one, other) { one.clone() } else { other.clone() }
    }

    fn is_no_more_specific(&mut self, one: &Type, other: &Type) -> bool {
        if !self.step() {
            return true;
        }
        match (one, other) {
            (Type::Dyn | Type::Variable(_), _) => true,
            (_, Type::Dyn | Type::Variable(_)) => false,
            (Type::List(a), Type::List(b)) => self.is_no_more_specific(a, b),
            (Type::Map(a), Type::Map(b)) | (Type::Pair(a), Type::Pair(b)) => {
                self.is_no_more_specific(&a.0, &b.0) && self.is_no_more_specific(&a.1, &b.1)
            }
            (Type::Opaque(a, x), Type::Opaque(b, y)) => {
                a == b && x.len() == y.len() && x.iter().zip(y.iter()).all(|(x, y)| self.is_no_more_specific(x, y))
            }
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            (one, other) => one == other,
        }
    }

    /// Whether the variable is no part of the type.
    fn is_apart(&mut self, variable: &Type, within: &Type) -> bool {
        if !self.step() {
            return true;
        }
        if variable == within {
            return false;
        }
        match within {
            Type::Variable(_) => match self.find(within).cloned() {
                Some(bound) => self.is_apart(variable, &bound),
                None => true,
            },
            Type::Map(of) | Type::Pair(of) => self.is_apart(variable, &of.0) && self.is_apart(variable, &of.1),
            other => other.parts().iter().all(|part| self.is_apart(variable, part)),
        }
    }

    /// The type with what is known of its variables; those that are still open are anything where it is the last word.
    pub fn resolved(&mut self, of: &Type, is_last: bool) -> Type {
        let before = self.steps;
        let resolved = self.resolve(of, is_last);
        if self.steps - before > MAX_PARTS {
            self.steps = u32::MAX;
        }
        resolved
    }

    fn resolve(&mut self, of: &Type, is_last: bool) -> Type {
        if !self.step() {
            return Type::Dyn;
        }
        if let Some(bound) = self.find(of).cloned() {
            return self.resolve(&bound, is_last);
        }
        match of {
            Type::Variable(_) if is_last => Type::Dyn,
            Type::List(item) => Type::list(self.resolve(item, is_last)),
            Type::Map(of) => Type::map(self.resolve(&of.0, is_last), self.resolve(&of.1, is_last)),
            Type::Pair(of) => Type::Pair(Arc::new((self.resolve(&of.0, is_last), self.resolve(&of.1, is_last)))),
            Type::TypeOf(of) => Type::TypeOf(Arc::new(self.resolve(of, is_last))),
            Type::Opaque(name, of) => Type::Opaque(name, of.iter().map(|part| self.resolve(part, is_last)).collect()),
            other => other.clone(),
        }
    }

    /// An overload's type where its variables begin at another number.
    pub fn shifted(&mut self, of: &Type, by: u32) -> Type {
        match of {
            Type::Variable(number) => Type::Variable(number + by),
            Type::List(item) => Type::list(self.shifted(item, by)),
            Type::Map(of) => Type::map(self.shifted(&of.0, by), self.shifted(&of.1, by)),
            Type::TypeOf(of) => Type::TypeOf(Arc::new(self.shifted(of, by))),
            Type::Opaque(name, of) => Type::Opaque(name, of.iter().map(|part| self.shifted(part, by)).collect()),
            other => other.clone(),
        }
    }
}
