//! Whoever asks about decisions asks here: [`Decisions`] searches the log, explains placements, exports, and counts. The API server serves it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::explain::{Detail, explain, state_at};
use super::log::Log;
use super::offline::Maker;
use super::read::{self, Found, Wanted};
use super::record::What;
use super::segment::LogError;
use super::view;
use crate::load::load;
use crate::plugin::Source;
use crate::shared::Shared;

/// What was decided just now shall be found.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// Explanations of one answer: three placements, or one or two of a profile of several components.
const MAX_EXPLAINED: usize = 6;
/// Of placements.
const MAX_PLACEMENTS: usize = 3;
/// Chunks of an export on their way to whoever reads it.
const EXPORT_CHUNKS: usize = 4;

/// A question of the API.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub wanted: Wanted,
    pub explain: Explain,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    #[default]
    No,
    /// Reasons and scores of the newest placements.
    Summed,
    /// The same for every node.
    EachNode,
}

#[derive(Clone)]
pub struct Decisions {
    log: Log,
    shared: std::sync::Weak<Shared>,
    explaining: Arc<Semaphore>,
}

impl Decisions {
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self { log: shared.decisions.clone(), shared: Arc::downgrade(shared), explaining: Arc::new(Semaphore::new(1)) }
    }

    /// The newest first, as objects.
    pub async fn find(&self, asked: Asked) -> Result<Vec<Value>, LogError> {
        let (log, wanted) = (self.log.clone(), asked.wanted);
        let namespace = wanted.namespace.clone();
        let search = move || {
            log.flush(FLUSH_PATIENCE);
            read::find(log.folder(), &wanted)
        };
        let found = match tokio::task::spawn_blocking(search).await {
            Ok(found) => found?,
            Err(_) => return Ok(Vec::new()),
        };
        let mut objects = Vec::with_capacity(found.len());
        let (mut explained, mut placements) = (0, 0);
        for found in found {
            let is_placement = matches!(found.decision.what, What::Placement(_));
            placements += usize::from(is_placement);
            let may_be_told = (is_placement || matches!(found.decision.what, What::Ranking(_))) && placements <= MAX_PLACEMENTS;
            let explains = asked.explain != Explain::No && may_be_told && explained < MAX_EXPLAINED;
            explained += usize::from(explains);
            let found = Arc::new(found);
            let detail = if explains { self.explain(&found, asked.explain == Explain::EachNode).await } else { None };
            objects.push(view::object(&found, detail.as_ref(), &namespace));
        }
        Ok(objects)
    }

    /// So that nothing is lost when the process ends.
    pub fn flush(&self) {
        self.log.flush(FLUSH_PATIENCE);
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        self.log.counters().render()
    }

    /// A plugin's part of the log, as `pintle plugin replay` reads it.
    pub fn export(&self, plugin: &str) -> mpsc::Receiver<Vec<u8>> {
        let (log, plugin) = (self.log.clone(), plugin.to_owned());
        let (sender, receiver) = mpsc::channel(EXPORT_CHUNKS);
        tokio::task::spawn_blocking(move || {
            log.flush(FLUSH_PATIENCE);
            if let Err(error) = read::export(log.folder(), &plugin, &mut Chunks(sender)) {
                tracing::debug!(%error, "an export of decisions ended early");
            }
        });
        receiver
    }

    /// What cannot be explained is shown as it was written down.
    async fn explain(&self, found: &Arc<Found>, each: bool) -> Option<Detail> {
        let Ok(_one_at_a_time) = self.explaining.acquire().await else { return None };
        let shared = self.shared.upgrade()?;
        let preparing = {
            let found = found.clone();
            tokio::task::spawn_blocking(move || prepare(&shared, &found))
        };
        let outcome = match preparing.await {
            Ok(Ok(Some((maker, state)))) => explain(&maker, found, state, each).await,
            Ok(Ok(None)) => Ok(None),
            Ok(Err(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        };
        outcome.unwrap_or_else(|why| {
            tracing::debug!(why, "a decision cannot be explained");
            None
        })
    }
}

type Prepared = Option<(Maker, super::fold::State)>;

fn prepare(shared: &Shared, found: &Found) -> Result<Prepared, String> {
    let Some(state) = state_at(found).map_err(|e| e.to_string())? else { return Ok(None) };
    let source = Source { digest: found.session.digest.to_string(), ..Source::default() };
    let bytes = shared.sources.folder.read(&source).map_err(|e| e.to_string())?;
    let loaded = load(&shared.machine, &bytes, found.session.world).map_err(|e| e.to_string())?;
    Ok(Some((Maker::new(&shared.machine, loaded, found.session.config.clone()), state)))
}

/// Hands on what is written to it; an error when nobody reads any more.
struct Chunks(mpsc::Sender<Vec<u8>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.blocking_send(bytes.to_vec()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
