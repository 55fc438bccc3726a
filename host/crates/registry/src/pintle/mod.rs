//! The resources of `pintle.dev/v1alpha1`.

pub mod decisions;
pub mod plugins;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![decisions::kind().boxed(), plugins::kind().boxed()]
}
