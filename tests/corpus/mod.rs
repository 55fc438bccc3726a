//! The validation corpus: malformed and borderline requests, what upstream answers to each, and how a server compares.
//!
//! Cases are data (`tests/goldens/validation/*.yaml`, read by `cases.rs`); upstream's answers lie beside them (`want/*.json`),
//! recorded from a real kube-apiserver by the `corpus` binary. The test and the binary drive a server with them (`drive.rs`) and
//! compare (`score.rs`). docs/validation.md explains the form of a case and holds the score of record.

pub mod answer;
pub mod cases;
pub mod drive;
pub mod edit;
pub mod managed;
pub mod score;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
