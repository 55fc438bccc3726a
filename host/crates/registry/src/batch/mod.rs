//! The resources of `batch/v1`, in the order of discovery.

pub mod cronjobs;
pub mod jobs;
mod jobs_status;
mod jobs_success;
pub mod jobs_validate;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![cronjobs::kind().boxed(), jobs::kind().boxed()]
}
