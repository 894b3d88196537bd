//! Wills whose time has come: for whoever publishes them.

use tessera_shard::ReadError;
use tessera_tenancy::TenantId;

use super::Inbox;
use super::expire::NOT_LED_PAUSE_MS;
use super::owner::done;
use crate::command::Command;
use crate::error::SessionError;
use crate::sweep::{due_wills, first_will_due};
use crate::will::DueWill;

impl Inbox {
    /// When the first will is due, Unix milliseconds; never late, but perhaps too early.
    pub fn next_will_due(&self) -> Option<u64> {
        self.inner.wills_due.first()
    }

    /// Waits until [`next_will_due`](Self::next_will_due) became sooner. For one waiter; cancel safe.
    pub async fn next_will_due_changed(&self) {
        self.inner.wills_due.first_changed().await;
    }

    /// Takes the tenants that have wills due by `now_ms`, the longest due first. Each is the
    /// caller's now, until it says [`look_for_wills`](Self::look_for_wills).
    pub fn take_tenants_with_wills(&self, now_ms: u64) -> Vec<TenantId> {
        let (led, others) = self.split_led(self.inner.wills_due.take(now_ms));
        for tenant in others {
            self.inner.wills_due.note(tenant, now_ms + NOT_LED_PAUSE_MS);
        }
        led
    }

    /// Up to so many of the tenant's wills that are due, the longest due first.
    pub fn due_wills(
        &self,
        tenant: TenantId,
        now_ms: u64,
        max: usize,
    ) -> Result<Vec<DueWill>, ReadError> {
        self.inner
            .store
            .shard_for(tenant, &[])
            .read(|rows| due_wills(rows, tenant, now_ms, max))
    }

    /// Notes when the tenant's next will is due, at `earliest_ms` at the soonest.
    pub fn look_for_wills(&self, tenant: TenantId, earliest_ms: u64) -> Result<(), ReadError> {
        let shard = self.inner.store.shard_for(tenant, &[]);
        if let Some(due_ms) = shard.read(|rows| first_will_due(rows, tenant))? {
            self.inner.wills_due.note(tenant, due_ms.max(earliest_ms));
        }
        Ok(())
    }

    /// Everybody who receives the will has it, or nobody may have it.
    pub async fn forget_will(&self, will: &DueWill) -> Result<(), SessionError> {
        let client = will.client.as_bytes();
        let command = Command::ForgetWill {
            client,
            number: will.number.0,
        };
        done(&self.propose(will.tenant, client, command).await?)
    }
}
