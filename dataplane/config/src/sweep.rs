//! Removing rows that nobody reads any more, in bounded steps.

use std::ops::ControlFlow;

use tessera_tenancy::{CredentialId, TenantId};

use crate::config::{Config, Writer};
use crate::disk::{Disk, DiskError, RowWrites};
use crate::draft::{Draft, Purpose};
use crate::keys::{self, Kind, NOBODY, Slot};
use crate::rows;
use crate::stream::PushRefused;

type Row = (Vec<u8>, Vec<u8>);

/// Rows that one step looks for. A credential takes up to four.
const STEP_ROWS: usize = 1_024;

impl Config {
    /// One step: rows of removed tenants, then of the slot that is neither in force nor staged.
    /// Costs one durable write while there is something to sweep, otherwise some empty scans.
    pub(crate) fn sweep_step(&self) -> Result<(), PushRefused> {
        let mut writer = self.writer()?;
        let slot = self.memory().read().view().slot;
        let mut writes = removed_tenants(self.disk(), slot).map_err(|error| writer.fail(error))?;
        if writes.is_empty() && writer.staging.is_none() {
            writes = unused_slot(self.disk(), slot.other()).map_err(|error| writer.fail(error))?;
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.write(&mut writer, writes)
    }

    /// Empties a slot that is not in force.
    pub(crate) fn clear(&self, writer: &mut Writer, slot: Slot) -> Result<(), PushRefused> {
        loop {
            let writes = unused_slot(self.disk(), slot).map_err(|error| writer.fail(error))?;
            if writes.is_empty() {
                return Ok(());
            }
            self.write(writer, writes)?;
        }
    }
}

/// What to write to forget some credentials of a removed tenant.
fn removed_tenants(disk: &dyn Disk, slot: Slot) -> Result<RowWrites, DiskError> {
    let orphans = first_rows(disk, &keys::kind(NOBODY, slot, Kind::Orphan), 1)?;
    let Some((orphan, _)) = orphans.into_iter().next() else {
        return Ok(RowWrites::new());
    };
    let tenant = id_of("tenant", &orphan).map(TenantId::from_bytes)?;
    let credentials = keys::kind(tenant, slot, Kind::Credential);
    let credentials = first_rows(disk, &credentials, STEP_ROWS)?;
    if credentials.is_empty() {
        return Ok(vec![(orphan, None)]);
    }
    let mut draft = Draft::new(disk, slot, Purpose::Changes, 0, 0);
    for (key, value) in credentials {
        let id = id_of("credential", &key).map(CredentialId::from_bytes)?;
        draft.forget(tenant, id, &rows::decode_credential(&value)?)?;
    }
    Ok(draft.into_writes())
}

/// What to write to remove some rows of a slot. A tenant's own rows go before the row that finds
/// them, so that an interrupted sweep is taken up again.
fn unused_slot(disk: &dyn Disk, slot: Slot) -> Result<RowWrites, DiskError> {
    let mut doomed = Vec::new();
    for kind in [Kind::Tenant, Kind::Orphan] {
        for (finder, _) in first_rows(disk, &keys::kind(NOBODY, slot, kind), STEP_ROWS)? {
            let tenant = id_of("tenant", &finder).map(TenantId::from_bytes)?;
            let left = STEP_ROWS - doomed.len();
            doomed.extend(first_rows(disk, &keys::owned(tenant, slot), left)?);
            if doomed.len() >= STEP_ROWS {
                return Ok(removals(doomed));
            }
            doomed.push((finder, Vec::new()));
        }
    }
    if doomed.is_empty() {
        doomed = first_rows(disk, &keys::owned(NOBODY, slot), STEP_ROWS)?;
    }
    Ok(removals(doomed))
}

fn removals(rows: Vec<Row>) -> RowWrites {
    rows.into_iter().map(|(key, _)| (key, None)).collect()
}

/// The first rows of a prefix, at most `max`.
fn first_rows(disk: &dyn Disk, prefix: &[u8], max: usize) -> Result<Vec<Row>, DiskError> {
    let mut rows = Vec::new();
    disk.scan(prefix, &mut |key, value| {
        if rows.len() == max {
            return ControlFlow::Break(());
        }
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn id_of(row: &str, key: &[u8]) -> Result<[u8; 16], DiskError> {
    keys::id_at_end(key).ok_or_else(|| rows::damaged(row))
}
