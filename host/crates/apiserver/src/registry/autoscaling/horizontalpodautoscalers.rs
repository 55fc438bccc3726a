//! `autoscaling/v2` HorizontalPodAutoscaler.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(namespaced("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler").short(&["hpa"]).in_all().status())
}
