//! Amounts of resources, as the host adds them up for its own check of a decision, and how they are read from objects.

use std::borrow::Cow;

use pintle_api::quantity::Quantity;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Resources;
use serde::Deserialize;

/// `resources.requests`, `status.allocatable`: names and quantities, in the text's order.
#[derive(Default)]
pub struct Quantities<'a>(pub Vec<(Cow<'a, str>, Quantity)>);

pub fn zero() -> Resources {
    Resources { milli_cpu: 0, memory: 0, ephemeral_storage: 0, extended: Vec::new() }
}

impl Quantities<'_> {
    pub fn amounts(&self) -> Resources {
        let mut sum = zero();
        for (name, quantity) in &self.0 {
            match name.as_ref() {
                "cpu" => sum.milli_cpu = quantity.milli_value(),
                "memory" => sum.memory = quantity.value(),
                "ephemeral-storage" => sum.ephemeral_storage = quantity.value(),
                "pods" => {}
                other => sum.extended.push((other.to_owned(), quantity.value())),
            }
        }
        sum
    }
}

pub fn add(sum: &mut Resources, other: &Resources) {
    combine(sum, other, i64::saturating_add);
}

pub fn subtract(sum: &mut Resources, other: &Resources) {
    combine(sum, other, i64::saturating_sub);
}

/// The greater of each resource.
pub fn raise(sum: &mut Resources, other: &Resources) {
    combine(sum, other, i64::max);
}

/// Whether `used` and `more` together stay within `capacity`. What is not asked for may be overdrawn.
pub fn fits(capacity: &Resources, used: &Resources, more: &Resources) -> bool {
    let room = |capacity: i64, used: i64, more: i64| more == 0 || used.saturating_add(more) <= capacity;
    room(capacity.milli_cpu, used.milli_cpu, more.milli_cpu)
        && room(capacity.memory, used.memory, more.memory)
        && room(capacity.ephemeral_storage, used.ephemeral_storage, more.ephemeral_storage)
        && more.extended.iter().all(|(name, amount)| room(extended(capacity, name), extended(used, name), *amount))
}

pub fn set_extended(amounts: &mut Resources, name: &str, amount: i64) {
    match amounts.extended.iter_mut().find(|(n, _)| n == name) {
        Some((_, present)) => *present = amount,
        None => amounts.extended.push((name.to_owned(), amount)),
    }
}

pub fn extended(amounts: &Resources, name: &str) -> i64 {
    amounts.extended.iter().find(|(n, _)| n == name).map_or(0, |(_, amount)| *amount)
}

fn combine(sum: &mut Resources, other: &Resources, with: fn(i64, i64) -> i64) {
    sum.milli_cpu = with(sum.milli_cpu, other.milli_cpu);
    sum.memory = with(sum.memory, other.memory);
    sum.ephemeral_storage = with(sum.ephemeral_storage, other.ephemeral_storage);
    for (name, amount) in &other.extended {
        match sum.extended.iter_mut().find(|(n, _)| n == name) {
            Some((_, present)) => *present = with(*present, *amount),
            None => sum.extended.push((name.clone(), with(0, *amount))),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Quantities<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Quantities<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("quantities")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Quantities::default())
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::with_capacity(4);
                // A server validated them: what cannot be read counts nothing.
                while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    if let Ok(quantity) = Quantity::parse(&value.0) {
                        all.push((name.0, quantity));
                    }
                }
                Ok(Quantities(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Text that is borrowed where it can be; numbers are taken as their text.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
