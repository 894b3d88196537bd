//! The writer thread: drains what every group queued into one transaction.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use redb::{Durability, WriteTransaction};
use tokio::sync::oneshot;

use crate::checksum::{SealedTable, Tag, insert_sealed};
use crate::database::{Disk, SharedDatabase};
use crate::error::{OpenError, RowError};
use crate::fence::Fence;
use crate::log::group::GroupLog;
use crate::log::rows::{
    ENTRIES, META, MetaKind, committed_key, encode_log_id, encode_vote, entry_key, insert_entry,
    meta_key,
};
use crate::raft_types::{Entry, LogId, Types, Vote};
use crate::range::ShardId;

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
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        done: oneshot::Sender<io::Result<()>>,
    },
}

/// The log file and its writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeLog {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    database: SharedDatabase,
    fence: Fence,
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// Bounded by what the proposers of all groups may have in flight.
#[derive(Default)]
struct Queue {
    ops: Vec<Op>,
    is_urgent: bool,
    is_closed: bool,
}

impl std::fmt::Debug for NodeLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeLog")
    }
}

impl NodeLog {
    /// Opens or makes the log file and starts its writer.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
        fence: Fence,
    ) -> Result<Self, OpenError> {
        let database = SharedDatabase::open(disk, path, cache_bytes)?;
        make_tables(&database)?;
        let shared = Arc::new(Shared {
            database,
            fence,
            queue: Mutex::default(),
            wake: Condvar::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            sweeps: VecDeque::new(),
        };
        let thread = std::thread::Builder::new()
            .name("tessera-log".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::io(path, source))?;
        Ok(Self {
            shared,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    pub(crate) fn database(&self) -> &SharedDatabase {
        &self.shared.database
    }

    /// Puts an operation in line. After a failure or the close it is answered with an error.
    pub(super) fn push(&self, op: Op) {
        let mut queue = self.shared.queue.lock();
        if queue.is_closed {
            drop(queue);
            op.fail("the log is closed");
            return;
        }
        let is_urgent = !matches!(op, Op::Committed { .. });
        queue.ops.push(op);
        if is_urgent && !queue.is_urgent {
            queue.is_urgent = true;
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Writes meta rows, durable on return.
    pub(crate) async fn write_meta(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.push(Op::Meta { rows, done });
        answer
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the log writer ended")))
    }

    /// Takes nothing any more; the thread writes what is queued and ends.
    pub(crate) fn begin_close(&self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.wake.notify_one();
    }

    /// Writes what is queued and ends the thread. Blocks; the file stays open for readers.
    pub(crate) fn close(&self) {
        self.begin_close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            self.shared
                .fence
                .trip("ending the log writer", &"the thread panicked");
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// Purged entries that are still in the file: shard, next index, last index.
    sweeps: VecDeque<(ShardId, u64, u64)>,
}

impl Writer {
    fn run(mut self) {
        while let Some(ops) = self.shared.next(!self.sweeps.is_empty()) {
            if self.shared.fence.is_tripped() {
                self.sweeps.clear();
                ops.into_iter().for_each(|op| op.fail("the node is fenced"));
                continue;
            }
            let written = catch_unwind(AssertUnwindSafe(|| self.write(&ops)));
            match written {
                Ok(Ok(())) => ops.into_iter().for_each(Op::complete),
                Ok(Err(error)) => self.fail(ops, &error),
                Err(_panic) => self.fail(ops, &"a panic"),
            }
        }
    }

    fn fail(&self, ops: Vec<Op>, error: &dyn std::fmt::Display) {
        self.shared.fence.trip("writing the log", error);
        let text = error.to_string();
        ops.into_iter().for_each(|op| op.fail(&text));
    }

    fn write(&mut self, ops: &[Op]) -> Result<(), RowError> {
        let database = self.shared.database.get_open()?;
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

impl Shared {
    /// Everything queued, once there is something to write; `None` at the end.
    fn next(&self, has_sweeps: bool) -> Option<Vec<Op>> {
        let mut queue = self.queue.lock();
        while !queue.is_urgent && !queue.is_closed && !has_sweeps {
            self.wake.wait(&mut queue);
        }
        queue.is_urgent = false;
        let ops = std::mem::take(&mut queue.ops);
        (!queue.is_closed || !ops.is_empty()).then_some(ops)
    }
}

impl Op {
    /// Whether it writes to the meta table.
    const fn is_meta(&self) -> bool {
        match self {
            Self::Vote { .. } | Self::Purge { .. } | Self::Meta { .. } => true,
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
                if let Some(last) = entries.last() {
                    group.flushed(epoch, last.log_id.index);
                }
                done.io_completed(Ok(()));
            }
            // A receiver that is gone no longer waits for its answer.
            Self::Vote { done, .. } | Self::Meta { done, .. } => drop(done.send(Ok(()))),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Committed { .. } => {}
        }
    }

    fn fail(self, text: &str) {
        let error = io::Error::other(text.to_owned());
        match self {
            Self::Append { done, .. } => done.io_completed(Err(error)),
            Self::Vote { done, .. } | Self::Meta { done, .. } => drop(done.send(Err(error))),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Committed { .. } => {}
        }
    }
}

fn write_committed(table: &mut SealedTable<'_>, ops: &[Op]) -> Result<(), RowError> {
    // The last position of each group is enough.
    let mut committed = HashMap::new();
    for op in ops {
        if let Op::Committed { shard, upto } = op {
            committed.insert(*shard, *upto);
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
    for op in ops {
        match op {
            Op::Vote { shard, vote, .. } => {
                insert(&meta_key(MetaKind::Vote, *shard), &encode_vote(vote))?;
            }
            Op::Purge { shard, upto, .. } => {
                insert(&meta_key(MetaKind::Purged, *shard), &encode_log_id(upto))?;
            }
            Op::Meta { rows, .. } => {
                rows.iter()
                    .try_for_each(|(key, value)| insert(key, value))?;
            }
            Op::Append { .. } | Op::Truncate { .. } | Op::Committed { .. } => {}
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
