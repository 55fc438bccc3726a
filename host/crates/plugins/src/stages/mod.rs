//! The stages of a revision: a candidate beside the live one, in shadow or deciding a share, compared, promoted, rolled back.
//!
//! Here is what the four worlds have in common: the fields of the object ([`spec`]), who decides what ([`share`]), the counting
//! ([`tally`], [`sums`]), the metrics, and what the actor does with a candidate ([`candidate`]), alone or among several servers ([`peers`]). How a candidate follows the live revision is the
//! drivers' matter: `scheduler/shadow.rs`, `controller/shadow.rs`, `ingress/trial.rs`, `admission/trial.rs`. Decides nothing about pods,
//! keys, routes or requests.

pub mod candidate;
pub mod identity;
pub mod metrics;
pub mod peers;
pub mod secrets;
pub mod share;
pub mod spec;
pub mod sums;
pub mod tally;

use std::sync::Arc;

use share::Share;
use spec::Stage;
use tally::Tally;

/// A candidate at work. `H` is what the world's driver runs.
pub struct Trial<H> {
    pub stage: Stage,
    pub share: Share,
    pub tally: Arc<Tally>,
    pub holder: H,
}

impl<H> Trial<H> {
    /// The same with what the driver makes of its holder.
    pub fn with<D>(self, make: impl FnOnce(H) -> Option<D>) -> Option<Trial<D>> {
        let Self { stage, share, tally, holder } = self;
        Some(Trial { stage, share, tally, holder: make(holder)? })
    }
}
