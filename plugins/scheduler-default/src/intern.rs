//! Strings as small integers: labels are compared thousands of times for each time they are fed.

use rustc_hash::FxHashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(u32);

/// Grows only; a fresh instance starts empty.
#[derive(Default)]
pub struct Symbols {
    by_text: FxHashMap<Box<str>, Symbol>,
    texts: Vec<Box<str>>,
    /// The text as an integer, for `Gt` and `Lt`.
    numbers: Vec<Option<i64>>,
}

impl Symbols {
    pub fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.by_text.get(text) {
            return *symbol;
        }
        let symbol = Symbol(self.texts.len() as u32);
        self.by_text.insert(text.into(), symbol);
        self.texts.push(text.into());
        self.numbers.push(text.parse().ok());
        symbol
    }

    pub fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
    }

    pub fn number(&self, symbol: Symbol) -> Option<i64> {
        self.numbers[symbol.0 as usize]
    }
}
