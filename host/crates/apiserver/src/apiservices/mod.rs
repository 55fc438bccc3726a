//! APIServices as upstream's aggregator keeps them: made for what this server serves itself, and told whether those who serve them answer.
//!
//! Requests do not pass here (`aggregation`).

mod discovery;
mod own;
mod status;

pub use own::run as register;
pub use status::run;
