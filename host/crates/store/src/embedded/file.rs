//! The store's two files as one: reads see the tree with the memtable over it, writes go to the journal, and a checkpoint brings what
//! the journal has to the tree. Synchronous; the writer's thread applies groups, one beside it makes checkpoints, everyone else reads.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, StorageBackend};

use super::apply::{self, Applied};
use super::aside::{self, sync_parent, unavailable_at};
use super::format::{self, GENERATION, IDENTITY};
use super::journal::{CHANGE_HEADER_BYTES, HALF_BYTES, Journal, RECORD_HEADER_BYTES};
use super::memtable::{Layer, Memtable, Merged};
use super::tree::{self, ENTRIES, REVISION, unavailable};
use crate::{Entry, Error, Range, Result, Revision, Transaction};

/// A page of a snapshot, or one entry.
const PAGE_BYTES: usize = 1 << 20;
/// Of the file that a backup is restored to.
const FILL_CACHE_BYTES: usize = 64 << 20;

pub(super) struct File {
    state: RwLock<State>,
    /// The writer's alone.
    journal: Mutex<Journal>,
}

enum State {
    Open(Database, Memtable),
    /// Why nothing can be read or written any more.
    Stopped(String),
}

impl File {
    /// A new tree is made aside and gets its name when it is whole: a crash while it is made would leave one that cannot be opened. Its journal
    /// is there before it is, so that a tree without one has lost it. The journal is opened behind the tree's lock, so it needs none.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let journal = journal_path(path);
        if !path.exists() {
            make_journal(&journal)?;
            // Where another process was faster there is its tree, to be opened or found in use.
            aside::make(path, |aside| format::prepare(&tree::create(aside, cache_bytes)?))?;
        }
        let database = tree::builder(cache_bytes).open(path).map_err(tree::opening)?;
        if !format::has_journal(&database)? {
            make_journal(&journal)?;
        }
        let file = Self::start(database, || open_journal(&journal))?;
        aside::clear(path);
        // Also for names that a process made which ended before it came to this.
        sync_parent(path)?;
        Ok(file)
    }

    /// Makes a new file that stands at the revision and has the entries of all pages. The last page is `None`.
    pub fn fill<E: From<Error>>(
        path: &Path,
        revision: Revision,
        next_page: impl FnMut() -> std::result::Result<Option<Vec<Entry>>, E>,
    ) -> std::result::Result<(), E> {
        let taken = || Err(Error::Unusable(format!("{} exists already", path.display())).into());
        if path.exists() {
            return taken();
        }
        let made = aside::make(path, |aside| -> std::result::Result<(), E> {
            let database = tree::create(aside, FILL_CACHE_BYTES)?;
            format::prepare(&database)?;
            tree::fill(&database, revision, next_page)?;
            Ok(make_journal(&journal_path(path))?)
        })?;
        if made { Ok(()) } else { taken() }
    }

    pub fn with_backends(tree: impl StorageBackend, journal: impl StorageBackend, cache_bytes: usize) -> Result<Self> {
        let database = tree::builder(cache_bytes).create_with_backend(tree).map_err(tree::opening)?;
        Self::start(database, || Ok(Box::new(journal)))
    }

    /// What the journal has is read only: a full disk shows what it has.
    fn start(database: Database, journal: impl FnOnce() -> Result<Box<dyn StorageBackend>>) -> Result<Self> {
        format::prepare(&database)?;
        let (revision, generation) = (tree::number(&database, REVISION)?, tree::number(&database, GENERATION)?);
        let (journal, recovered) = Journal::open(journal()?, tree::number(&database, IDENTITY)?, generation, revision)?;
        let mut memtable = Memtable::new(revision);
        memtable.take(recovered.changes);
        memtable.freeze(journal.generation());
        Ok(Self { state: RwLock::new(State::Open(database, memtable)), journal: Mutex::new(journal) })
    }

    /// Everything as it is now, whatever is written meanwhile.
    pub fn freeze(&self) -> Result<View> {
        self.view(b"", b"")
    }

    pub fn check(&self) -> Result<()> {
        self.with(|_, _| Ok(()))
    }

    pub fn revision(&self) -> Result<Revision> {
        self.with(|_, memtable| Ok(memtable.newest()))
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Entry>> {
        let (written, snapshot) = self.with(|database, memtable| match memtable.find(key) {
            Some(written) => Ok((Some(written.clone()), None)),
            None => Ok((None, Some(tree::snapshot(database)?))),
        })?;
        match (written, snapshot) {
            (Some(written), _) => Ok(written.entry(key.to_vec().into())),
            (None, Some(snapshot)) => tree::get(&snapshot.open_table(ENTRIES).map_err(unavailable)?, key),
            (None, None) => Ok(None),
        }
    }

    pub fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Range> {
        if !end.is_empty() && start >= end {
            return Ok(Range { entries: Vec::new(), revision: self.revision()?, more: false });
        }
        let view = self.view(start, end)?;
        let mut range = Range { entries: Vec::new(), revision: view.revision, more: false };
        for entry in view.entries(start, end)? {
            if limit != 0 && range.entries.len() == limit {
                range.more = true;
                break;
            }
            range.entries.push(entry?);
        }
        Ok(range)
    }

    /// Applies transactions in order and makes them durable together. An error means that none may be acknowledged:
    /// `Unknown` where the disk may hold them nevertheless. The writer's alone: what it judges them on stays as it is until they are told.
    pub fn apply(&self, transactions: &[&Transaction]) -> Result<Applied> {
        let applied = self.with(|database, memtable| apply::apply(database, memtable, transactions))?;
        if !applied.changes.is_empty() {
            let mut journal = self.journal();
            // A store that has stopped meanwhile may be another process's by now.
            self.check()?;
            journal.append(&applied.changes).map_err(|error| Error::Unknown(format!("the journal: {error}")))?;
            drop(journal);
            // A checkpoint that failed meanwhile has stopped the store; these may be there nevertheless.
            self.change(|_, memtable| memtable.insert(&applied.changes)).map_err(|error| Error::Unknown(error.to_string()))?;
        }
        Ok(applied)
    }

    /// Bytes of the journal's present half that are used.
    pub fn journaled(&self) -> usize {
        self.journal().used()
    }

    /// Whether the present half takes a group that [`size`] says the bytes of.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.journal().used() + RECORD_HEADER_BYTES + bytes <= HALF_BYTES
    }

    /// The journal goes on with its other half; what the present one has is to go to the tree by [`File::checkpoint`]. What was before must
    /// be there. The writer's alone.
    pub fn turn(&self) -> Result<()> {
        let mut journal = self.journal();
        // A generation that has nothing stays: the tree is told of generations by what they have.
        if journal.used() == 0 {
            return Ok(());
        }
        let next = journal.generation() + 1;
        self.change(|_, memtable| memtable.freeze(next))?;
        journal.begin(next);
        Ok(())
    }

    /// Brings to the tree what waits for it. Reads and groups go on meanwhile.
    pub fn checkpoint(&self) -> Result<()> {
        let begun = self.with(|database, memtable| match memtable.frozen() {
            Some(frozen) => Ok(Some((frozen, database.begin_write().map_err(unavailable)?))),
            None => Ok(None),
        })?;
        let Some((frozen, write)) = begun else { return Ok(()) };
        tree::take(write, &frozen)?;
        self.change(|_, memtable| memtable.settle()).map(drop)
    }

    /// Releases the files. Later calls get `Unavailable` with this reason. False: it was stopped before.
    pub fn stop(&self, why: &str) -> bool {
        // Nothing is being appended when the tree's lock is given up.
        let _journal = self.journal();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Stopped(_)) {
            return false;
        }
        let before = std::mem::replace(&mut *state, State::Stopped(why.to_owned()));
        // To close the tree takes syncs, for which no reader waits.
        drop(state);
        drop(before);
        true
    }

    /// The tree and what is over it at one moment: a layer goes from the memtable only when the tree has it.
    fn view(&self, start: &[u8], end: &[u8]) -> Result<View> {
        self.with(|database, memtable| {
            Ok(View { snapshot: tree::snapshot(database)?, over: memtable.range(start, end), revision: memtable.newest() })
        })
    }

    /// The lock covers the start of a read only, never its work; but what the writer looks up for a group it looks up under it.
    fn with<T>(&self, f: impl FnOnce(&Database, &Memtable) -> Result<T>) -> Result<T> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database, memtable) => f(database, memtable),
            State::Stopped(why) => Err(Error::Unavailable(why.clone())),
        }
    }

    fn change<T>(&self, f: impl FnOnce(&Database, &mut Memtable) -> T) -> Result<T> {
        match &mut *self.state.write().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database, memtable) => Ok(f(database, memtable)),
            State::Stopped(why) => Err(Error::Unavailable(why.clone())),
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that a transaction may take in the journal.
pub(super) fn size(transaction: &Transaction) -> usize {
    let parts = transaction.ops.iter().map(|op| op.parts());
    parts.map(|(key, value)| CHANGE_HEADER_BYTES + key.len() + value.map_or(0, |v| v.len())).sum()
}

/// Entries as they were at one moment.
pub(super) struct View {
    snapshot: ReadTransaction,
    over: Layer,
    pub revision: Revision,
}

impl View {
    /// Hands over all entries of a view of everything, or an error, until nobody takes them any more.
    pub fn pages(self, mut take: impl FnMut(Result<Vec<Entry>>) -> bool) {
        if let Err(error) = self.read_pages(&mut take) {
            take(Err(error));
        }
    }

    fn read_pages(self, take: &mut impl FnMut(Result<Vec<Entry>>) -> bool) -> Result<()> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in self.entries(b"", b"")? {
            let entry = entry?;
            bytes += entry.key.len() + entry.value.len();
            page.push(entry);
            if bytes >= PAGE_BYTES {
                if !take(Ok(std::mem::take(&mut page))) {
                    return Ok(());
                }
                bytes = 0;
            }
        }
        if !page.is_empty() {
            take(Ok(page));
        }
        Ok(())
    }

    /// The range must be the view's.
    fn entries(self, start: &[u8], end: &[u8]) -> Result<impl Iterator<Item = Result<Entry>> + use<>> {
        Ok(Merged::new(tree::range(&self.snapshot, start, end)?, self.over))
    }
}

/// Beside the tree: where the folder goes both go.
fn journal_path(path: &Path) -> PathBuf {
    let mut journal = path.as_os_str().to_owned();
    journal.push(".journal");
    journal.into()
}

/// Empty where there is none; one that is there stays as it is.
fn make_journal(path: &Path) -> Result<()> {
    std::fs::File::options().append(true).create(true).open(path).map_err(|error| unavailable_at(path, &error))?;
    sync_parent(path)
}

/// Refuses to go on without a journal that was there: writes that were acknowledged would be missing, and their revisions come again with another
/// meaning. The tree does not tell whether it was closed in order, which would cost each start and each end a commit; so somebody has to.
fn open_journal(path: &Path) -> Result<Box<dyn StorageBackend>> {
    let file = std::fs::File::options().read(true).write(true).open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Unusable(format!(
            "the store's journal {} is gone, and with it what was written last, unless the server before ended in order: if it did, make an empty file of that name",
            path.display()
        )),
        _ => unavailable_at(path, &error),
    })?;
    Ok(Box::new(FileBackend::new(file).map_err(tree::opening)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    const CACHE_BYTES: usize = 1 << 20;

    fn put(file: &File, key: &'static str) {
        let ops = vec![Op::Put { key: key.into(), value: "v".into() }];
        file.apply(&[&Transaction { expect: Vec::new(), ops }]).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_store_whose_journal_is_gone_is_not_opened_until_somebody_says_that_it_had_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let file = File::open(&path, CACHE_BYTES).unwrap();
        put(&file, "/in-the-tree");
        file.turn().unwrap();
        file.checkpoint().unwrap();
        put(&file, "/in-the-journal");
        drop(file);

        let journal = journal_path(&path);
        let kept = directory.path().join("kept");
        std::fs::rename(&journal, &kept).unwrap();
        for _ in 0..2 {
            let refused = File::open(&path, CACHE_BYTES).map(drop).unwrap_err();
            assert!(matches!(&refused, Error::Unusable(why) if why.contains("store.journal is gone")), "{refused}");
            assert!(!journal.exists(), "the next start is refused too");
        }
        std::fs::rename(&kept, &journal).unwrap();
        assert_eq!(File::open(&path, CACHE_BYTES).unwrap().range(b"", b"", 0).unwrap().entries.len(), 2, "nothing was written meanwhile");

        std::fs::write(&journal, "").unwrap();
        let entries = File::open(&path, CACHE_BYTES).unwrap().range(b"", b"", 0).unwrap().entries;
        assert_eq!(entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), [b"/in-the-tree"]);
    }

    #[test]
    fn also_the_journal_of_a_store_that_took_nothing_from_it_yet_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        put(&File::open(&path, CACHE_BYTES).unwrap(), "/a");
        std::fs::remove_file(journal_path(&path)).unwrap();
        assert!(matches!(File::open(&path, CACHE_BYTES), Err(Error::Unusable(_))));
    }

    #[test]
    fn a_tree_that_another_process_made_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let mut faster = None;
        let made = aside::make(&path, |aside| {
            format::prepare(&tree::create(aside, CACHE_BYTES)?)?;
            let file = File::open(&path, CACHE_BYTES)?;
            put(&file, "/a");
            faster = Some(file);
            Ok::<_, Error>(())
        });
        assert!(!made.unwrap());
        let in_use = File::open(&path, CACHE_BYTES).map(drop).unwrap_err();
        assert!(matches!(&in_use, Error::Unavailable(why) if why.contains("in use")), "{in_use}");
        drop(faster);
        assert!(File::open(&path, CACHE_BYTES).unwrap().get(b"/a").unwrap().is_some());
        assert_eq!(names(directory.path()), ["store", "store.journal"]);
    }

    #[test]
    fn of_those_who_start_together_one_has_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        std::fs::create_dir(directory.path().join("store.new.killed")).unwrap();
        let opened: Vec<Result<File>> = std::thread::scope(|scope| {
            let begun: Vec<_> = (0..8).map(|_| scope.spawn(|| File::open(&path, CACHE_BYTES))).collect();
            begun.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (open, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(open.len(), 1);
        for error in refused.into_iter().filter_map(Result::err) {
            assert!(matches!(&error, Error::Unavailable(why) if why.contains("in use")), "{error}");
        }
        assert_eq!(names(directory.path()), ["store", "store.journal"]);
    }
}
