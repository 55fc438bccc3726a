//! The four kinds of patch: JSON (RFC 6902), merge (RFC 7396), strategic merge, and server-side apply.
//!
//! Each takes the stored object and the patch and gives the object to be written; none checks the outcome, which goes
//! through decoding and validation like any update. The registry calls them inside its retry loop.

pub mod apply;
pub mod json;
pub mod merge;
pub mod shown;
pub mod strategic;

use crate::{Reason, Status};

/// What upstream answers for a well-formed patch that does not fit the object.
fn unprocessable() -> Status {
    let mut status = Status::new(422, Reason::Invalid, "the server rejected our request due to an error in our request");
    status.details_mut();
    status
}
