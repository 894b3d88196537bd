//! Who is told of each applied change.

use std::sync::Arc;

use tessera_tenancy::{CredentialId, CredentialRecord, TenantId, TenantRecord};

/// One change that is durable and in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChange<'a> {
    /// The tenant is now this.
    TenantSet {
        /// Which one.
        tenant: TenantId,
        /// What it is.
        record: &'a Arc<TenantRecord>,
    },
    /// The tenant is gone, with all its credentials: they are not told one by one.
    TenantRemoved {
        /// Which one.
        tenant: TenantId,
    },
    /// The credential is now this. Secrets that the record does not name are no longer valid.
    CredentialSet {
        /// Whose it is.
        tenant: TenantId,
        /// Which one.
        id: CredentialId,
        /// What it is.
        record: &'a CredentialRecord,
    },
    /// The credential is gone.
    CredentialRemoved {
        /// Whose it was.
        tenant: TenantId,
        /// Which one.
        id: CredentialId,
    },
}

/// Is told of each applied change, one at a time, in order, after it is durable and in force.
///
/// A snapshot is told as its difference from what was in force: removed tenants, tenants that are
/// new or changed, then credentials that are gone, new or changed.
///
/// Who acts on a lookup for long, as a connection does, makes itself known to its listener first and
/// looks up afterwards: a change between the two is then told to it.
pub trait Listener: Send + Sync {
    /// One change. It may look things up in the configuration; it must not block, apply a push or
    /// subscribe.
    fn applied(&self, change: ConfigChange<'_>);
}
