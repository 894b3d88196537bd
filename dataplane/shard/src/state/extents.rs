//! What a state file says of the extents of its groups.

use std::sync::Arc;

use redb::ReadTransaction;

use crate::bytes_io::Reader;
use crate::checksum::Tag;
use crate::error::RowError;
use crate::machine::Visit;
use crate::range::{RangeRecord, ShardId};
use crate::state::group::{Core, KEY_EXTENT, KEY_INSTALLING};
use crate::state::rows::{Area, Extent, LOCAL, View, damaged, get_local, scan_rows};

/// A group that a split made.
#[derive(Debug, Clone)]
pub(crate) struct Birth {
    pub(crate) parent: ShardId,
    pub(crate) extent: Extent,
}

impl View {
    /// The applied index and the extent as of the view; `None` if nothing was applied.
    pub(crate) fn position(&self) -> Result<Option<(u64, Extent)>, RowError> {
        let core = Core::load(self)?;
        Ok(core.applied.map(|applied| (applied.index, core.extent)))
    }

    /// Whether an engine row says something of this replica only, or what others say elsewhere.
    pub(crate) fn is_of_this_replica(key: &[u8]) -> bool {
        key == KEY_INSTALLING || key == KEY_EXTENT
    }

    /// The same rows, cut to another extent.
    pub(crate) fn within(&self, extent: &Extent) -> Within<'_> {
        Within {
            view: self,
            extent: extent.clone(),
        }
    }
}

/// A view that is cut to an extent.
pub(crate) struct Within<'a> {
    view: &'a View,
    extent: Extent,
}

impl Within<'_> {
    pub(crate) fn scan(
        &self,
        from: &[u8],
        until: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), RowError> {
        let View {
            rows, until: at, ..
        } = self.view;
        scan_rows(rows, &self.extent, (from, until), *at, visit)
    }
}

/// The extents that are stored with their groups.
pub(super) fn stored_extents(txn: &ReadTransaction) -> Result<Vec<Extent>, RowError> {
    let local = txn.open_table(LOCAL).map_err(RowError::storage)?;
    let (mut extents, mut from) = (Vec::new(), 0u64);
    loop {
        let bytes = from.to_be_bytes();
        let mut rows = local
            .range::<&[u8]>(bytes.as_slice()..)
            .map_err(RowError::storage)?;
        let Some(row) = rows.next() else {
            return Ok(extents);
        };
        let (key, _) = row.map_err(RowError::storage)?;
        let shard = Reader::new(key.value()).u64_be();
        let shard = shard.ok_or(damaged(Tag::Local))?;
        let unknown = Extent {
            shard: ShardId::from_u64(shard),
            range: Arc::default(),
            epoch: 0,
        };
        if let Some(value) = get_local(&local, &unknown, Area::Engine, KEY_EXTENT)? {
            let extent = read_extent(unknown.shard, &value);
            extents.push(extent.ok_or(damaged(Tag::Local))?);
        }
        let Some(next) = shard.checked_add(1) else {
            return Ok(extents);
        };
        from = next;
    }
}

/// What is stored as a group's extent.
pub(super) fn read_extent(shard: ShardId, value: &[u8]) -> Option<Extent> {
    let record = RangeRecord::decode(shard, value)?;
    Some(Extent {
        shard: record.shard,
        range: Arc::new(record.range),
        epoch: record.epoch,
    })
}
