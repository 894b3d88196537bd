//! Connections, counted exactly.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::refusal::Refusal;
use crate::tenant::TenantLimits;

/// How many connections a tenant has. The lock also guards the change of the terms that grants are
/// decided on.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    used: Mutex<u64>,
}

impl Connections {
    /// Counts one more if `decide` lets it, given how many there are.
    pub(crate) fn grant<E>(&self, decide: impl FnOnce(u64) -> Result<(), E>) -> Result<(), E> {
        let mut used = self.used.lock();
        decide(*used)?;
        *used += 1;
        Ok(())
    }

    /// Runs `change` while nothing is granted.
    pub(crate) fn exclusively(&self, change: impl FnOnce()) {
        let _used = self.used.lock();
        change();
    }

    pub(crate) fn used(&self) -> u64 {
        *self.used.lock()
    }

    fn give_back(&self) {
        let mut used = self.used.lock();
        debug_assert!(*used > 0, "a permit is given back once");
        *used = used.saturating_sub(1);
    }
}

/// One counted connection. Dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "the connection counts only while its permit lives"]
pub struct ConnectionPermit {
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    tenant: Arc<TenantLimits>,
}

impl ConnectionPermit {
    pub(crate) fn new(tenant: Arc<TenantLimits>) -> Self {
        Self {
            slot: Arc::new(Slot { tenant }),
        }
    }

    /// A permit for the connection that takes this one's session over. The two share one slot, so
    /// it passes at the limit and above it; the slot is free when both are dropped. Refused only if
    /// the tenant is suspended or removed.
    pub fn take_over(&self) -> Result<Self, Refusal> {
        self.slot.tenant.take_over()?;
        Ok(Self {
            slot: Arc::clone(&self.slot),
        })
    }

    /// The limits that it is counted under.
    pub fn limits(&self) -> &Arc<TenantLimits> {
        &self.slot.tenant
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.tenant.counted().give_back();
    }
}
