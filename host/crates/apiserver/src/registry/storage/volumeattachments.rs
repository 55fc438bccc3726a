//! `storage.k8s.io/v1` VolumeAttachment.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind { unconditional_update: false, ..Kind::new(cluster("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment").status()) }
}
