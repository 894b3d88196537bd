//! The connections of this node, by tenant: whom a revoked credential or a suspended tenant ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_limits::ConnectionPermit;
use tessera_mqtt::ClientId;
use tessera_tenancy::{CredentialId, CredentialRecord, PrincipalId, TenantId};

use crate::authenticate::Identity;
use crate::outbox::{ConnectionId, EndReason, Outbox};

/// What the registry holds of one connection.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) identity: Identity,
    pub(crate) client: ClientId,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) permit: Arc<ConnectionPermit>,
}

/// Every connection with an accepted CONNECT, in the order in which they end.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tenants: Mutex<BTreeMap<TenantId, BTreeMap<ConnectionId, Entry>>>,
}

impl Registry {
    pub(crate) fn insert(&self, entry: Entry) {
        let (tenant, connection) = (entry.identity.tenant, entry.outbox.id());
        self.tenants
            .lock()
            .entry(tenant)
            .or_default()
            .insert(connection, entry);
    }

    pub(crate) fn remove(&self, tenant: TenantId, connection: ConnectionId) {
        let mut tenants = self.tenants.lock();
        if let Some(connections) = tenants.get_mut(&tenant) {
            connections.remove(&connection);
            if connections.is_empty() {
                tenants.remove(&tenant);
            }
        }
    }

    /// The place that a live connection of this client holds under the tenant's limit. O(the
    /// tenant's connections): asked only at the limit.
    pub(crate) fn permit_of(
        &self,
        tenant: TenantId,
        principal: PrincipalId,
        client: &ClientId,
    ) -> Option<Arc<ConnectionPermit>> {
        let tenants = self.tenants.lock();
        tenants
            .get(&tenant)?
            .values()
            .find(|entry| entry.client == *client && entry.identity.principal == principal)
            .map(|entry| Arc::clone(&entry.permit))
    }

    /// Ends every connection of a tenant.
    pub(crate) fn end_tenant(&self, tenant: TenantId, reason: EndReason) {
        self.end_where(tenant, reason, |_| true);
    }

    /// Ends the connections of a credential that is gone.
    pub(crate) fn end_credential(&self, tenant: TenantId, credential: CredentialId) {
        self.end_where(tenant, EndReason::CredentialRevoked, |entry| {
            entry.identity.credential == credential
        });
    }

    /// Ends the connections that showed a secret which the credential no longer has.
    pub(crate) fn end_old_secrets(
        &self,
        tenant: TenantId,
        credential: CredentialId,
        record: &CredentialRecord,
    ) {
        self.end_where(tenant, EndReason::CredentialRevoked, |entry| {
            entry.identity.credential == credential
                && !record
                    .secrets
                    .iter()
                    .any(|secret| secret.key_id == entry.identity.key_id)
        });
    }

    /// Ends everything: the process stops.
    pub(crate) fn end_all(&self, reason: EndReason) {
        let tenants: Vec<TenantId> = self.tenants.lock().keys().copied().collect();
        for tenant in tenants {
            self.end_tenant(tenant, reason);
        }
    }

    fn end_where(&self, tenant: TenantId, reason: EndReason, chosen: impl Fn(&Entry) -> bool) {
        let outboxes: Vec<Arc<Outbox>> = match self.tenants.lock().get(&tenant) {
            None => return,
            Some(connections) => connections
                .values()
                .filter(|entry| chosen(entry))
                .map(|entry| Arc::clone(&entry.outbox))
                .collect(),
        };
        outboxes.iter().for_each(|outbox| outbox.end(reason));
    }
}
