//! Claims on cluster-wide numbers: service addresses and node ports.

/// The allocators that strategies may use in `before_commit` and release in `after_commit`.
#[derive(Debug, Default)]
pub struct Allocators {}
