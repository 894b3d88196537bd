//! A stripe: one state file and the thread that writes it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::EntryResponder;
use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableDatabase as _};
use tokio::sync::{Notify, oneshot};

use crate::database::SharedDatabase;
use crate::disk::Storage;
use crate::error::{OpenError, RowError};
use crate::fence::Fence;
use crate::machine::StateMachine;
use crate::raft_types::{SnapshotMeta, Types};
use crate::range::{KeyRange, ShardId};
use crate::state::applier::Applier;
use crate::state::extents::{Birth, stored_extents};
use crate::state::group::{Durable, Group};
use crate::state::install::{Installing, Mark};
use crate::state::rows::{Extent, LOCAL, ROWS};
use crate::state::spool::{Spool, SpoolWriter};
use crate::workers::{Lane, Worker, Workers};

/// When a stripe commits durably.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckpointPolicy {
    pub(crate) interval: Duration,
    pub(crate) bytes: usize,
}

pub(super) type Answer<T> = oneshot::Sender<io::Result<T>>;

/// Work for the stripe's thread, done in order.
pub(super) enum Job {
    Apply {
        group: Arc<Group>,
        entries: Vec<EntryResponder<Types>>,
        done: Answer<()>,
    },
    /// The last durable state; with `is_fresh`, first makes everything applied durable.
    Snapshot {
        group: Arc<Group>,
        is_fresh: bool,
        done: Answer<Option<Durable>>,
    },
    Install {
        group: Arc<Group>,
        meta: SnapshotMeta,
        spool: Spool,
        done: Answer<()>,
    },
    /// Removes every row of a group that is not, or no longer, in this file.
    Clear { extent: Extent, done: Answer<()> },
}

/// A state file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stripe {
    shared: Arc<Shared>,
    /// Bounded: a group has one application at a time.
    lane: Lane<Job>,
    worker: Arc<Worker>,
}

pub(super) struct Shared {
    pub(super) database: SharedDatabase,
    pub(super) storage: Storage,
    /// Where spools are.
    folder: PathBuf,
    workers: Workers,
    pub(super) fence: Fence,
    pub(super) groups: Mutex<Vec<Arc<Group>>>,
    /// Groups that splits made and that nobody has started yet.
    pub(super) births: Mutex<Vec<Birth>>,
    /// Told after each checkpoint: the log may be purged.
    pub(super) advanced: Arc<Notify>,
}

impl std::fmt::Debug for Stripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stripe")
    }
}

impl Stripe {
    /// Opens or makes a state file and starts its thread. Blocks.
    pub(crate) fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        policy: CheckpointPolicy,
        workers: Workers,
        fence: Fence,
        advanced: Arc<Notify>,
    ) -> Result<Self, OpenError> {
        let database = SharedDatabase::open(storage, path, cache_bytes, make_tables)?;
        let shared = Arc::new(Shared {
            database,
            storage: storage.clone(),
            folder: path.parent().unwrap_or_else(|| Path::new("")).to_owned(),
            workers,
            fence,
            groups: Mutex::default(),
            births: Mutex::default(),
            advanced,
        });
        let applier = Applier::new(Arc::clone(&shared), policy);
        let lane = Lane::new(workers);
        let worker = lane
            .start("tessera-state", storage, applier)
            .map_err(|source| OpenError::io(path, source))?;
        Ok(Self {
            shared,
            lane,
            worker: Arc::new(worker),
        })
    }

    pub(crate) fn database(&self) -> &SharedDatabase {
        &self.shared.database
    }

    /// Loads a group whose rows are in this file, and finishes a snapshot that it was taking in.
    /// Blocks. Nothing is applied to the group before.
    pub(crate) fn add_group(
        &self,
        extent: Extent,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Arc<Group>, OpenError> {
        let txn = self.shared.begin_read()?;
        let mut group = Arc::new(Group::load(extent, Arc::clone(&machine), Arc::clone(&txn))?);
        match group.interrupted(&txn)? {
            None => group.open_machine(&txn)?,
            Some(mark) => {
                drop(txn);
                self.finish_install(&group, mark)?;
                let txn = self.shared.begin_read()?;
                group = Arc::new(Group::load(group.extent(), machine, txn)?);
            }
        }
        self.shared.groups.lock().push(Arc::clone(&group));
        Ok(group)
    }

    fn finish_install(&self, group: &Arc<Group>, mark: Mark) -> Result<(), OpenError> {
        let shard = group.shard();
        let (path, storage) = (self.shared.spool_path(shard), &self.shared.storage);
        let spool = Spool::reopen(storage, &path, mark.len, mark.check)
            .map_err(|source| OpenError::io(&path, source))?
            .ok_or(OpenError::InterruptedInstall { shard })?;
        let others = self.shared.other_ranges(shard);
        let mut installing = Installing::new(Arc::clone(group), mark.meta, spool, &others)?;
        let database = self.shared.database.get_open()?;
        while !installing.step(&database)? {}
        installing.adopt(&database)?;
        let removed = installing.into_spool().remove(storage);
        removed.map_err(|source| OpenError::io(path, source))
    }

    /// Groups that splits made since the last call.
    pub(crate) fn take_births(&self) -> Vec<Birth> {
        std::mem::take(&mut *self.shared.births.lock())
    }

    /// The groups in the file whose extent is in it too: those that were split or came from a
    /// split or a snapshot. Blocks.
    pub(crate) fn stored_extents(&self) -> Result<Vec<Extent>, RowError> {
        stored_extents(&*self.shared.begin_read()?)
    }

    /// Lets go of a group, and removes its rows but those that other groups own. Durable on return.
    pub(crate) async fn clear(&self, extent: Extent) -> io::Result<()> {
        self.shared
            .groups
            .lock()
            .retain(|group| group.shard() != extent.shard);
        self.ask(|done| Job::Clear { extent, done }).await
    }

    /// Begins to keep a snapshot of `shard` that is received. Blocks.
    pub(crate) fn begin_spool(&self, shard: ShardId) -> io::Result<SpoolWriter> {
        SpoolWriter::begin(&self.shared.storage, &self.shared.spool_path(shard))
    }

    /// Makes it durable. Blocks.
    pub(crate) fn finish_spool(&self, writer: SpoolWriter) -> io::Result<Spool> {
        writer.finish(&self.shared.storage)
    }

    pub(crate) fn workers(&self) -> Workers {
        self.shared.workers
    }

    /// Does a job and waits for its answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        self.push(job(done));
        answer
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the state's thread ended")))
    }

    fn push(&self, job: Job) {
        if let Err(job) = self.lane.push(job, true) {
            job.fail("the state is closed");
        }
    }

    /// Takes nothing any more; the writer does what is queued, commits durably and ends.
    pub(crate) fn begin_close(&self) {
        self.lane.begin_close();
    }

    /// Does what is queued, commits durably, ends the writer and closes the file.
    pub(crate) async fn close(&self) {
        self.begin_close();
        if let Err(panicked) = self.worker.join().await {
            self.shared
                .fence
                .trip("ending the state's writer", &panicked);
        }
        for group in self.shared.groups.lock().drain(..) {
            group.durable.lock().take();
        }
        self.shared.database.close();
    }
}

impl Shared {
    fn spool_path(&self, shard: ShardId) -> PathBuf {
        self.folder.join(format!("spool-{shard}"))
    }

    /// The ranges of the other groups in this file.
    pub(super) fn other_ranges(&self, shard: ShardId) -> Vec<Arc<KeyRange>> {
        let groups = self.groups.lock();
        let others = groups.iter().filter(|group| group.shard() != shard);
        others.map(|group| group.extent().range).collect()
    }

    pub(super) fn begin_read(&self) -> Result<Arc<ReadTransaction>, RowError> {
        let database = self.database.get_open()?;
        Ok(Arc::new(database.begin_read().map_err(RowError::storage)?))
    }
}

impl Job {
    fn fail(self, text: &str) {
        let error = RowError::Storage(text.into());
        match self {
            Self::Apply { done, .. } | Self::Install { done, .. } | Self::Clear { done, .. } => {
                answer(done, Err(error));
            }
            Self::Snapshot { done, .. } => answer(done, Err(error)),
        }
    }
}

/// An asker that is gone no longer needs its answer.
pub(super) fn answer<T>(done: Answer<T>, result: Result<T, RowError>) {
    drop(done.send(result.map_err(io::Error::other)));
}

fn make_tables(database: &SharedDatabase) -> Result<(), RowError> {
    let mut txn = database
        .get_open()?
        .begin_write()
        .map_err(RowError::storage)?;
    txn.set_quick_repair(true);
    txn.open_table(ROWS).map_err(RowError::storage)?;
    txn.open_table(LOCAL).map_err(RowError::storage)?;
    txn.commit().map_err(RowError::storage)
}
