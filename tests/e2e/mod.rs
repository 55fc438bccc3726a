//! End-to-end tests, and what they share.

mod api;
mod authors;
mod backup;
pub mod cluster;
mod decisions;
mod examples;
mod javascript;
mod machine;
mod plugins;
pub mod run;
mod several;
pub mod stages;
mod tour;
mod validation;
mod verbs;
