//! Taking in a snapshot: a group's rows are replaced in bounded transactions.

use redb::{Database, Durability};

use crate::error::RowError;
use crate::machine::{Rows as _, RowsMut as _, Scope};
use crate::raft_types::SnapshotMeta;
use crate::state::group::{Core, Group, KEY_APPLIED, KEY_INSTALLING, KEY_MEMBERSHIP};
use crate::state::machine::SnapshotView;
use crate::state::rows::{Area, Tables, View, take_rows};

/// Rows that one transaction removes or writes.
const STEP_ROWS: usize = 1000;

/// Replaces everything that `group` has by what `snapshot` holds. A crash in between is noticed
/// at the next opening by the *installing* mark. The caller makes the end durable.
pub(super) fn install(
    database: &Database,
    group: &Group,
    meta: &SnapshotMeta,
    snapshot: &SnapshotView,
) -> Result<(), RowError> {
    let source = snapshot.view()?;
    let extent = &group.extent;
    step(database, Durability::Immediate, |tables| {
        tables.put_engine(extent, KEY_INSTALLING, &[])
    })?;
    while step(database, Durability::None, |tables| {
        tables.clear_some(extent, STEP_ROWS)
    })? {}
    copy_rows(database, group, &source)?;
    copy_local(database, group, &source, Area::Machine)?;
    copy_local(database, group, &source, Area::Engine)?;
    let mut core = Core::load(&source)?;
    core.applied = meta.last_log_id;
    core.membership = meta.last_membership.clone();
    step(database, Durability::None, |tables| {
        core.save_applied(tables, extent)?;
        core.save_membership(tables, extent)?;
        tables.delete_engine(extent, KEY_INSTALLING)
    })?;
    group.replace_core(core);
    Ok(())
}

fn copy_rows(database: &Database, group: &Group, source: &View) -> Result<(), RowError> {
    let mut from = Vec::new();
    loop {
        let rows = take_rows(
            |from, visit| source.scan(from, &[], visit),
            &from,
            STEP_ROWS,
        )?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        from = after(last);
        step(database, Durability::None, |tables| {
            let mut writing = tables.of(&group.extent, Scope::Group);
            rows.iter()
                .try_for_each(|(key, value)| writing.put(key, value))
        })?;
    }
}

fn copy_local(
    database: &Database,
    group: &Group,
    source: &View,
    area: Area,
) -> Result<(), RowError> {
    let mut from = Vec::new();
    loop {
        let scan = |from: &[u8], visit: &mut crate::machine::Visit<'_>| {
            source.scan_area(area, from, &[], visit)
        };
        let rows = take_rows(scan, &from, STEP_ROWS)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        from = after(last);
        let is_position =
            |key: &[u8]| area == Area::Engine && (key == KEY_APPLIED || key == KEY_MEMBERSHIP);
        step(database, Durability::None, |tables| {
            rows.iter()
                .filter(|(key, _)| !is_position(key))
                .try_for_each(|(key, value)| tables.put_area(&group.extent, area, key, value))
        })?;
    }
}

/// The smallest key behind `key`.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn step<T>(
    database: &Database,
    durability: Durability,
    work: impl FnOnce(&mut Tables<'_>) -> Result<T, RowError>,
) -> Result<T, RowError> {
    let mut txn = database.begin_write().map_err(RowError::storage)?;
    txn.set_durability(durability).map_err(RowError::storage)?;
    let mut tables = Tables::open(&txn)?;
    let worked = work(&mut tables)?;
    drop(tables);
    txn.commit().map_err(RowError::storage)?;
    Ok(worked)
}
