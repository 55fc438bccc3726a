//! The resources of `autoscaling/v1` and `autoscaling/v2`, in the order of discovery.

pub mod horizontalpodautoscalers;
pub mod horizontalpodautoscalers_v1;
mod validate;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![horizontalpodautoscalers_v1::kind().boxed(), horizontalpodautoscalers::kind().boxed()]
}
