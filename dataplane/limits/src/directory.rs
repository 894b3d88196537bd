//! The tenants of this process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use tessera_tenancy::{TenantId, TenantRecord};

use crate::tenant::TenantLimits;

/// Removed tenants remembered before the forgotten ones among them are looked for.
const REMOVED_SWEEP_MIN: usize = 64;

/// Every tenant that is known, with its limits. What it does not know gets nothing.
#[derive(Debug, Default)]
pub struct Directory {
    tenants: RwLock<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    known: HashMap<TenantId, Arc<TenantLimits>>,
    /// Removed while somebody held them. A tenant that returns before the last connection let go is
    /// the same one: its connections still count and its burst is still spent.
    removed: HashMap<TenantId, Weak<TenantLimits>>,
    /// How many removed ones start the next sweep: twice as many as the last one left, so that
    /// sweeping costs a constant per removal.
    sweep_at: usize,
}

impl Directory {
    /// A directory without tenants.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tenant's limits. `None` means that nothing is allowed.
    pub fn tenant(&self, tenant: TenantId) -> Option<Arc<TenantLimits>> {
        self.tenants.read().known.get(&tenant).map(Arc::clone)
    }

    /// Makes a tenant known, or puts a known one on new terms. It is live when this returns; what is
    /// connected stays connected and what was spent stays spent.
    pub fn set(&self, tenant: TenantId, record: &TenantRecord) {
        let mut tenants = self.tenants.write();
        let former = match tenants.known.get(&tenant) {
            Some(known) => Some(Arc::clone(known)),
            None => tenants
                .removed
                .remove(&tenant)
                .and_then(|held| held.upgrade()),
        };
        let limits = match former {
            Some(former) => {
                former.change(record);
                former
            }
            None => Arc::new(TenantLimits::new(tenant, record)),
        };
        tenants.known.insert(tenant, limits);
    }

    /// Forgets a tenant. Who still holds its limits is refused everything from now on.
    pub fn remove(&self, tenant: TenantId) {
        let mut tenants = self.tenants.write();
        if let Some(limits) = tenants.known.remove(&tenant) {
            limits.close();
            tenants.removed.insert(tenant, Arc::downgrade(&limits));
        }
        tenants.sweep();
    }

    /// Every known tenant, in no order: for counters and metrics. Costs a pointer each.
    pub fn tenants(&self) -> Vec<Arc<TenantLimits>> {
        self.tenants.read().known.values().map(Arc::clone).collect()
    }
}

impl Tenants {
    fn sweep(&mut self) {
        if self.removed.len() >= self.sweep_at.max(REMOVED_SWEEP_MIN) {
            self.removed.retain(|_, held| held.strong_count() > 0);
            self.sweep_at = 2 * self.removed.len();
        }
    }
}
