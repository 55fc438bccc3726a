//! The resources of `pintle.dev/v1alpha1`.

pub mod plugins;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![plugins::kind().boxed()]
}
