//! The four kinds of plugin behind one face, for the actor: prepare beside what runs, then take its place.

use std::sync::Arc;

use crate::load::{LoadError, World};
use crate::plugin::{Metadata, Spec};
use crate::revision::Revision;
use crate::shared::Shared;
use crate::stages::Trial;
use crate::{admission, controller, ingress, scheduler};

pub enum Prepared {
    Admission(Box<admission::Prepared>),
    Controller(Box<controller::Prepared>),
    Scheduler(Box<scheduler::Prepared>),
    Ingress(Box<ingress::Prepared>),
}

pub enum Running {
    Admission(admission::Seat),
    Controller(controller::Running),
    Scheduler(scheduler::Seat),
    Ingress(ingress::Seat),
}

impl Prepared {
    pub async fn prepare(shared: &Arc<Shared>, revision: Arc<Revision>, spec: &Spec, meta: &Metadata) -> Result<Self, LoadError> {
        Ok(match revision.loaded.world {
            World::Admission => Self::Admission(Box::new(admission::prepare(shared, revision).await?)),
            World::Controller => Self::Controller(Box::new(controller::prepare(shared, revision).await?)),
            World::Scheduler => Self::Scheduler(Box::new(scheduler::prepare(revision, &spec.scheduler_names(), &spec.profile, meta).await?)),
            World::Ingress => Self::Ingress(Box::new(ingress::prepare(revision, meta).await?)),
        })
    }

    /// What an admission policy wants to be asked about, for the status.
    pub fn admission_rules(&self) -> Option<&[crate::plugin::AdmissionRule]> {
        match self {
            Self::Admission(prepared) => Some(prepared.rules()),
            _ => None,
        }
    }

    /// Controllers: the old one's calls end before the new one's begin. The others: the change falls between two calls. Returns when the new
    /// one decides.
    pub async fn start(self, shared: &Arc<Shared>, old: Option<Running>) -> Running {
        match self {
            // A Plugin's world never changes: what ran before was this plugin's, and its seat is taken.
            Self::Admission(prepared) => Running::Admission(prepared.take_seat(shared)),
            Self::Controller(prepared) => {
                let listening = prepared.listen();
                let undone = match old {
                    Some(Running::Controller(old)) => Some(old.stop().await),
                    Some(_) | None => None,
                };
                Running::Controller(listening.start(shared, undone))
            }
            Self::Scheduler(prepared) => {
                let (seat, took_over) = prepared.take_seat(shared);
                match old {
                    Some(Running::Scheduler(old)) => shared.schedulers.succeed(&old, &seat),
                    Some(old) => old.stop(shared).await,
                    None => {}
                }
                let everywhere = async {
                    for mut took_over in took_over {
                        let _ = took_over.wait_for(|done| *done).await;
                    }
                };
                let _ = tokio::time::timeout(scheduler::HANDOVER, everywhere).await;
                Running::Scheduler(seat)
            }
            Self::Ingress(prepared) => {
                let seat = prepared.take_seat(shared);
                match old {
                    Some(Running::Ingress(_)) | None => {}
                    Some(old) => old.stop(shared).await,
                }
                Running::Ingress(seat)
            }
        }
    }
}

impl Running {
    /// Puts a candidate of the same world beside what runs, in place of another, or takes it away.
    pub fn set_trial(&mut self, shared: &Arc<Shared>, trial: Option<Trial<Prepared>>) {
        match self {
            Self::Admission(seat) => {
                let trial = trial.and_then(|t| t.with(|p| if let Prepared::Admission(p) = p { Some(p.into_holder()) } else { None }));
                shared.admissions.set_trial(shared, seat, trial);
            }
            Self::Scheduler(seat) => {
                let trial = trial.and_then(|t| t.with(|p| if let Prepared::Scheduler(p) = p { Some(p.into_holder()) } else { None }));
                shared.schedulers.set_trial(seat, trial);
            }
            Self::Controller(running) => {
                running.set_trial(shared, trial.and_then(|t| t.with(|p| if let Prepared::Controller(p) = p { Some(*p) } else { None })));
            }
            Self::Ingress(seat) => {
                let trial = trial.and_then(|t| t.with(|p| if let Prepared::Ingress(p) = p { Some(p.into_holder()) } else { None }));
                shared.ingresses.set_trial(seat, trial);
            }
        }
    }

    pub async fn stop(self, shared: &Arc<Shared>) {
        match self {
            Self::Admission(seat) => shared.admissions.leave(&seat),
            Self::Controller(running) => drop(running.stop().await),
            Self::Scheduler(seat) => shared.schedulers.leave(&seat),
            Self::Ingress(seat) => shared.ingresses.leave(&seat),
        }
    }

    /// Another plugin of the same kind serves at the moment.
    pub fn is_standby(&self, shared: &Arc<Shared>) -> bool {
        match self {
            Self::Admission(_) | Self::Controller(_) => false,
            Self::Scheduler(seat) => !shared.schedulers.is_serving(seat),
            Self::Ingress(seat) => !shared.ingresses.is_serving(seat),
        }
    }
}
