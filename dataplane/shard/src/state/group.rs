//! One group's state: applies entries to its rows and remembers how far it is.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use openraft::EntryPayload;
use parking_lot::{Mutex, RwLock};
use redb::ReadTransaction;

use crate::batch::{BatchHeader, Commands, EncodedBatch};
use crate::bytes_io::Reader;
use crate::dedupe::{AnswerRow, Proposers, Remembered, Verdict};
use crate::error::{OpenError, ReadError, RowError};
use crate::machine::{ApplyContext, StateMachine};
use crate::raft_types::{BatchReply, Entry, LogId, Membership, StoredMembership, log_id};
use crate::range::{FIRST_EPOCH, RangeRecord, ShardId};
use crate::split::{SplitCommand, beginning};
use crate::state::extents::{Birth, read_extent};
use crate::state::install::Mark;
use crate::state::rows::{Area, Extent, Tables, View};

/// Engine rows of a group: how far it has applied, its members, whether a snapshot is half
/// installed, and (`p` and 9 bytes) the answers by proposer.
pub(super) const KEY_APPLIED: &[u8] = b"a";
pub(super) const KEY_MEMBERSHIP: &[u8] = b"m";
pub(super) const KEY_INSTALLING: &[u8] = b"i";
/// The range and its epoch, once they are others than the group was made with.
pub(super) const KEY_EXTENT: &[u8] = b"e";
const KEY_ANSWERS: &[u8] = b"p";
const KEY_ANSWERS_END: &[u8] = b"q";

/// A replica's state on this node.
pub(crate) struct Group {
    shard: ShardId,
    /// As readers and proposers see it: changed after the commit that changed it.
    extent: RwLock<Extent>,
    pub(crate) machine: Arc<dyn StateMachine>,
    /// Changed by the stripe's thread only.
    core: Mutex<Core>,
    /// The last durable commit, held open: a snapshot is a handle to it.
    pub(super) durable: Mutex<Option<Durable>>,
    /// How often snapshots began and ended to take the place of the rows: odd in between, when rows
    /// are not read.
    replacements: AtomicU64,
    /// The replica has left its group: its rows go.
    is_retired: AtomicBool,
}

/// What a group remembers besides the machine's rows. On disk in the same transaction as them.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) extent: Extent,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    /// Group time: the largest time of any batch.
    pub(super) time_ms: u64,
    proposers: Proposers,
}

/// What is on disk of a group, and its rows as of then.
#[derive(Clone)]
pub(super) struct Durable {
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) extent: Extent,
    pub(super) time_ms: u64,
    pub(super) txn: Arc<ReadTransaction>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Reads a group's state from an opened stripe.
    pub(super) fn load(
        extent: Extent,
        machine: Arc<dyn StateMachine>,
        txn: Arc<ReadTransaction>,
    ) -> Result<Self, OpenError> {
        let shard = extent.shard;
        let view = View::at(&txn, extent)?;
        let core = Core::load(&view)?;
        let durable = core.durable(txn);
        Ok(Self {
            shard,
            extent: RwLock::new(core.extent.clone()),
            machine,
            core: Mutex::new(core),
            durable: Mutex::new(Some(durable)),
            replacements: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
        })
    }

    /// Lets the machine rebuild its memory.
    pub(super) fn open_machine(&self, txn: &ReadTransaction) -> Result<(), RowError> {
        self.machine.opened(&View::at(txn, self.extent())?)
    }

    /// The mark of a snapshot that an earlier life did not finish taking in.
    pub(super) fn interrupted(&self, txn: &ReadTransaction) -> Result<Option<Mark>, RowError> {
        let view = View::at(txn, self.extent())?;
        let Some(mark) = view.get_engine(KEY_INSTALLING)? else {
            return Ok(None);
        };
        Mark::decode(&mark)
            .map(Some)
            .ok_or(RowError::undecodable("mark of a snapshot"))
    }

    pub(crate) fn is_installing(&self) -> bool {
        self.replacements.load(Ordering::Acquire) % 2 == 1
    }

    /// Called by the stripe's thread only.
    pub(crate) fn set_installing(&self, is_installing: bool) {
        if self.is_installing() != is_installing {
            self.replacements.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    pub(crate) fn set_retired(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// Whether the rows are all there: the same number before and after they were looked at.
    pub(super) fn check_readable(&self) -> Result<u64, ReadError> {
        if self.is_retired() {
            return Err(ReadError::NotLeader { leader: None });
        }
        let replacements = self.replacements.load(Ordering::Acquire);
        if replacements % 2 == 1 {
            return Err(ReadError::Installing);
        }
        Ok(replacements)
    }

    /// Whether nothing was applied, and the log from its beginning on could not be: it may have
    /// entries of ranges before the one that the replica was made with.
    pub(crate) fn needs_snapshot(&self) -> bool {
        self.extent.read().epoch > FIRST_EPOCH && self.core.lock().applied.is_none()
    }

    pub(crate) const fn shard(&self) -> ShardId {
        self.shard
    }

    /// Which keys are the group's, as of the last commit.
    pub(crate) fn extent(&self) -> Extent {
        self.extent.read().clone()
    }

    /// Lets readers and proposers see the extent that was committed; `true` if it is another one.
    pub(super) fn publish(&self) -> bool {
        let core = self.core.lock();
        let is_changed = self.extent.read().epoch != core.extent.epoch;
        if is_changed {
            *self.extent.write() = core.extent.clone();
        }
        is_changed
    }

    pub(crate) fn applied(&self) -> (Option<LogId>, StoredMembership) {
        let core = self.core.lock();
        (core.applied, core.membership.clone())
    }

    /// The index up to which the state is on disk.
    pub(crate) fn durable_index(&self) -> Option<u64> {
        self.durable.lock().as_ref()?.applied.map(|id| id.index)
    }

    /// Applies committed entries in order; an answer for each. An error fences the node, after
    /// which this value is not used any more.
    pub(super) fn apply<'e>(
        &self,
        tables: &mut Tables<'_>,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Result<Vec<BatchReply>, RowError> {
        let mut core = self.core.lock();
        let mut replies = Vec::new();
        for entry in entries {
            if core
                .applied
                .is_some_and(|applied| applied.index >= entry.log_id.index)
            {
                return Err(RowError::Storage("an entry was applied twice".into()));
            }
            replies.push(self.apply_entry(&mut core, tables, entry)?);
            core.applied = Some(entry.log_id);
        }
        core.save_applied(tables)?;
        Ok(replies)
    }

    /// Takes over what an installed snapshot says.
    pub(super) fn replace_core(&self, core: Core) {
        *self.core.lock() = core;
    }

    /// Remembers that everything applied so far is on disk as of `txn`; not while rows are being
    /// replaced.
    pub(super) fn set_durable(&self, txn: Arc<ReadTransaction>) {
        let durable = (!self.is_installing()).then(|| self.core.lock().durable(txn));
        *self.durable.lock() = durable;
    }

    fn apply_entry(
        &self,
        core: &mut Core,
        tables: &mut Tables<'_>,
        entry: &Entry,
    ) -> Result<BatchReply, RowError> {
        match &entry.payload {
            EntryPayload::Blank => Ok(BatchReply::Nothing),
            EntryPayload::Membership(members) => {
                core.membership = StoredMembership::new(Some(entry.log_id), members.clone());
                core.save_membership(tables)?;
                Ok(BatchReply::Nothing)
            }
            EntryPayload::Normal(batch) => match SplitCommand::decode(batch) {
                Some(split) => core.split(tables, entry.log_id, &split),
                None => self.apply_batch(core, tables, entry.log_id, batch),
            },
        }
    }

    fn apply_batch(
        &self,
        core: &mut Core,
        tables: &mut Tables<'_>,
        id: LogId,
        batch: &EncodedBatch,
    ) -> Result<BatchReply, RowError> {
        let (header, commands) = batch
            .decode()
            .ok_or(RowError::undecodable("batch of a newer form"))?;
        match core.proposers.judge(&header) {
            Verdict::Next => {}
            Verdict::Repeat(Remembered::Answers(answers)) => {
                return Ok(BatchReply::Answers(answers));
            }
            Verdict::Repeat(Remembered::Forgotten) => return Ok(BatchReply::Forgotten),
            Verdict::Repeat(Remembered::Moved) => return Ok(BatchReply::Moved),
            Verdict::Gap { expected } => return Ok(BatchReply::Gap { expected }),
            Verdict::Stale => return Ok(BatchReply::Stale),
        }
        if header.epoch != core.extent.epoch {
            let row = core.proposers.record_moved(&header);
            core.save_row(tables, &row)?;
            return Ok(BatchReply::Moved);
        }
        core.time_ms = core.time_ms.max(header.time_ms);
        let answers = self.apply_commands(core, tables, id, commands)?;
        core.save_answers(tables, &header, &answers)?;
        Ok(BatchReply::Answers(answers))
    }

    fn apply_commands(
        &self,
        core: &Core,
        tables: &mut Tables<'_>,
        id: LogId,
        commands: Commands<'_>,
    ) -> Result<Vec<Bytes>, RowError> {
        let apply = |(ordinal, command): (u32, Option<_>)| {
            let (scope, command) = command.ok_or(RowError::undecodable("batch"))?;
            let cx = ApplyContext {
                shard: self.shard,
                term: id.leader_id.term,
                index: id.index,
                ordinal,
                time_ms: core.time_ms,
            };
            self.machine
                .apply(&cx, &mut tables.of(&core.extent, scope), scope, command)
        };
        (0..).zip(commands).map(apply).collect()
    }
}

impl Core {
    pub(super) fn at(
        extent: Extent,
        applied: Option<LogId>,
        membership: StoredMembership,
        time_ms: u64,
    ) -> Self {
        Self {
            extent,
            applied,
            membership,
            time_ms,
            proposers: Proposers::default(),
        }
    }

    /// Gives the keys from a key on to a new group in the same file.
    fn split(
        &mut self,
        tables: &mut Tables<'_>,
        id: LogId,
        split: &SplitCommand,
    ) -> Result<BatchReply, RowError> {
        let is_changing = self.membership.membership().get_joint_config().len() > 1;
        if split.epoch != self.extent.epoch || is_changing {
            return Ok(BatchReply::NotSplit);
        }
        let Some((before, after)) = self.extent.range.split(&split.at) else {
            return Ok(BatchReply::NotSplit);
        };
        let shard = ShardId::child(self.extent.shard, id.index);
        let epoch = self.extent.epoch + 1;
        let child = Extent {
            shard,
            range: Arc::new(after),
            epoch,
        };
        let members = self.membership.membership().clone();
        let members = StoredMembership::new(Some(beginning()), members);
        let born = Self::at(child, Some(beginning()), members, self.time_ms);
        born.save_extent(tables)?;
        born.save_applied(tables)?;
        born.save_membership(tables)?;
        tables.copy_machine_rows(&self.extent, &born.extent)?;
        self.extent.range = Arc::new(before);
        self.extent.epoch = epoch;
        self.save_extent(tables)?;
        tables.births.push(Birth {
            parent: self.extent.shard,
            extent: born.extent,
        });
        Ok(BatchReply::Split(shard.as_u64()))
    }

    fn durable(&self, txn: Arc<ReadTransaction>) -> Durable {
        Durable {
            applied: self.applied,
            membership: self.membership.clone(),
            extent: self.extent.clone(),
            time_ms: self.time_ms,
            txn,
        }
    }

    pub(super) fn load(view: &View) -> Result<Self, RowError> {
        const DAMAGED: RowError = RowError::undecodable("group position");
        let membership = StoredMembership::default();
        let mut core = Self::at(view.extent().clone(), None, membership, 0);
        if let Some(value) = view.get_engine(KEY_EXTENT)? {
            core.extent = read_extent(core.extent.shard, &value).ok_or(DAMAGED)?;
        }
        if let Some(value) = view.get_engine(KEY_APPLIED)? {
            (core.applied, core.time_ms) = read_applied(&value).ok_or(DAMAGED)?;
        }
        if let Some(value) = view.get_engine(KEY_MEMBERSHIP)? {
            core.membership = read_membership(&value).ok_or(DAMAGED)?;
        }
        let mut is_whole = true;
        view.scan_area(
            Area::Engine,
            KEY_ANSWERS,
            KEY_ANSWERS_END,
            &mut |key, value| {
                let key = key.get(KEY_ANSWERS.len()..).unwrap_or_default();
                is_whole &= core.proposers.load(key, value).is_some();
                ControlFlow::Continue(())
            },
        )?;
        if !is_whole {
            return Err(RowError::undecodable("answers of a proposer"));
        }
        Ok(core)
    }

    pub(super) fn save_extent(&self, tables: &mut Tables<'_>) -> Result<(), RowError> {
        let record = RangeRecord {
            shard: self.extent.shard,
            epoch: self.extent.epoch,
            stripe: 0,
            range: (*self.extent.range).clone(),
            founders: Vec::new(),
        };
        tables.put_engine(&self.extent, KEY_EXTENT, &record.encode())
    }

    pub(super) fn save_applied(&self, tables: &mut Tables<'_>) -> Result<(), RowError> {
        let Some(applied) = self.applied else {
            return Ok(());
        };
        let mut value = [0; 24];
        value[..8].copy_from_slice(&applied.leader_id.term.to_le_bytes());
        value[8..16].copy_from_slice(&applied.index.to_le_bytes());
        value[16..].copy_from_slice(&self.time_ms.to_le_bytes());
        tables.put_engine(&self.extent, KEY_APPLIED, &value)
    }

    pub(super) fn save_membership(&self, tables: &mut Tables<'_>) -> Result<(), RowError> {
        let id = self.membership.log_id();
        let mut value = vec![u8::from(id.is_some())];
        if let Some(id) = id {
            value.extend_from_slice(&id.leader_id.term.to_le_bytes());
            value.extend_from_slice(&id.index.to_le_bytes());
        }
        let members = postcard::to_stdvec(self.membership.membership())
            .map_err(|error| RowError::Storage(error.to_string().into()))?;
        value.extend_from_slice(&members);
        tables.put_engine(&self.extent, KEY_MEMBERSHIP, &value)
    }

    fn save_answers(
        &mut self,
        tables: &mut Tables<'_>,
        header: &BatchHeader,
        answers: &[Bytes],
    ) -> Result<(), RowError> {
        let row = self.proposers.record(header, answers);
        self.save_row(tables, &row)
    }

    fn save_row(&self, tables: &mut Tables<'_>, row: &AnswerRow) -> Result<(), RowError> {
        let key = [KEY_ANSWERS, &row.key].concat();
        tables.put_engine(&self.extent, &key, &row.value)
    }
}

fn read_applied(value: &[u8]) -> Option<(Option<LogId>, u64)> {
    let mut reader = Reader::new(value);
    let applied = log_id(reader.u64()?, reader.u64()?);
    let time_ms = reader.u64()?;
    reader.is_empty().then_some((Some(applied), time_ms))
}

fn read_membership(value: &[u8]) -> Option<StoredMembership> {
    let mut reader = Reader::new(value);
    let id = match reader.u8()? {
        0 => None,
        1 => Some(log_id(reader.u64()?, reader.u64()?)),
        2.. => return None,
    };
    let members: Membership = postcard::from_bytes(reader.rest()).ok()?;
    Some(StoredMembership::new(id, members))
}
