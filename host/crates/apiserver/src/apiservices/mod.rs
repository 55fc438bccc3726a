//! APIServices as upstream's aggregator keeps them: made for what this server serves itself, and told whether those who serve them answer.
//! What extensions serve is shown in discovery and, where they have it, in OpenAPI v3.
//!
//! Requests do not pass here (`aggregation`).

mod discovery;
mod openapi;
mod own;
mod status;

pub use openapi::run as document;
pub use own::run as register;
pub use status::run;
