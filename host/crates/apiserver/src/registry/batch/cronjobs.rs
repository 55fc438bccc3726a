//! `batch/v1` CronJob.

use crate::registry::def::namespaced;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(namespaced("batch/v1", "cronjobs", "CronJob").short(&["cj"]).in_all().status()) }
}
