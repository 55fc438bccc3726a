//! End-to-end tests, and what they share.

mod api;
mod authors;
mod backup;
mod cluster;
mod decisions;
mod examples;
mod javascript;
mod machine;
mod plugins;
mod run;
mod several;
mod tour;
mod validation;
mod verbs;
