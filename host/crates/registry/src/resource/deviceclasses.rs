//! `resource.k8s.io/v1` DeviceClass. Stored for its clients; nothing here allocates devices.

use crate::def::cluster;
use crate::kind::Kind;
use crate::print::{NAME_AND_AGE, name_and_age};

pub fn kind() -> Kind {
    Kind { generation: true, ..Kind::new(cluster("resource.k8s.io/v1", "deviceclasses", "DeviceClass")).table(NAME_AND_AGE, name_and_age) }
}
