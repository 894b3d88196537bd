//! How a tenant behaves, changed under live connections.

mod overflow;
mod sharing;

use tessera_tenancy::{LimitCode, QueueOverflow, SharedSubscriptionStrategy, TenantSettings};

use crate::harness::{Harness, free_but, set_tenant_with};

/// The tenant behaves like this, and may publish as fast as it can.
fn set(harness: &Harness, tenant: u8, settings: TenantSettings) {
    let limits = free_but(LimitCode::PublishesPerSecond, 1_000_000);
    harness.change(set_tenant_with(tenant, limits, settings));
}

fn overflowing(queue_overflow: QueueOverflow) -> TenantSettings {
    TenantSettings {
        queue_overflow,
        ..TenantSettings::default()
    }
}

fn shared(shared_subscription_strategy: SharedSubscriptionStrategy) -> TenantSettings {
    TenantSettings {
        shared_subscription_strategy,
        ..TenantSettings::default()
    }
}
