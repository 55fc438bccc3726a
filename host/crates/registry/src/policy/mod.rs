//! The resources of `policy/v1`, in the order of discovery.

pub mod poddisruptionbudgets;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![poddisruptionbudgets::kind().boxed()]
}
