//! Which tenants have something that ends, and when the first of it does: in memory, so that a
//! tenant with nothing due costs background work nothing.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use tessera_tenancy::TenantId;
use tokio::sync::Notify;

/// The earliest due time of each tenant that has one; a hint that is never late.
#[derive(Debug, Default)]
pub(crate) struct DueTenants {
    dues: Mutex<Dues>,
    /// Told when the first due time of all is another one.
    first_changed: Notify,
}

#[derive(Debug, Default)]
struct Dues {
    earliest: HashMap<TenantId, u64>,
    order: BTreeSet<(u64, TenantId)>,
}

impl DueTenants {
    /// Something of the tenant ends at `due_ms`.
    pub(crate) fn note(&self, tenant: TenantId, due_ms: u64) {
        let mut dues = self.dues.lock();
        if let Some(known) = dues.earliest.get(&tenant).copied() {
            if known <= due_ms {
                return;
            }
            dues.order.remove(&(known, tenant));
        }
        dues.earliest.insert(tenant, due_ms);
        dues.order.insert((due_ms, tenant));
        if dues.order.first() == Some(&(due_ms, tenant)) {
            self.first_changed.notify_one();
        }
    }

    /// When the first of all is due.
    pub(crate) fn first(&self) -> Option<u64> {
        self.dues.lock().order.first().map(|(due_ms, _)| *due_ms)
    }

    /// Waits until [`first`](Self::first) became sooner. For one waiter; cancel safe.
    pub(crate) async fn first_changed(&self) {
        self.first_changed.notified().await;
    }

    /// Takes out the tenants of which something has ended by `now_ms`, the longest due first.
    pub(crate) fn take(&self, now_ms: u64) -> Vec<TenantId> {
        let mut dues = self.dues.lock();
        let mut taken = Vec::new();
        while let Some((due_ms, tenant)) = dues.order.first().copied() {
            if due_ms > now_ms {
                break;
            }
            dues.order.pop_first();
            dues.earliest.remove(&tenant);
            taken.push(tenant);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_taken_at_its_earliest_time_and_once() {
        let [a, b] = [1, 2].map(|byte| TenantId::from_bytes([byte; 16]));
        let dues = DueTenants::default();
        for (tenant, due_ms) in [(a, 30), (a, 10), (a, 20), (b, 5)] {
            dues.note(tenant, due_ms);
        }
        assert_eq!(dues.take(4), []);
        assert_eq!(dues.take(9), [b]);
        assert_eq!(dues.take(10), [a]);
        assert_eq!(dues.take(u64::MAX), []);
    }

    #[test]
    fn a_sooner_first_due_time_is_told() {
        use futures_util::FutureExt as _;
        let [a, b] = [1, 2].map(|byte| TenantId::from_bytes([byte; 16]));
        let dues = DueTenants::default();
        let told = || dues.first_changed().now_or_never().is_some();
        assert_eq!((dues.first(), told()), (None, false));
        dues.note(a, 20);
        assert_eq!((dues.first(), told()), (Some(20), true));
        dues.note(b, 30);
        assert_eq!((dues.first(), told()), (Some(20), false));
        dues.note(b, 10);
        assert_eq!((dues.first(), told()), (Some(10), true));
    }
}
