//! The resources of `storage.k8s.io/v1`, in the order of discovery.

pub mod csidrivers;
pub mod csinodes;
pub mod csistoragecapacities;
pub mod storageclasses;
pub mod volumeattachments;
pub mod volumeattributesclasses;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![
        csidrivers::kind().boxed(),
        csinodes::kind().boxed(),
        csistoragecapacities::kind().boxed(),
        storageclasses::kind().boxed(),
        volumeattachments::kind().boxed(),
        volumeattributesclasses::kind().boxed(),
    ]
}
