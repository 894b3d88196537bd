//! One group's state: applies entries to its rows and remembers how far it is.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use parking_lot::Mutex;
use redb::ReadTransaction;

use crate::batch::{BatchHeader, Commands, EncodedBatch};
use crate::bytes_io::Reader;
use crate::dedupe::{Proposers, Verdict};
use crate::error::{OpenError, RowError};
use crate::machine::{ApplyContext, StateMachine};
use crate::raft_types::{BatchReply, Entry, LogId, Membership, StoredMembership, log_id};
use crate::state::rows::{Area, Extent, Tables, View};

/// Engine rows of a group: how far it has applied, its members, whether a snapshot is half
/// installed, and (`p` and 9 bytes) the answers by proposer.
pub(super) const KEY_APPLIED: &[u8] = b"a";
pub(super) const KEY_MEMBERSHIP: &[u8] = b"m";
pub(super) const KEY_INSTALLING: &[u8] = b"i";
const KEY_ANSWERS: &[u8] = b"p";
const KEY_ANSWERS_END: &[u8] = b"q";

/// A replica's state on this node.
pub(crate) struct Group {
    pub(crate) extent: Extent,
    pub(crate) machine: Arc<dyn StateMachine>,
    /// Changed by the stripe's thread only.
    core: Mutex<Core>,
    /// The last durable commit, held open: a snapshot is a handle to it.
    pub(super) durable: Mutex<Option<Durable>>,
}

/// What a group remembers besides the machine's rows. On disk in the same transaction as them.
#[derive(Debug, Default)]
pub(super) struct Core {
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
    pub(super) txn: Arc<ReadTransaction>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("shard", &self.extent.shard)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Reads a group's state from an opened stripe and lets the machine rebuild its memory.
    pub(super) fn load(
        extent: Extent,
        machine: Arc<dyn StateMachine>,
        txn: Arc<ReadTransaction>,
    ) -> Result<Self, OpenError> {
        let view = View::at(&txn, extent.clone())?;
        if view.get_engine(KEY_INSTALLING)?.is_some() {
            return Err(OpenError::InterruptedInstall {
                shard: extent.shard,
            });
        }
        let core = Core::load(&view)?;
        machine.opened(&view)?;
        let durable = Durable {
            applied: core.applied,
            membership: core.membership.clone(),
            txn,
        };
        Ok(Self {
            extent,
            machine,
            core: Mutex::new(core),
            durable: Mutex::new(Some(durable)),
        })
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
        core.save_applied(tables, &self.extent)?;
        Ok(replies)
    }

    /// Takes over what an installed snapshot says.
    pub(super) fn replace_core(&self, core: Core) {
        *self.core.lock() = core;
    }

    /// Remembers that everything applied so far is on disk as of `txn`.
    pub(super) fn set_durable(&self, txn: Arc<ReadTransaction>) {
        let (applied, membership) = self.applied();
        *self.durable.lock() = Some(Durable {
            applied,
            membership,
            txn,
        });
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
                core.save_membership(tables, &self.extent)?;
                Ok(BatchReply::Nothing)
            }
            EntryPayload::Normal(batch) => self.apply_batch(core, tables, entry.log_id, batch),
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
            Verdict::Repeat(Some(answers)) => return Ok(BatchReply::Answers(answers)),
            Verdict::Repeat(None) => return Ok(BatchReply::Forgotten),
            Verdict::Gap { expected } => return Ok(BatchReply::Gap { expected }),
            Verdict::Stale => return Ok(BatchReply::Stale),
        }
        core.time_ms = core.time_ms.max(header.time_ms);
        let answers = self.apply_commands(tables, id, core.time_ms, commands)?;
        core.save_answers(tables, &self.extent, &header, &answers)?;
        Ok(BatchReply::Answers(answers))
    }

    fn apply_commands(
        &self,
        tables: &mut Tables<'_>,
        id: LogId,
        time_ms: u64,
        commands: Commands<'_>,
    ) -> Result<Vec<Bytes>, RowError> {
        let apply = |(ordinal, command): (u32, Option<_>)| {
            let (scope, command) = command.ok_or(RowError::undecodable("batch"))?;
            let cx = ApplyContext {
                shard: self.extent.shard,
                index: id.index,
                ordinal,
                time_ms,
            };
            self.machine
                .apply(&cx, &mut tables.of(&self.extent, scope), scope, command)
        };
        (0..).zip(commands).map(apply).collect()
    }
}

impl Core {
    pub(super) fn load(view: &View) -> Result<Self, RowError> {
        const DAMAGED: RowError = RowError::undecodable("group position");
        let mut core = Self::default();
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

    pub(super) fn save_applied(
        &self,
        tables: &mut Tables<'_>,
        extent: &Extent,
    ) -> Result<(), RowError> {
        let Some(applied) = self.applied else {
            return Ok(());
        };
        let mut value = [0; 24];
        value[..8].copy_from_slice(&applied.leader_id.term.to_le_bytes());
        value[8..16].copy_from_slice(&applied.index.to_le_bytes());
        value[16..].copy_from_slice(&self.time_ms.to_le_bytes());
        tables.put_engine(extent, KEY_APPLIED, &value)
    }

    pub(super) fn save_membership(
        &self,
        tables: &mut Tables<'_>,
        extent: &Extent,
    ) -> Result<(), RowError> {
        let id = self.membership.log_id();
        let mut value = vec![u8::from(id.is_some())];
        if let Some(id) = id {
            value.extend_from_slice(&id.leader_id.term.to_le_bytes());
            value.extend_from_slice(&id.index.to_le_bytes());
        }
        let members = postcard::to_stdvec(self.membership.membership())
            .map_err(|error| RowError::Storage(error.to_string().into()))?;
        value.extend_from_slice(&members);
        tables.put_engine(extent, KEY_MEMBERSHIP, &value)
    }

    fn save_answers(
        &mut self,
        tables: &mut Tables<'_>,
        extent: &Extent,
        header: &BatchHeader,
        answers: &[Bytes],
    ) -> Result<(), RowError> {
        let row = self.proposers.record(header, answers);
        tables.put_engine(extent, &[KEY_ANSWERS, &row.key].concat(), &row.value)
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
