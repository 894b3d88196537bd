//! The writer: drains what every group queued into one transaction.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use redb::{Durability, WriteTransaction};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::checksum::{SealedTable, Tag, insert_sealed};
use crate::database::SharedDatabase;
use crate::disk::Storage;
use crate::error::{OpenError, RowError};
use crate::fence::Fence;
use crate::log::group::GroupLog;
use crate::log::rows::{
    ENTRIES, META, MetaKind, committed_key, encode_log_id, encode_vote, entry_key, insert_entry,
    meta_key,
};
use crate::raft_types::{Entry, LogId, Types, Vote};
use crate::range::ShardId;
use crate::workers::{Lane, Work, Worker, Workers};

/// Purged entries that are removed per transaction. Removing costs as much as inserting; a large
/// purge is spread so that no append waits for it.
const SWEEP_ROWS: u64 = 1024;

/// An operation on the log file, written in the order of the queue.
pub(crate) enum Op {
    Append {
        group: Arc<GroupLog>,
        /// See [`GroupLog::flushed`].
        epoch: u64,
        entries: Vec<Entry>,
        done: IOFlushed<Types>,
    },
    Truncate {
        shard: ShardId,
        from: u64,
        last: u64,
    },
    Purge {
        shard: ShardId,
        /// First and last entry that the file may have of what is purged.
        from: u64,
        last: u64,
        upto: LogId,
    },
    Vote {
        shard: ShardId,
        vote: Vote,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Rides along with the next operation: it is no promise to anybody.
    Committed { shard: ShardId, upto: LogId },
    Meta {
        rows: Vec<MetaChange>,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Everything of a group goes, and meta rows change with it.
    Forget {
        shard: ShardId,
        rows: Vec<MetaChange>,
        done: oneshot::Sender<io::Result<()>>,
    },
}

/// The log file and its writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeLog {
    database: SharedDatabase,
    fence: Fence,
    workers: Workers,
    /// Bounded by what the proposers of all groups may have in flight.
    lane: Lane<Op>,
    worker: Arc<Worker>,
}

impl std::fmt::Debug for NodeLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeLog")
    }
}

impl NodeLog {
    /// Opens or makes the log file and starts its writer.
    pub(crate) fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        workers: Workers,
        fence: Fence,
    ) -> Result<Self, OpenError> {
        let database = SharedDatabase::open(storage, path, cache_bytes, make_tables)?;
        let lane = Lane::new(workers);
        let writer = Writer {
            database: database.clone(),
            fence: fence.clone(),
            sweeps: VecDeque::new(),
        };
        let worker = lane
            .start("tessera-log", storage, writer)
            .map_err(|source| OpenError::io(path, source))?;
        Ok(Self {
            database,
            fence,
            workers,
            lane,
            worker: Arc::new(worker),
        })
    }

    pub(crate) const fn database(&self) -> &SharedDatabase {
        &self.database
    }

    pub(crate) const fn workers(&self) -> Workers {
        self.workers
    }

    /// Puts an operation in line. After a failure or the close it is answered with an error.
    pub(super) fn push(&self, op: Op) {
        let is_urgent = !matches!(op, Op::Committed { .. });
        if let Err(op) = self.lane.push(op, is_urgent) {
            op.fail("the log is closed");
        }
    }

    /// Writes meta rows (`None` removes one), durable on return.
    pub(crate) async fn write_meta(&self, rows: Vec<MetaChange>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.push(Op::Meta { rows, done });
        answer
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the log writer ended")))
    }

    /// Removes everything of a group, and changes meta rows with it; durable on return.
    pub(crate) async fn forget(&self, shard: ShardId, rows: Vec<MetaChange>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.push(Op::Forget { shard, rows, done });
        answer
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the log writer ended")))
    }

    /// Takes nothing any more; the writer writes what is queued and ends.
    pub(crate) fn begin_close(&self) {
        self.lane.begin_close();
    }

    /// Writes what is queued and ends the writer. The file stays open for readers.
    pub(crate) async fn close(&self) {
        self.begin_close();
        if let Err(panicked) = self.worker.join().await {
            self.fence.trip("ending the log writer", &panicked);
        }
    }
}

/// A row of the meta table and its new value.
pub(crate) type MetaChange = (Vec<u8>, Option<Vec<u8>>);

struct Writer {
    database: SharedDatabase,
    fence: Fence,
    /// Purged entries that are still in the file: shard, next index, last index.
    sweeps: VecDeque<(ShardId, u64, u64)>,
}

impl Work for Writer {
    type Item = Op;
    /// The operations, and why they failed if they did.
    type Done = (Vec<Op>, Result<(), String>);

    fn due_at(&self) -> Option<Instant> {
        (!self.sweeps.is_empty()).then(Instant::now)
    }

    fn work(&mut self, ops: Vec<Op>) -> Self::Done {
        if self.fence.is_tripped() {
            self.sweeps.clear();
            return (ops, Err("the node is fenced".into()));
        }
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&ops)));
        let written = match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_panic) => Err("a panic".into()),
        };
        if let Err(error) = &written {
            self.fence.trip("writing the log", error);
        }
        (ops, written)
    }

    fn finish(&mut self, (ops, written): Self::Done) {
        match written {
            Ok(()) => ops.into_iter().for_each(Op::complete),
            Err(text) => ops.into_iter().for_each(|op| op.fail(&text)),
        }
    }
}

impl Writer {
    fn write(&mut self, ops: &[Op]) -> Result<(), RowError> {
        let database = self.database.get_open()?;
        let mut txn = database.begin_write().map_err(RowError::storage)?;
        txn.set_durability(Durability::Immediate)
            .map_err(RowError::storage)?;
        self.write_entries(&txn, ops)?;
        if ops.iter().any(Op::is_meta) {
            write_meta(&txn, ops)?;
        }
        txn.commit().map_err(RowError::storage)
    }

    fn write_entries(&mut self, txn: &WriteTransaction, ops: &[Op]) -> Result<(), RowError> {
        let mut table = txn.open_table(ENTRIES).map_err(RowError::storage)?;
        for op in ops {
            match op {
                Op::Append { group, entries, .. } => {
                    for entry in entries {
                        insert_entry(&mut table, group.shard(), entry)?;
                    }
                }
                Op::Truncate { shard, from, last } => {
                    remove_entries(&mut table, *shard, *from, *last)?;
                }
                Op::Purge {
                    shard, from, last, ..
                } => {
                    self.sweeps.push_back((*shard, *from, *last));
                }
                Op::Forget { shard, .. } => {
                    self.sweeps.retain(|(swept, ..)| swept != shard);
                    remove_entries(&mut table, *shard, 0, u64::MAX)?;
                }
                Op::Vote { .. } | Op::Committed { .. } | Op::Meta { .. } => {}
            }
        }
        write_committed(&mut table, ops)?;
        self.sweep(&mut table)
    }

    fn sweep(&mut self, table: &mut SealedTable<'_>) -> Result<(), RowError> {
        let Some((shard, from, last)) = self.sweeps.pop_front() else {
            return Ok(());
        };
        let upto = last.min(from.saturating_add(SWEEP_ROWS - 1));
        remove_entries(table, shard, from, upto)?;
        if upto < last {
            self.sweeps.push_front((shard, upto + 1, last));
        }
        Ok(())
    }
}

impl Op {
    /// Whether it writes to the meta table.
    const fn is_meta(&self) -> bool {
        match self {
            Self::Vote { .. } | Self::Purge { .. } | Self::Meta { .. } | Self::Forget { .. } => {
                true
            }
            Self::Append { .. } | Self::Truncate { .. } | Self::Committed { .. } => false,
        }
    }

    fn complete(self) {
        match self {
            Self::Append {
                group,
                epoch,
                entries,
                done,
            } => {
                group.flushed(epoch, &entries);
                done.io_completed(Ok(()));
            }
            // A receiver that is gone no longer waits for its answer.
            Self::Vote { done, .. } | Self::Meta { done, .. } | Self::Forget { done, .. } => {
                drop(done.send(Ok(())));
            }
            Self::Truncate { .. } | Self::Purge { .. } | Self::Committed { .. } => {}
        }
    }

    fn fail(self, text: &str) {
        let error = io::Error::other(text.to_owned());
        match self {
            Self::Append { done, .. } => done.io_completed(Err(error)),
            Self::Vote { done, .. } | Self::Meta { done, .. } | Self::Forget { done, .. } => {
                drop(done.send(Err(error)));
            }
            Self::Truncate { .. } | Self::Purge { .. } | Self::Committed { .. } => {}
        }
    }
}

fn write_committed(table: &mut SealedTable<'_>, ops: &[Op]) -> Result<(), RowError> {
    // The last position of each group is enough.
    let mut committed = BTreeMap::new();
    for op in ops {
        match op {
            Op::Committed { shard, upto } => {
                committed.insert(*shard, *upto);
            }
            Op::Forget { shard, .. } => {
                committed.remove(shard);
            }
            Op::Append { .. }
            | Op::Truncate { .. }
            | Op::Purge { .. }
            | Op::Vote { .. }
            | Op::Meta { .. } => {}
        }
    }
    for (shard, upto) in committed {
        let (key, value) = (committed_key(shard), encode_log_id(&upto));
        insert_sealed(table, Tag::Meta, &key, &[&value]).map_err(RowError::storage)?;
    }
    Ok(())
}

fn write_meta(txn: &WriteTransaction, ops: &[Op]) -> Result<(), RowError> {
    let mut table = txn.open_table(META).map_err(RowError::storage)?;
    let mut insert = |key: &[u8], value: &[u8]| {
        insert_sealed(&mut table, Tag::Meta, key, &[value]).map_err(RowError::storage)
    };
    let (mut removed, mut forgotten) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Vote { shard, vote, .. } => {
                insert(&meta_key(MetaKind::Vote, *shard), &encode_vote(vote))?;
            }
            Op::Purge { shard, upto, .. } => {
                insert(&meta_key(MetaKind::Purged, *shard), &encode_log_id(upto))?;
            }
            Op::Meta { rows, .. } | Op::Forget { rows, .. } => {
                if let Op::Forget { shard, .. } = op {
                    forgotten.push(*shard);
                }
                for (key, value) in rows {
                    match value {
                        Some(value) => insert(key, value)?,
                        None => removed.push(key),
                    }
                }
            }
            Op::Append { .. } | Op::Truncate { .. } | Op::Committed { .. } => {}
        }
    }
    for key in removed {
        table.remove(key.as_slice()).map_err(RowError::storage)?;
    }
    for shard in forgotten {
        for kind in [MetaKind::Vote, MetaKind::Purged] {
            let key = meta_key(kind, shard);
            table.remove(key.as_slice()).map_err(RowError::storage)?;
        }
    }
    Ok(())
}

fn remove_entries(
    table: &mut SealedTable<'_>,
    shard: ShardId,
    from: u64,
    last: u64,
) -> Result<(), RowError> {
    if from > last {
        return Ok(());
    }
    let (from, last) = (entry_key(shard, from), entry_key(shard, last));
    table
        .retain_in(from.as_slice()..=last.as_slice(), |_, _| false)
        .map_err(RowError::storage)
}

fn make_tables(database: &SharedDatabase) -> Result<(), RowError> {
    let txn = database
        .get_open()?
        .begin_write()
        .map_err(RowError::storage)?;
    txn.open_table(ENTRIES).map_err(RowError::storage)?;
    txn.open_table(META).map_err(RowError::storage)?;
    txn.commit().map_err(RowError::storage)
}
