//! One group's part of the log: what Raft calls.

mod checksums;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, OnceLock};

use futures_util::{Stream, StreamExt as _, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use redb::ReadableDatabase as _;
use tokio::sync::oneshot;

use crate::bytes_io::Reader;
use crate::error::RowError;
use crate::log::rows::{
    ENTRIES, META, MetaKind, committed_key, decode_entry, entry_key, meta_key, read_log_id,
    read_meta, read_vote,
};
use crate::log::sizes::Sizes;
use crate::log::writer::{NodeLog, Op};
use crate::log::written::Written;
use crate::raft_types::{Entry, LogId, Types, Vote};
use crate::range::ShardId;

/// Entries that one step of a replay from disk reads.
const REPLAY_ENTRIES: u64 = 256;
/// Payload that one read for replication returns, about: one entry may exceed it.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The log of one group. Positions and the newest entries are in memory.
#[derive(Debug)]
pub(crate) struct GroupLog {
    shard: ShardId,
    node_log: NodeLog,
    state: Mutex<State>,
    /// Whom to tell of this node's batches.
    proposer: OnceLock<Arc<Written>>,
}

#[derive(Debug, Default)]
struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Index of the first entry; meaningless while there is none.
    first: u64,
    /// The last entry, or what was purged last.
    last: Option<LogId>,
    /// The newest entries without a hole, up to `last`: at least all that are not durable yet.
    /// Older ones leave once they are durable and applied.
    tail: VecDeque<Entry>,
    /// The last index known to be on disk.
    durable: Option<u64>,
    sizes: Sizes,
    /// Raised by each truncation, so that an append from before it is not counted as durable.
    epoch: u64,
}

impl GroupLog {
    /// Reads the positions of a group from the log file. Blocks.
    pub(crate) fn load(node_log: &NodeLog, shard: ShardId) -> Result<Arc<Self>, RowError> {
        let state = load_state(node_log, shard)?;
        let group = Arc::new(Self {
            shard,
            node_log: node_log.clone(),
            state: Mutex::new(state),
            proposer: OnceLock::new(),
        });
        group.sweep_leftovers()?;
        Ok(group)
    }

    pub(crate) const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The last purged index.
    pub(crate) fn purged(&self) -> Option<u64> {
        self.state.lock().purged.map(|id| id.index)
    }

    /// The index behind which there are at most `bytes` of entries, about; 0 if there are no more.
    pub(crate) fn index_before_last(&self, bytes: u64) -> u64 {
        self.state.lock().sizes.index_before_last(bytes)
    }

    /// From now on the proposer is told when its batches are on disk.
    pub(crate) fn tell(&self, proposer: Arc<Written>) {
        // A log has one proposer in its life.
        drop(self.proposer.set(proposer));
    }

    /// Called by the writer when entries that were queued in `epoch` are on disk.
    pub(super) fn flushed(&self, epoch: u64, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        {
            let mut state = self.state.lock();
            if state.epoch == epoch {
                state.durable = state.durable.max(Some(last.log_id.index));
            }
        }
        if let Some(proposer) = self.proposer.get() {
            proposer.note(entries);
        }
    }

    /// Everything up to `applied` is applied: it need not be kept in memory.
    pub(crate) fn release(&self, applied: u64) {
        let mut state = self.state.lock();
        let upto = state.durable.unwrap_or(0).min(applied);
        while state
            .tail
            .front()
            .is_some_and(|entry| entry.log_id.index <= upto)
        {
            state.tail.pop_front();
        }
    }

    /// Entries of the file at or below the purged position: a crash came between the two.
    fn sweep_leftovers(&self) -> Result<(), RowError> {
        let Some(upto) = self.state.lock().purged else {
            return Ok(());
        };
        let range = entry_key(self.shard, 0)..=entry_key(self.shard, upto.index);
        let txn = self
            .node_log
            .database()
            .get_open()?
            .begin_read()
            .map_err(RowError::storage)?;
        let table = txn.open_table(ENTRIES).map_err(RowError::storage)?;
        let mut rows = table
            .range(range.start().as_slice()..=range.end().as_slice())
            .map_err(RowError::storage)?;
        let Some(first) = rows.next() else {
            return Ok(());
        };
        let (key, _) = first.map_err(RowError::storage)?;
        let from = index_of(key.value())?;
        self.node_log.push(Op::Purge {
            shard: self.shard,
            from,
            last: upto.index,
            upto,
        });
        Ok(())
    }

    /// What of `start..end` is there: the bounds of what only the disk has, and the tail's part.
    fn plan_read(&self, start: u64, end: u64) -> (std::ops::Range<u64>, Vec<Entry>) {
        let state = self.state.lock();
        let (start, end) = (start.max(state.first), end.min(state.next_index()));
        if start >= end {
            return (0..0, Vec::new());
        }
        let tail_start = state.tail.front().map_or(end, |entry| entry.log_id.index);
        let skip = usize::try_from(start.saturating_sub(tail_start)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(tail_start.max(start))).unwrap_or(0);
        let tail = state.tail.iter().skip(skip).take(count).cloned().collect();
        (start..end.min(tail_start.max(start)), tail)
    }

    fn read_disk(&self, range: std::ops::Range<u64>) -> Result<Vec<Entry>, RowError> {
        let txn = self
            .node_log
            .database()
            .get_open()?
            .begin_read()
            .map_err(RowError::storage)?;
        let table = txn.open_table(ENTRIES).map_err(RowError::storage)?;
        let (from, until) = (
            entry_key(self.shard, range.start),
            entry_key(self.shard, range.end),
        );
        let mut entries = Vec::new();
        for row in table
            .range(from.as_slice()..until.as_slice())
            .map_err(RowError::storage)?
        {
            let (key, value) = row.map_err(RowError::storage)?;
            let entry = decode_entry(key.value(), value.value())?;
            let expected = range.start + u64::try_from(entries.len()).unwrap_or(u64::MAX);
            if entry.log_id.index != expected {
                return Err(RowError::undecodable("log: an entry is missing"));
            }
            entries.push(entry);
        }
        if range.start + u64::try_from(entries.len()).unwrap_or(u64::MAX) != range.end {
            return Err(RowError::undecodable("log: an entry is missing"));
        }
        Ok(entries)
    }
}

impl State {
    fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    fn has_entries(&self) -> bool {
        self.last
            .is_some_and(|last| self.purged.is_none_or(|purged| purged.index < last.index))
    }

    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            let index = entry.log_id.index;
            if !self.has_entries() {
                self.first = index;
            } else if index != self.next_index() {
                return Err(io::Error::other("an append would leave a hole in the log"));
            }
            self.last = Some(entry.log_id);
            self.sizes.add(index, payload_bytes(entry));
            self.tail.push_back(entry.clone());
        }
        Ok(())
    }

    /// Removes what is after `last`; what is purged stays so.
    fn truncate_after(&mut self, last: Option<LogId>) {
        let keep = last.or(self.purged);
        if keep.map(|id| id.index) >= self.last.map(|id| id.index) {
            return;
        }
        let next = keep.map_or(0, |id| id.index + 1);
        while self
            .tail
            .back()
            .is_some_and(|entry| entry.log_id.index >= next)
        {
            self.tail.pop_back();
        }
        self.sizes.truncate(next);
        self.last = keep;
        self.durable = self.durable.min(keep.map(|id| id.index));
        self.epoch += 1;
    }

    fn purge(&mut self, upto: LogId) {
        while self
            .tail
            .front()
            .is_some_and(|entry| entry.log_id.index <= upto.index)
        {
            self.tail.pop_front();
        }
        self.sizes.purge(upto.index);
        self.purged = Some(upto);
        self.first = upto.index + 1;
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }
}

/// A group's log, as Raft holds it.
#[derive(Debug, Clone)]
pub(crate) struct LogHandle(pub(crate) Arc<GroupLog>);

impl LogHandle {
    async fn read(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (on_disk, tail) = self.0.plan_read(start, end);
        if on_disk.is_empty() {
            return Ok(tail);
        }
        let group = Arc::clone(&self.0);
        let workers = self.0.node_log.workers();
        let read = workers.run(move || group.read_disk(on_disk)).await;
        let read = read.ok_or_else(|| io::Error::other("reading the log panicked"))?;
        let mut entries = read.map_err(io::Error::other)?;
        entries.extend(tail);
        Ok(entries)
    }
}

impl RaftLogReader<Types> for LogHandle {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let (start, end) = bounds(&range);
        let end = end.min(self.0.state.lock().next_index());
        stream::unfold(start, move |start| {
            let log = log.clone();
            async move {
                if start >= end {
                    return None;
                }
                let until = end.min(start.saturating_add(REPLAY_ENTRIES));
                Some((log.read(start, until).await, until))
            }
        })
        .flat_map(|step| match step {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .boxed()
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut entries = self
            .read(start, end.min(start.saturating_add(REPLAY_ENTRIES)))
            .await?;
        let mut bytes = 0;
        let within = entries.iter().take_while(|entry| {
            let is_within = bytes <= READ_BYTES_MAX;
            bytes += payload_bytes(entry);
            is_within
        });
        let count = within.count();
        entries.truncate(count);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogHandle {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.0.state.lock();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.0.node_log.push(Op::Vote {
            shard: self.0.shard,
            vote: *vote,
            done,
        });
        answer.await.map_err(io::Error::other)??;
        // Only now may a reader of the vote act on it.
        self.0.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.state.lock().committed = committed;
        if let Some(upto) = committed {
            self.0.node_log.push(Op::Committed {
                shard: self.0.shard,
                upto,
            });
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let epoch = {
            let mut state = self.0.state.lock();
            state.append(&entries)?;
            state.epoch
        };
        self.0.node_log.push(Op::Append {
            group: Arc::clone(&self.0),
            epoch,
            entries,
            done,
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let (from, old_last) = {
            let mut state = self.0.state.lock();
            let old_last = state.last.map_or(0, |id| id.index);
            state.truncate_after(last);
            (state.next_index(), old_last)
        };
        self.0.node_log.push(Op::Truncate {
            shard: self.0.shard,
            from,
            last: old_last,
        });
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let (from, last) = {
            let mut state = self.0.state.lock();
            let (from, last) = (state.first, state.last.map_or(0, |id| id.index));
            state.purge(upto);
            (from, last.min(upto.index))
        };
        self.0.node_log.push(Op::Purge {
            shard: self.0.shard,
            from,
            last,
            upto,
        });
        Ok(())
    }
}

fn load_state(node_log: &NodeLog, shard: ShardId) -> Result<State, RowError> {
    let txn = node_log
        .database()
        .get_open()?
        .begin_read()
        .map_err(RowError::storage)?;
    let meta = txn.open_table(META).map_err(RowError::storage)?;
    let position = |value: &[u8]| read_log_id(&mut Reader::new(value));
    let vote = read_meta(&meta, &meta_key(MetaKind::Vote, shard), read_vote)?;
    let purged = read_meta(&meta, &meta_key(MetaKind::Purged, shard), position)?;
    let entries = txn.open_table(ENTRIES).map_err(RowError::storage)?;
    let end = committed_key(shard);
    let committed = read_meta(&entries, &end, position)?;
    let start = purged.map_or(0, |id| id.index + 1);
    let from = entry_key(shard, start);
    let mut rows = entries
        .range(from.as_slice()..end.as_slice())
        .map_err(RowError::storage)?;
    let last = rows.next_back().transpose().map_err(RowError::storage)?;
    let last = last
        .map(|(key, value)| decode_entry(key.value(), value.value()))
        .transpose()?;
    let last = last.map(|entry| entry.log_id);
    let first = rows.next().transpose().map_err(RowError::storage)?;
    let first = first.map(|(key, _)| index_of(key.value())).transpose()?;
    // A single entry is the first and the last.
    let first = first.or_else(|| last.map(|id| id.index));
    if let (Some(purged), Some(first)) = (purged, first)
        && first != purged.index + 1
    {
        return Err(RowError::undecodable("log: an entry is missing"));
    }
    Ok(State {
        vote,
        committed,
        purged,
        first: first.unwrap_or(start),
        last: last.or(purged),
        tail: VecDeque::new(),
        durable: last.map(|id| id.index),
        sizes: Sizes::default(),
        epoch: 0,
    })
}

fn index_of(entry_key: &[u8]) -> Result<u64, RowError> {
    let index = entry_key.get(8..).and_then(|index| index.try_into().ok());
    index
        .map(u64::from_be_bytes)
        .ok_or(RowError::undecodable("log entry"))
}

/// Bytes of the commands of an entry.
pub(crate) fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}
