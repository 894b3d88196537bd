//! Taking in a snapshot: a group's rows are replaced in bounded transactions.
//!
//! `marked` → `clearing` → `filling` → `done`. The mark is durable before the first row goes, and
//! says which spool the rows come from; the last commit makes everything durable and clears it. A
//! crash in between begins again from the spool. Other groups of the stripe go on between the steps.

use std::sync::Arc;

use redb::{Database, Durability};

use crate::bytes_io::Reader;
use crate::error::RowError;
use crate::machine::{RowsMut as _, Scope};
use crate::raft_types::SnapshotMeta;
use crate::range::KeyRange;
use crate::state::group::{Core, Group, KEY_INSTALLING};
use crate::state::rows::{Area, Extent, Tables, View};
use crate::state::spool::{RecordArea, Spool, SpoolReader, read_header};

/// Rows that one transaction removes or writes.
const STEP_ROWS: usize = 1000;
/// Bytes that one transaction writes, about; one row may exceed it.
const STEP_BYTES: usize = 1024 * 1024;

const DAMAGED: RowError = RowError::undecodable("snapshot");

/// What the mark says: which snapshot, and the spool that it is in.
pub(super) struct Mark {
    pub(super) meta: SnapshotMeta,
    pub(super) len: u64,
    pub(super) check: u32,
}

impl Mark {
    fn encode(&self) -> Result<Vec<u8>, RowError> {
        let mut out = self.len.to_le_bytes().to_vec();
        out.extend_from_slice(&self.check.to_le_bytes());
        postcard::to_extend(&self.meta, out)
            .map_err(|error| RowError::Storage(error.to_string().into()))
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (len, check) = (reader.u64()?, reader.u32()?);
        let meta = postcard::from_bytes(reader.rest()).ok()?;
        Some(Self { meta, len, check })
    }
}

/// A snapshot on its way into a group's rows.
pub(super) struct Installing {
    group: Arc<Group>,
    meta: SnapshotMeta,
    spool: Spool,
    reader: SpoolReader,
    /// The extent that the snapshot has, and the group's time.
    extent: Extent,
    time_ms: u64,
    /// Keys whose rows go: of the old and the new extent, without those of other groups here.
    to_clear: Vec<KeyRange>,
    stage: Stage,
}

enum Stage {
    Marking,
    Clearing,
    Filling,
    Done,
}

impl Installing {
    /// `others` are the ranges of the other groups of this node.
    pub(super) fn new(
        group: Arc<Group>,
        meta: SnapshotMeta,
        spool: Spool,
        others: &[Arc<KeyRange>],
    ) -> Result<Self, RowError> {
        let mut reader = spool.reader();
        let header = reader.next()?.ok_or(DAMAGED)?;
        if header.area != RecordArea::Header {
            return Err(DAMAGED);
        }
        let old = group.extent();
        let (time_ms, extent) = read_header(&old, &header.value)?;
        let to_clear = [&old.range, &extent.range]
            .into_iter()
            .flat_map(|range| range.without(others))
            .collect();
        group.set_installing(true);
        Ok(Self {
            group,
            meta,
            spool,
            reader,
            extent,
            time_ms,
            to_clear,
            stage: Stage::Marking,
        })
    }

    /// Does a bounded part of the work; `true` once everything is in the file, durably.
    pub(super) fn step(&mut self, database: &Database) -> Result<bool, RowError> {
        match self.stage {
            Stage::Marking => {
                let mark = Mark {
                    meta: self.meta.clone(),
                    len: self.spool.len,
                    check: self.spool.check,
                };
                let mark = mark.encode()?;
                commit(database, true, |tables| {
                    tables.put_engine(&self.extent, KEY_INSTALLING, &mark)
                })?;
                self.stage = Stage::Clearing;
            }
            Stage::Clearing => {
                let has_more = commit(database, false, |tables| {
                    tables.clear_some(&self.extent, &self.to_clear, KEY_INSTALLING, STEP_ROWS)
                })?;
                if !has_more {
                    self.stage = Stage::Filling;
                }
            }
            Stage::Filling => {
                let reader = &mut self.reader;
                let extent = &self.extent;
                let has_more = commit(database, false, |tables| fill_some(tables, reader, extent))?;
                if !has_more {
                    self.finish(database)?;
                    self.stage = Stage::Done;
                }
            }
            Stage::Done => {}
        }
        Ok(matches!(self.stage, Stage::Done))
    }

    /// Positions, and the end of the mark, in one durable commit with all that came before.
    fn finish(&self, database: &Database) -> Result<(), RowError> {
        let core = Core::at(
            self.extent.clone(),
            self.meta.last_log_id,
            self.meta.last_membership.clone(),
            self.time_ms,
        );
        commit(database, true, |tables| {
            core.save_extent(tables)?;
            core.save_applied(tables)?;
            core.save_membership(tables)?;
            tables.delete_engine(&self.extent, KEY_INSTALLING)
        })
    }

    /// After the last step: the group goes on with what is in the file now.
    pub(super) fn adopt(&self, database: &Database) -> Result<(), RowError> {
        let view = View::now(database, self.extent.clone())?;
        self.group.replace_core(Core::load(&view)?);
        self.group.publish();
        self.group.machine.opened(&view)?;
        self.group.set_installing(false);
        Ok(())
    }

    pub(super) fn into_spool(self) -> Spool {
        self.spool
    }
}

/// Removes every row of a group but those that others own, in bounded transactions.
pub(super) fn clear(
    database: &Database,
    extent: &Extent,
    others: &[Arc<KeyRange>],
) -> Result<(), RowError> {
    let ranges = extent.range.without(others);
    while commit(database, false, |tables| {
        tables.clear_some(extent, &ranges, &[], STEP_ROWS)
    })? {}
    Ok(())
}

/// Writes rows of the spool; `true` if there may be more.
fn fill_some(
    tables: &mut Tables<'_>,
    reader: &mut SpoolReader,
    extent: &Extent,
) -> Result<bool, RowError> {
    let mut bytes = 0;
    for _ in 0..STEP_ROWS {
        let Some(record) = reader.next()? else {
            return Ok(false);
        };
        bytes += record.key.len() + record.value.len();
        match record.area {
            RecordArea::Header => return Err(DAMAGED),
            RecordArea::Engine => {
                tables.put_area(extent, Area::Engine, &record.key, &record.value)?;
            }
            RecordArea::Machine => {
                tables.put_area(extent, Area::Machine, &record.key, &record.value)?;
            }
            RecordArea::Tenants => {
                let mut rows = tables.of(extent, Scope::Group);
                rows.put(&record.key, &record.value)?;
            }
        }
        if bytes >= STEP_BYTES {
            break;
        }
    }
    Ok(true)
}

fn commit<T>(
    database: &Database,
    is_durable: bool,
    work: impl FnOnce(&mut Tables<'_>) -> Result<T, RowError>,
) -> Result<T, RowError> {
    let mut txn = database.begin_write().map_err(RowError::storage)?;
    let durability = if is_durable {
        Durability::Immediate
    } else {
        Durability::None
    };
    txn.set_durability(durability).map_err(RowError::storage)?;
    txn.set_quick_repair(is_durable);
    let mut tables = Tables::open(&txn)?;
    let worked = work(&mut tables)?;
    drop(tables);
    txn.commit().map_err(RowError::storage)?;
    Ok(worked)
}
