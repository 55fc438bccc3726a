//! End-to-end tests, and what they share.

mod api;
mod authors;
mod cluster;
mod decisions;
mod examples;
mod javascript;
mod machine;
mod plugins;
mod run;
mod tour;
mod validation;
mod verbs;
