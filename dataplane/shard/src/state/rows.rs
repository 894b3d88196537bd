//! Rows of one shard inside a stripe's file.
//!
//! - `rows`: whole key (tenant first) → value
//! - `local`: `shard u64 | area u8 | key` → value; area 0 is the engine's, 1 the machine's
//!
//! All values are sealed by a checksum.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable,
    WriteTransaction,
};
use tokio::time::Instant;

use crate::checksum::{Definition, SealedTable, Tag, insert_sealed, unseal};
use crate::error::RowError;
use crate::machine::{Rows, RowsMut, Scope, Visit};
use crate::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::range::{KeyRange, ShardId};
use crate::state::extents::Birth;

pub(crate) const ROWS: Definition = Definition::new("rows");
pub(crate) const LOCAL: Definition = Definition::new("local");

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Which rows of a file belong to a shard. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    pub(crate) shard: ShardId,
    pub(crate) range: Arc<KeyRange>,
    /// Raised whenever the range changes.
    pub(crate) epoch: u64,
}

/// Who owns a local row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Engine,
    Machine,
}

impl Area {
    const fn byte(self) -> u8 {
        match self {
            Self::Engine => 0,
            Self::Machine => 1,
        }
    }
}

/// What a changed row costs in a checkpoint besides its bytes: its page is shared with some others.
const ROW_COST: usize = 512;

/// How long a reader may scan: an open read transaction keeps pages from reuse.
pub(crate) const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Rows between looks at the clock.
const ROWS_PER_CLOCK: usize = 256;

/// Bytes in front of a local key.
const LOCAL_PREFIX_LEN: usize = 9;

impl Extent {
    pub(super) fn local_key(&self, area: Area, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(LOCAL_PREFIX_LEN + key.len());
        out.extend_from_slice(&self.shard.as_u64().to_be_bytes());
        out.push(area.byte());
        out.extend_from_slice(key);
        out
    }

    /// The end of an area's local keys.
    fn local_end(&self, area: Area) -> Vec<u8> {
        let mut end = self.local_key(area, &[]);
        end[LOCAL_PREFIX_LEN - 1] += 1;
        end
    }

    fn check_key(&self, key: &[u8]) -> Result<(), RowError> {
        if self.range.contains(key) {
            return Ok(());
        }
        Err(RowError::OutsideRange { shard: self.shard })
    }
}

/// A shard's rows as they were when the view was taken.
pub(crate) struct View {
    extent: Extent,
    pub(super) rows: ReadTable,
    local: ReadTable,
    /// When scans give up.
    pub(super) until: Option<Instant>,
}

impl View {
    /// The rows as of the last commit.
    pub(crate) fn now(database: &Database, extent: Extent) -> Result<Self, RowError> {
        Self::at(&database.begin_read().map_err(RowError::storage)?, extent)
    }

    pub(super) fn at(txn: &ReadTransaction, extent: Extent) -> Result<Self, RowError> {
        let rows = txn.open_table(ROWS).map_err(RowError::storage)?;
        let local = txn.open_table(LOCAL).map_err(RowError::storage)?;
        Ok(Self {
            extent,
            rows,
            local,
            until: None,
        })
    }

    /// The rows as of the last commit, for a reader that may take [`READ_TIME_MAX`].
    pub(crate) fn reading(database: &Database, extent: Extent) -> Result<Self, RowError> {
        let mut view = Self::now(database, extent)?;
        view.until = Some(Instant::now() + READ_TIME_MAX);
        Ok(view)
    }

    pub(super) const fn extent(&self) -> &Extent {
        &self.extent
    }

    pub(super) fn get_engine(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        get_local(&self.local, &self.extent, Area::Engine, key)
    }

    pub(crate) fn scan_area(
        &self,
        area: Area,
        from: &[u8],
        until: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), RowError> {
        scan_local(
            &self.local,
            &self.extent,
            area,
            (from, until),
            self.until,
            visit,
        )
    }
}

impl Rows for View {
    fn covers(&self, key: &[u8]) -> bool {
        self.extent.check_key(key).is_ok()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        self.extent.check_key(key)?;
        get(&self.rows, Tag::Rows, key)
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        scan_rows(&self.rows, &self.extent, (from, until), self.until, visit)
    }

    fn get_local(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        get_local(&self.local, &self.extent, Area::Machine, key)
    }

    fn scan_local(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        self.scan_area(Area::Machine, from, until, visit)
    }
}

/// The tables of a stripe inside a write transaction.
pub(super) struct Tables<'txn> {
    rows: SealedTable<'txn>,
    local: SealedTable<'txn>,
    /// What the changes cost in a checkpoint, about.
    pub(super) touched_bytes: usize,
    /// Groups that splits made in this transaction.
    pub(super) births: Vec<Birth>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, RowError> {
        let rows = txn.open_table(ROWS).map_err(RowError::storage)?;
        let local = txn.open_table(LOCAL).map_err(RowError::storage)?;
        Ok(Self {
            rows,
            local,
            touched_bytes: 0,
            births: Vec::new(),
        })
    }

    /// A shard's rows, writable within `scope`.
    pub(super) const fn of<'t>(
        &'t mut self,
        extent: &'t Extent,
        scope: Scope,
    ) -> Writing<'t, 'txn> {
        Writing {
            tables: self,
            extent,
            scope,
        }
    }

    pub(super) fn put_engine(
        &mut self,
        extent: &Extent,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), RowError> {
        self.put_area(extent, Area::Engine, key, value)
    }

    pub(super) fn delete_engine(&mut self, extent: &Extent, key: &[u8]) -> Result<(), RowError> {
        let key = extent.local_key(Area::Engine, key);
        self.local
            .remove(key.as_slice())
            .map_err(RowError::storage)?;
        Ok(())
    }

    pub(super) fn put_area(
        &mut self,
        extent: &Extent,
        area: Area,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), RowError> {
        check_len(key.len(), KEY_BYTES_MAX)?;
        check_len(value.len(), VALUE_BYTES_MAX)?;
        self.touched_bytes += ROW_COST + key.len() + value.len();
        let key = extent.local_key(area, key);
        insert_sealed(&mut self.local, Tag::Local, &key, &[value]).map_err(RowError::storage)
    }

    /// Gives a new group the machine's local rows of the one that it was split from.
    pub(super) fn copy_machine_rows(
        &mut self,
        parent: &Extent,
        child: &Extent,
    ) -> Result<(), RowError> {
        let mut rows = Vec::new();
        let area = Area::Machine;
        scan_local(
            &self.local,
            parent,
            area,
            (&[], &[]),
            None,
            &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            },
        )?;
        rows.iter()
            .try_for_each(|(key, value)| self.put_area(child, area, key, value))
    }

    /// Removes up to `count` rows: of tenants in `ranges`, of the machine, and of the engine but
    /// one; `true` if there may be more.
    pub(super) fn clear_some(
        &mut self,
        extent: &Extent,
        ranges: &[KeyRange],
        kept: &[u8],
        count: usize,
    ) -> Result<bool, RowError> {
        let mut left = count;
        for range in ranges {
            let (from, until) = range.clamp(&[], &[]);
            left -= remove_some(&mut self.rows, from, until, left, None)?;
        }
        let kept = extent.local_key(Area::Engine, kept);
        for area in [Area::Machine, Area::Engine] {
            let (from, until) = (extent.local_key(area, &[]), extent.local_end(area));
            left -= remove_some(&mut self.local, &from, Some(&until), left, Some(&kept))?;
        }
        Ok(left == 0)
    }
}

/// A shard's rows inside a write transaction.
pub(super) struct Writing<'t, 'txn> {
    tables: &'t mut Tables<'txn>,
    extent: &'t Extent,
    scope: Scope,
}

impl Writing<'_, '_> {
    fn check_write(&self, key: &[u8]) -> Result<(), RowError> {
        check_len(key.len(), KEY_BYTES_MAX)?;
        self.extent.check_key(key)?;
        match self.scope {
            Scope::Tenant(tenant) if !key.starts_with(tenant.as_bytes()) => {
                Err(RowError::OutsideScope)
            }
            Scope::Tenant(_) | Scope::Group => Ok(()),
        }
    }
}

impl Rows for Writing<'_, '_> {
    fn covers(&self, key: &[u8]) -> bool {
        self.extent.check_key(key).is_ok()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        self.extent.check_key(key)?;
        get(&self.tables.rows, Tag::Rows, key)
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        scan_rows(&self.tables.rows, self.extent, (from, until), None, visit)
    }

    fn get_local(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        get_local(&self.tables.local, self.extent, Area::Machine, key)
    }

    fn scan_local(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        scan_local(
            &self.tables.local,
            self.extent,
            Area::Machine,
            (from, until),
            None,
            visit,
        )
    }
}

impl RowsMut for Writing<'_, '_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        self.check_write(key)?;
        check_len(value.len(), VALUE_BYTES_MAX)?;
        self.tables.touched_bytes += ROW_COST + key.len() + value.len();
        insert_sealed(&mut self.tables.rows, Tag::Rows, key, &[value]).map_err(RowError::storage)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, RowError> {
        self.check_write(key)?;
        self.tables.touched_bytes += ROW_COST + key.len();
        Ok(self
            .tables
            .rows
            .remove(key)
            .map_err(RowError::storage)?
            .is_some())
    }

    fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        self.tables.put_area(self.extent, Area::Machine, key, value)
    }

    fn delete_local(&mut self, key: &[u8]) -> Result<bool, RowError> {
        self.tables.touched_bytes += ROW_COST + key.len();
        let key = self.extent.local_key(Area::Machine, key);
        Ok(self
            .tables
            .local
            .remove(key.as_slice())
            .map_err(RowError::storage)?
            .is_some())
    }
}

const fn check_len(bytes: usize, limit_bytes: usize) -> Result<(), RowError> {
    if bytes > limit_bytes {
        return Err(RowError::TooLarge { bytes, limit_bytes });
    }
    Ok(())
}

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tag: Tag,
    key: &[u8],
) -> Result<Option<Bytes>, RowError> {
    let Some(guard) = table.get(key).map_err(RowError::storage)? else {
        return Ok(None);
    };
    let value = unseal(tag, key, guard.value()).ok_or_else(|| damaged(tag))?;
    Ok(Some(Bytes::copy_from_slice(value)))
}

pub(super) fn get_local(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    extent: &Extent,
    area: Area,
    key: &[u8],
) -> Result<Option<Bytes>, RowError> {
    get(table, Tag::Local, &extent.local_key(area, key))
}

pub(super) fn scan_rows(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    extent: &Extent,
    (from, until): (&[u8], &[u8]),
    give_up_at: Option<Instant>,
    visit: &mut Visit<'_>,
) -> Result<(), RowError> {
    let (from, until) = extent.range.clamp(from, until);
    scan(table, Tag::Rows, (from, until), give_up_at, visit)
}

fn scan_local(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    extent: &Extent,
    area: Area,
    (from, until): (&[u8], &[u8]),
    give_up_at: Option<Instant>,
    visit: &mut Visit<'_>,
) -> Result<(), RowError> {
    let from = extent.local_key(area, from);
    let until = if until.is_empty() {
        extent.local_end(area)
    } else {
        extent.local_key(area, until)
    };
    let bounds = (from.as_slice(), Some(until.as_slice()));
    scan(table, Tag::Local, bounds, give_up_at, &mut |key, value| {
        visit(key.get(LOCAL_PREFIX_LEN..).unwrap_or_default(), value)
    })
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tag: Tag,
    (from, until): (&[u8], Option<&[u8]>),
    give_up_at: Option<Instant>,
    visit: &mut Visit<'_>,
) -> Result<(), RowError> {
    let Some(bounds) = bounds(from, until) else {
        return Ok(());
    };
    let rows = table.range::<&[u8]>(bounds).map_err(RowError::storage)?;
    for (i, row) in rows.enumerate() {
        if i % ROWS_PER_CLOCK == 0 && give_up_at.is_some_and(|at| at <= Instant::now()) {
            return Err(RowError::TooSlow);
        }
        let (key, value) = row.map_err(RowError::storage)?;
        let value = unseal(tag, key.value(), value.value()).ok_or_else(|| damaged(tag))?;
        if visit(key.value(), value).is_break() {
            break;
        }
    }
    Ok(())
}

fn remove_some(
    table: &mut SealedTable<'_>,
    from: &[u8],
    until: Option<&[u8]>,
    count: usize,
    kept: Option<&[u8]>,
) -> Result<usize, RowError> {
    let Some(bounds) = bounds(from, until) else {
        return Ok(0);
    };
    let mut keys = Vec::new();
    for row in table.range::<&[u8]>(bounds).map_err(RowError::storage)? {
        if keys.len() == count {
            break;
        }
        let key = row.map_err(RowError::storage)?.0;
        if kept != Some(key.value()) {
            keys.push(key.value().to_vec());
        }
    }
    for key in &keys {
        table.remove(key.as_slice()).map_err(RowError::storage)?;
    }
    Ok(keys.len())
}

type Between<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// `None` if nothing lies between.
fn bounds<'a>(from: &'a [u8], until: Option<&'a [u8]>) -> Option<Between<'a>> {
    match until {
        Some(until) if until <= from => None,
        Some(until) => Some((Bound::Included(from), Bound::Excluded(until))),
        None => Some((Bound::Included(from), Bound::Unbounded)),
    }
}

pub(super) const fn damaged(tag: Tag) -> RowError {
    RowError::undecodable(match tag {
        Tag::Rows => "row",
        Tag::Local => "local row",
        Tag::Entries => "log entry",
        Tag::Meta => "log position",
        Tag::LocalStore => "configuration row",
    })
}
