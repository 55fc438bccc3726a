//! Being written.
pub struct LocalClient {}
