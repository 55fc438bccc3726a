//! `batch/v1` Job.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, propagation: "orphan", ..Kind::new(namespaced("batch/v1", "jobs", "Job").in_all().status()) }
}
