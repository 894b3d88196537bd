//! Messages that did not reach a session that should have had them, counted by tenant and reason.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_tenancy::TenantId;

use crate::metrics::{Counter, Metrics};

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The queue of a persistent session was full: the oldest gave way, or this one, or it was refused.
    QueueFull,
    /// The client does not read fast enough: its outbox was full, at QoS 0.
    OutboxFull,
    /// It is larger than the client's maximum packet size (MQTT-3.1.2-25).
    TooLarge,
    /// Its expiry interval was over before it was stored.
    Expired,
    /// Who wrote it may not any more: its credential is gone, or its policy changed.
    NotAuthorized,
}

impl DropReason {
    /// All of them, in the order of [`Drops`].
    pub const ALL: [Self; 5] = [
        Self::QueueFull,
        Self::OutboxFull,
        Self::TooLarge,
        Self::Expired,
        Self::NotAuthorized,
    ];

    /// As figures and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::OutboxFull => "outbox_full",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::NotAuthorized => "not_authorized",
        }
    }
}

/// How many were dropped for each reason.
#[derive(Debug, Default)]
pub struct Drops([Counter; DropReason::ALL.len()]);

impl Drops {
    /// For one reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].get()
    }

    fn add(&self, reason: DropReason, more: u64) {
        self.0[reason as usize].add(more);
    }
}

/// The drops of one tenant since this process started; each counts in those of all tenants too.
#[derive(Debug)]
pub(crate) struct TenantDrops {
    own: Drops,
    metrics: Arc<Metrics>,
}

impl TenantDrops {
    pub(crate) fn add(&self, reason: DropReason, more: u64) {
        self.own.add(reason, more);
        self.metrics.messages_dropped.add(reason, more);
    }

    pub(crate) const fn figures(&self) -> &Drops {
        &self.own
    }
}

/// The drops of every tenant that has had a connection here.
#[derive(Debug)]
pub(crate) struct AllDrops {
    tenants: Mutex<HashMap<TenantId, Arc<TenantDrops>>>,
    metrics: Arc<Metrics>,
}

impl AllDrops {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            tenants: Mutex::default(),
            metrics,
        }
    }

    /// The tenant's, made if it has none.
    pub(crate) fn ensure(&self, tenant: TenantId) -> Arc<TenantDrops> {
        let mut tenants = self.tenants.lock();
        let drops = tenants.entry(tenant).or_insert_with(|| {
            Arc::new(TenantDrops {
                own: Drops::default(),
                metrics: Arc::clone(&self.metrics),
            })
        });
        Arc::clone(drops)
    }

    /// The tenant's, if it has any.
    pub(crate) fn get(&self, tenant: TenantId) -> Option<Arc<TenantDrops>> {
        self.tenants.lock().get(&tenant).cloned()
    }

    /// The tenant is gone.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.tenants.lock().remove(&tenant);
    }
}
