//! Snapshots: staged beside what is in force, then in force by one row.
//!
//! ```text
//!            stage, frame by frame          one write: position names the other slot
//! in force ─┬───────────────────────────────┬─> former: swept in bounded steps
//!           └─> other slot, nobody reads it ┴─> in force
//! ```
//! A crash or a refusal before that write leaves rows that nobody reads: they are swept too.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use tessera_tenancy::{Change, CredentialId, Revision, TenantId, TenantRecord, TimelineId};

use crate::config::{Config, Writer, expect_timeline};
use crate::disk::{Disk, DiskError};
use crate::draft::{Draft, Purpose};
use crate::keys::{self, Kind, NOBODY, Slot};
use crate::listener::ConfigChange;
use crate::memory::Memory;
use crate::rows::{self, Position};
use crate::stream::PushRefused;

/// Credentials of one tenant that are compared at once: the memory that telling a snapshot takes.
const COMPARED_MAX: usize = 4_096;

/// A snapshot on its way. Dropping it gives the slot free.
pub(crate) struct Staging {
    config: Config,
    token: u64,
    position: Position,
    /// A foreign history that an operator allowed.
    adopted: bool,
    tenants: usize,
}

impl Staging {
    /// Begins a snapshot. Whatever another one has staged is given up.
    pub(crate) fn begin(
        config: &Config,
        timeline: TimelineId,
        revision: Revision,
        adopted: bool,
    ) -> Result<Self, PushRefused> {
        let mut writer = config.writer()?;
        let slot = config.memory().read().view().slot.other();
        let position = Position {
            timeline,
            revision,
            slot,
        };
        check_position(&config.memory().read(), position, adopted)?;
        config.clear(&mut writer, slot)?;
        writer.stagings += 1;
        writer.staging = Some(writer.stagings);
        Ok(Self {
            config: config.clone(),
            token: writer.stagings,
            position,
            adopted,
            tenants: 0,
        })
    }

    pub(crate) const fn timeline(&self) -> TimelineId {
        self.position.timeline
    }

    pub(crate) const fn revision(&self) -> Revision {
        self.position.revision
    }

    /// Stages one frame: durable, and read by nobody.
    pub(crate) fn stage(&mut self, changes: &[Change]) -> Result<(), PushRefused> {
        let config = self.config.clone();
        let mut writer = config.writer()?;
        self.expect_current(&writer)?;
        let draft = Draft::new(
            config.disk(),
            self.position.slot,
            Purpose::Snapshot,
            self.tenants,
            config.options().tenants_max,
        );
        let (writes, tenants) = config.draft(&mut writer, draft, changes)?;
        config.write(&mut writer, writes)?;
        self.tenants = tenants;
        Ok(())
    }

    /// Puts the snapshot in force.
    pub(crate) fn finish(self) -> Result<Revision, PushRefused> {
        let config = self.config.clone();
        let mut writer = config.writer()?;
        self.expect_current(&writer)?;
        check_position(&config.memory().read(), self.position, self.adopted)?;
        self.expect_no_orphan(&mut writer)?;
        let mut memory =
            Memory::load(config.disk(), Some(self.position)).map_err(|error| writer.fail(error))?;
        let position = rows::encode_position(&self.position);
        config.write(&mut writer, vec![(keys::position(), Some(position))])?;
        config.memory().write().flip(&mut memory);
        writer.staging = None;
        if writer.has_listeners() {
            self.tell(&mut writer, &memory)?;
        }
        // Dropping `self` looks at the writer.
        drop(writer);
        Ok(self.position.revision)
    }

    fn expect_current(&self, writer: &Writer) -> Result<(), PushRefused> {
        match writer.staging {
            Some(token) if token == self.token => Ok(()),
            Some(_) | None => Err(PushRefused::Superseded),
        }
    }

    fn expect_no_orphan(&self, writer: &mut Writer) -> Result<(), PushRefused> {
        let mut orphan = None;
        let orphans = keys::kind(NOBODY, self.position.slot, Kind::Orphan);
        self.config
            .disk()
            .scan(&orphans, &mut |key, _| {
                orphan = keys::id_at_end(key).map(TenantId::from_bytes);
                ControlFlow::Break(())
            })
            .map_err(|error| writer.fail(error))?;
        match orphan {
            None => Ok(()),
            Some(tenant) => Err(PushRefused::SnapshotIncomplete { tenant }),
        }
    }

    /// Tells listeners how what is in force differs from the former.
    fn tell(&self, writer: &mut Writer, former: &Memory) -> Result<(), PushRefused> {
        let former_slot = former.view().slot;
        let before: HashMap<TenantId, Arc<TenantRecord>> = former.tenants().into_iter().collect();
        let after = self.config.memory().read().tenants();
        for (tenant, _record) in former.tenants() {
            if self.config.tenant(tenant).is_none() {
                writer.tell(ConfigChange::TenantRemoved { tenant });
            }
        }
        for (tenant, record) in &after {
            if before.get(tenant) != Some(record) {
                let tenant = *tenant;
                writer.tell(ConfigChange::TenantSet { tenant, record });
            }
        }
        for (tenant, _record) in &after {
            let credentials = Credentials {
                tenant: *tenant,
                former: before.contains_key(tenant).then_some(former_slot),
                next: self.position.slot,
            };
            credentials
                .tell_difference(self.config.disk(), writer, &[])
                .map_err(|error| writer.fail(error))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let mut writer = self.config.writer_in_any_state();
        if writer.staging == Some(self.token) {
            writer.staging = None;
        }
    }
}

/// A snapshot may repeat or continue the history in force, or begin the one that was allowed.
fn check_position(memory: &Memory, next: Position, adopted: bool) -> Result<(), PushRefused> {
    let in_force = memory.timeline_in_force();
    if !adopted {
        expect_timeline(in_force, next.timeline)?;
    }
    let applied = memory.revision();
    if in_force == Some(next.timeline) && next.revision < applied {
        return Err(PushRefused::HistoryTooShort {
            applied,
            found: next.revision,
        });
    }
    Ok(())
}

/// One tenant's credentials in two slots.
struct Credentials {
    tenant: TenantId,
    /// `None`: the tenant is new, and what its former rows may say is over.
    former: Option<Slot>,
    next: Slot,
}

impl Credentials {
    /// Compares the credentials whose ids start with `start`. Where they are too many at once, by
    /// their next byte: ids are random, so the parts are even.
    fn tell_difference(
        &self,
        disk: &dyn Disk,
        writer: &Writer,
        start: &[u8],
    ) -> Result<(), DiskError> {
        let former = self.former.map_or_else(
            || Ok(Some(HashMap::new())),
            |slot| self.rows(disk, slot, start),
        )?;
        let next = self.rows(disk, self.next, start)?;
        if let (Some(former), Some(next)) = (former, next) {
            return self.tell_rows(writer, former, next);
        }
        for byte in 0..=u8::MAX {
            let start = [start, &[byte]].concat();
            self.tell_difference(disk, writer, &start)?;
        }
        Ok(())
    }

    /// `None`: too many.
    fn rows(
        &self,
        disk: &dyn Disk,
        slot: Slot,
        start: &[u8],
    ) -> Result<Option<HashMap<CredentialId, Vec<u8>>>, DiskError> {
        let mut prefix = keys::kind(self.tenant, slot, Kind::Credential);
        prefix.extend_from_slice(start);
        let mut rows = HashMap::new();
        let mut more = false;
        disk.scan(&prefix, &mut |key, value| {
            more = rows.len() == COMPARED_MAX;
            match keys::id_at_end(key) {
                Some(id) if !more => {
                    rows.insert(CredentialId::from_bytes(id), value.to_vec());
                    ControlFlow::Continue(())
                }
                Some(_) | None => ControlFlow::Break(()),
            }
        })?;
        Ok((!more).then_some(rows))
    }

    fn tell_rows(
        &self,
        writer: &Writer,
        former: HashMap<CredentialId, Vec<u8>>,
        next: HashMap<CredentialId, Vec<u8>>,
    ) -> Result<(), DiskError> {
        let tenant = self.tenant;
        let mut gone: Vec<_> = former.keys().filter(|id| !next.contains_key(id)).collect();
        gone.sort_unstable();
        for id in gone {
            let id = *id;
            writer.tell(ConfigChange::CredentialRemoved { tenant, id });
        }
        let mut set: Vec<_> = next
            .iter()
            .filter(|(id, value)| former.get(*id) != Some(*value))
            .collect();
        set.sort_unstable_by_key(|(id, _)| **id);
        for (id, value) in set {
            let (id, record) = (*id, &rows::decode_credential(value)?);
            writer.tell(ConfigChange::CredentialSet { tenant, id, record });
        }
        Ok(())
    }
}
