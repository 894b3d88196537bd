//! What this node keeps in memory for a tenant while it has connections here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tessera_dist::{Dist, LoadError, TenantRoutes};
use tessera_limits::TenantLimits;
use tessera_tenancy::TenantId;

use crate::drops::{AllDrops, TenantDrops};
use crate::local::LocalRoutes;

/// One tenant's part of the front end. Dropped with its last connection.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) limits: Arc<TenantLimits>,
    pub(crate) routes: Arc<TenantRoutes>,
    pub(crate) local: LocalRoutes,
    pub(crate) drops: Arc<TenantDrops>,
    share_turn: AtomicUsize,
}

impl Tenant {
    /// Whose turn it is in a shared subscription.
    pub(crate) fn next_share_turn(&self) -> usize {
        self.share_turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// The tenants with connections here.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    known: Mutex<HashMap<TenantId, Weak<Tenant>>>,
}

impl Tenants {
    /// The tenant's part, made if this is its first connection.
    pub(crate) async fn ensure(
        &self,
        id: TenantId,
        limits: Arc<TenantLimits>,
        dist: &Dist,
        drops: &AllDrops,
    ) -> Result<Arc<Tenant>, LoadError> {
        if let Some(tenant) = self.live(id, &limits) {
            return Ok(tenant);
        }
        let routes = dist.tenant(id).await?;
        let mut known = self.known.lock();
        // Another first connection may have been quicker: members must not be split over two parts.
        if let Some(tenant) = live_in(&known, id, &limits) {
            return Ok(tenant);
        }
        let tenant = Arc::new(Tenant {
            id,
            limits,
            routes,
            local: LocalRoutes::default(),
            drops: drops.ensure(id),
            share_turn: AtomicUsize::new(0),
        });
        known.insert(id, Arc::downgrade(&tenant));
        Ok(tenant)
    }

    fn live(&self, id: TenantId, limits: &Arc<TenantLimits>) -> Option<Arc<Tenant>> {
        live_in(&self.known.lock(), id, limits)
    }

    /// Forgets a tenant whose last connection is gone.
    pub(crate) fn release(&self, tenant: Arc<Tenant>) {
        let id = tenant.id;
        let mut known = self.known.lock();
        drop(tenant);
        if known.get(&id).is_some_and(|weak| weak.strong_count() == 0) {
            known.remove(&id);
        }
    }
}

/// A part with other limits belongs to a tenant of the same id that was removed before: its
/// connections are ending, and new ones start afresh.
fn live_in(
    known: &HashMap<TenantId, Weak<Tenant>>,
    id: TenantId,
    limits: &Arc<TenantLimits>,
) -> Option<Arc<Tenant>> {
    known
        .get(&id)
        .and_then(Weak::upgrade)
        .filter(|tenant| Arc::ptr_eq(&tenant.limits, limits))
}
