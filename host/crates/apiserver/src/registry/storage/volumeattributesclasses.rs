//! `storage.k8s.io/v1` VolumeAttributesClass.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind::new(cluster("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass").short(&["vac"]))
}
