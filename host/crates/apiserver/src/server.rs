//! Being written.
pub struct Config {}
pub struct Server {}
pub enum Storage { Embedded }
