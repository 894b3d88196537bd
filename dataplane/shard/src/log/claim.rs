//! What the log file says about the folder: whose it is, and which ranges it has.

use std::io;

use redb::{Database, ReadableDatabase as _};
use tessera_tenancy::{ClusterId, Incarnation, NodeId};

use crate::bytes_io::Reader;
use crate::checksum::{Tag, insert_sealed, unseal};
use crate::error::RowError;
use crate::log::rows::{META, NODE_KEY, range_key, range_prefix, read_meta, tombstone_key};
use crate::log::writer::NodeLog;
use crate::raft_types::{LogId, log_id};
use crate::range::{RangeRecord, ShardId, StoreKind};

/// Whose folder it is, and its last incarnation; `None` for a new one.
pub(crate) fn read_claim(
    database: &Database,
) -> Result<Option<(NodeId, ClusterId, Incarnation)>, RowError> {
    let txn = database.begin_read().map_err(RowError::storage)?;
    let table = txn.open_table(META).map_err(RowError::storage)?;
    read_meta(&table, NODE_KEY, |value| {
        let mut reader = Reader::new(value);
        let node = NodeId(reader.u64()?);
        let cluster = ClusterId::from_bytes(reader.array()?);
        let incarnation = Incarnation(reader.u64()?);
        reader.is_empty().then_some((node, cluster, incarnation))
    })
}

/// Makes the folder this node's, durable on return. Blocks.
pub(crate) fn write_claim(
    database: &Database,
    node: NodeId,
    cluster: ClusterId,
    incarnation: Incarnation,
) -> Result<(), RowError> {
    let txn = database.begin_write().map_err(RowError::storage)?;
    let mut table = txn.open_table(META).map_err(RowError::storage)?;
    let (node, incarnation) = (node.0.to_le_bytes(), incarnation.0.to_le_bytes());
    insert_sealed(
        &mut table,
        Tag::Meta,
        NODE_KEY,
        &[&node, cluster.as_bytes(), &incarnation],
    )
    .map_err(RowError::storage)?;
    drop(table);
    txn.commit().map_err(RowError::storage)
}

/// The recorded ranges of a kind in key order; none before they were made.
pub(crate) fn read_ranges(
    database: &Database,
    kind: StoreKind,
) -> Result<Vec<RangeRecord>, RowError> {
    const DAMAGED: RowError = RowError::undecodable("key range");
    let txn = database.begin_read().map_err(RowError::storage)?;
    let table = txn.open_table(META).map_err(RowError::storage)?;
    let prefix = range_prefix(kind);
    let mut end = prefix;
    end[1] += 1;
    let mut records = Vec::new();
    for row in table
        .range(prefix.as_slice()..end.as_slice())
        .map_err(RowError::storage)?
    {
        let (key, value) = row.map_err(RowError::storage)?;
        let value = unseal(Tag::Meta, key.value(), value.value()).ok_or(DAMAGED)?;
        records.push(read_range(key.value(), value).ok_or(DAMAGED)?);
    }
    records.sort_by(|a: &RangeRecord, b| a.range.start().cmp(b.range.start()));
    Ok(records)
}

fn read_range(key: &[u8], value: &[u8]) -> Option<RangeRecord> {
    let shard = ShardId::from_u64(u64::from_be_bytes(key.get(2..)?.try_into().ok()?));
    RangeRecord::decode(shard, value)
}

/// Since which change of its members this node is not in a group; `None` if it never left it.
pub(crate) fn read_tombstone(
    database: &Database,
    shard: ShardId,
) -> Result<Option<LogId>, RowError> {
    let txn = database.begin_read().map_err(RowError::storage)?;
    let table = txn.open_table(META).map_err(RowError::storage)?;
    read_meta(&table, &tombstone_key(shard), |value| {
        let mut reader = Reader::new(value);
        let index = reader.u64()?;
        // The form before had no term.
        let term = if reader.is_empty() { 0 } else { reader.u64()? };
        reader.is_empty().then_some(log_id(term, index))
    })
}

impl NodeLog {
    /// This node leaves a group since a change of its members: nothing of it is left in the log but
    /// that. Durable on return.
    pub(crate) async fn bury(
        &self,
        kind: StoreKind,
        shard: ShardId,
        since: LogId,
    ) -> io::Result<()> {
        let value = [
            since.index.to_le_bytes(),
            since.leader_id.term.to_le_bytes(),
        ];
        let rows = vec![
            (tombstone_key(shard).to_vec(), Some(value.concat())),
            (range_key(kind, shard).to_vec(), None),
        ];
        self.forget(shard, rows).await
    }

    /// Records the ranges of a kind, all or none, durable on return.
    pub(crate) async fn write_ranges(
        &self,
        kind: StoreKind,
        records: &[RangeRecord],
    ) -> io::Result<()> {
        let row = |record: &RangeRecord| {
            let key = range_key(kind, record.shard).to_vec();
            (key, Some(record.encode()))
        };
        self.write_meta(records.iter().map(row).collect()).await
    }
}
