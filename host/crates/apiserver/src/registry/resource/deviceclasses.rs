//! `resource.k8s.io/v1` DeviceClass. Stored for its clients; nothing here allocates devices.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;
use crate::registry::print::{NAME_AND_AGE, name_and_age};

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(cluster("resource.k8s.io/v1", "deviceclasses", "DeviceClass")).table(NAME_AND_AGE, name_and_age) }
}
