//! What a configuration holds in memory: its position and its tenants.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use tessera_tenancy::{
    Change, ChangeBody, Revision, TenantId, TenantRecord, TenantSlug, TimelineId,
};

use crate::disk::{Disk, DiskError};
use crate::keys::{self, Kind, NOBODY, Slot};
use crate::rows::{self, Position};

/// Derived from the disk when it is opened, and changed after every durable write.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    position: Option<Position>,
    tenants: HashMap<TenantId, KnownTenant>,
    slugs: HashMap<TenantSlug, TenantId>,
    /// The newest epoch given out. Never given twice, so that an old stamp never becomes true again.
    epoch: u64,
    /// How often another slot came into force.
    flips: u64,
}

/// One tenant.
#[derive(Debug, Clone)]
pub(crate) struct KnownTenant {
    pub(crate) record: Arc<TenantRecord>,
    /// Another one after every change of the tenant's or of its credentials.
    pub(crate) epoch: u64,
}

/// Which rows a reader of the disk looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) slot: Slot,
    flips: u64,
}

impl Memory {
    /// What is in force at `position`, read from the disk.
    pub(crate) fn load(disk: &dyn Disk, position: Option<Position>) -> Result<Self, DiskError> {
        let mut memory = Self::default();
        if let Some(position) = position {
            memory.load_tenants(disk, position.slot)?;
        }
        memory.position = position;
        Ok(memory)
    }

    /// Exchanges everything with what stands at another position: `next` is the former then, for
    /// its owner to drop outside the lock.
    pub(crate) fn flip(&mut self, next: &mut Self) {
        for tenant in next.tenants.values_mut() {
            self.epoch += 1;
            tenant.epoch = self.epoch;
        }
        self.flips += 1;
        std::mem::swap(&mut self.position, &mut next.position);
        std::mem::swap(&mut self.tenants, &mut next.tenants);
        std::mem::swap(&mut self.slugs, &mut next.slugs);
    }

    /// Takes durable changes into account. Returns the records of the tenants that they set, in
    /// their order.
    pub(crate) fn apply(
        &mut self,
        changes: &[Change],
        position: Position,
    ) -> Vec<Arc<TenantRecord>> {
        let mut records = Vec::new();
        for change in changes {
            match &change.body {
                ChangeBody::Tenant(record) => {
                    let record = Arc::new(record.clone());
                    records.push(Arc::clone(&record));
                    self.set_tenant(change.tenant, record);
                }
                ChangeBody::TenantRemoved => {
                    if let Some(former) = self.tenants.remove(&change.tenant) {
                        self.slugs.remove(&former.record.slug);
                    }
                }
                ChangeBody::Credential { .. } | ChangeBody::CredentialRemoved { .. } => {
                    self.epoch += 1;
                    if let Some(tenant) = self.tenants.get_mut(&change.tenant) {
                        tenant.epoch = self.epoch;
                    }
                }
            }
        }
        self.position = Some(position);
        records
    }

    pub(crate) const fn position(&self) -> Option<Position> {
        self.position
    }

    pub(crate) fn revision(&self) -> Revision {
        self.position.map_or(Revision::ZERO, |at| at.revision)
    }

    /// The history that is in force. None while nothing is: then any may come.
    pub(crate) fn timeline_in_force(&self) -> Option<TimelineId> {
        let empty = self.revision() == Revision::ZERO && self.tenants.is_empty();
        self.position.filter(|_| !empty).map(|at| at.timeline)
    }

    pub(crate) fn view(&self) -> View {
        View {
            slot: self.position.map_or(Slot::Left, |at| at.slot),
            flips: self.flips,
        }
    }

    pub(crate) fn tenant(&self, tenant: TenantId) -> Option<&KnownTenant> {
        self.tenants.get(&tenant)
    }

    pub(crate) fn tenant_by_slug(&self, slug: &TenantSlug) -> Option<(TenantId, &KnownTenant)> {
        let tenant = *self.slugs.get(slug)?;
        Some((tenant, self.tenants.get(&tenant)?))
    }

    pub(crate) fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    /// Every tenant, in the order of their ids.
    pub(crate) fn tenants(&self) -> Vec<(TenantId, Arc<TenantRecord>)> {
        let mut tenants: Vec<_> = self
            .tenants
            .iter()
            .map(|(id, tenant)| (*id, Arc::clone(&tenant.record)))
            .collect();
        tenants.sort_unstable_by_key(|(id, _)| *id);
        tenants
    }

    fn load_tenants(&mut self, disk: &dyn Disk, slot: Slot) -> Result<(), DiskError> {
        let mut outcome = Ok(());
        disk.scan(
            &keys::kind(NOBODY, slot, Kind::Tenant),
            &mut |key, value| match decode(key, value) {
                Ok((tenant, record)) => {
                    self.set_tenant(tenant, Arc::new(record));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        outcome
    }

    fn set_tenant(&mut self, tenant: TenantId, record: Arc<TenantRecord>) {
        self.epoch += 1;
        let epoch = self.epoch;
        let slug = record.slug.clone();
        if let Some(former) = self.tenants.insert(tenant, KnownTenant { record, epoch })
            && former.record.slug != slug
        {
            self.slugs.remove(&former.record.slug);
        }
        self.slugs.insert(slug, tenant);
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<(TenantId, TenantRecord), DiskError> {
    let id = keys::id_at_end(key).ok_or_else(|| rows::damaged("tenant"))?;
    Ok((TenantId::from_bytes(id), rows::decode_tenant(value)?))
}
