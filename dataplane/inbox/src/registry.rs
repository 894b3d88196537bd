//! Who owns which session in this process: transient ones live nowhere else, persistent ones have
//! their epoch in the group as well.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use tessera_mqtt::ClientId;
use tessera_tenancy::{PrincipalId, TenantId};

use crate::lane::Lane;
use crate::registration::Registration;
use crate::session::{Owner, OwnerEpoch, SessionIncarnation};

/// Parts of the registry, each under a lock of its own. A power of two.
const PARTS: usize = 64;

/// A client of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    tenant: TenantId,
    client: Box<[u8]>,
}

impl SessionKey {
    pub(crate) fn new(tenant: TenantId, client: &ClientId) -> Self {
        Self {
            tenant,
            client: client.as_bytes().into(),
        }
    }

    pub(crate) fn of_bytes(tenant: TenantId, client: &[u8]) -> Self {
        Self {
            tenant,
            client: client.into(),
        }
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(crate) fn client(&self) -> &[u8] {
        &self.client
    }
}

/// [`SessionKey`] without owning it. Hashes alike.
#[derive(Hash)]
struct SessionKeyRef<'a> {
    tenant: TenantId,
    client: &'a [u8],
}

impl Equivalent<SessionKey> for SessionKeyRef<'_> {
    fn equivalent(&self, key: &SessionKey) -> bool {
        self.tenant == key.tenant && *self.client == *key.client
    }
}

/// One attachment to one session. An epoch alone does not say which: transient sessions count
/// theirs apart from the stored ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) incarnation: SessionIncarnation,
    pub(crate) epoch: OwnerEpoch,
}

/// The owner of a session.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) owner: Arc<dyn Owner>,
    pub(crate) principal: PrincipalId,
    pub(crate) ownership: Ownership,
    /// `None` for a transient session.
    pub(crate) lane: Option<Arc<Lane>>,
    /// `None` if this node is alone.
    pub(crate) registration: Option<Registration>,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("ownership", &self.ownership)
            .finish_non_exhaustive()
    }
}

type Part = RwLock<HashMap<SessionKey, Registered, RandomState>>;

/// All owners of this process.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: RandomState,
    parts: Box<[Part]>,
    len: AtomicUsize,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::new();
        let part = || RwLock::new(HashMap::with_hasher(hasher.clone()));
        let parts = std::iter::repeat_with(part).take(PARTS).collect();
        Self {
            hasher,
            parts,
            len: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Sets the owner; answers who was it.
    pub(crate) fn insert(&self, key: SessionKey, registered: Registered) -> Option<Registered> {
        let mut part = self.part(key.tenant, &key.client).write();
        let before = part.insert(key, registered);
        if before.is_none() {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        before
    }

    /// Removes the owner if it is still this one.
    pub(crate) fn remove(&self, key: &SessionKey, ownership: Ownership) -> bool {
        let mut part = self.part(key.tenant, &key.client).write();
        let ours = part
            .get(key)
            .is_some_and(|registered| registered.ownership == ownership);
        if ours {
            part.remove(key);
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        ours
    }

    /// Removes the owner if it registered before `registration`; who it was.
    pub(crate) fn remove_before(
        &self,
        key: &SessionKey,
        registration: Registration,
    ) -> Option<Registered> {
        let mut part = self.part(key.tenant, &key.client).write();
        let former = part.get(key)?.registration;
        if former.is_some_and(|former| former >= registration) {
            return None;
        }
        let removed = part.remove(key);
        self.len.fetch_sub(1, Ordering::Relaxed);
        removed
    }

    /// What `read` makes of the owner's entry; `None` if there is no owner.
    pub(crate) fn with<R>(
        &self,
        tenant: TenantId,
        client: &[u8],
        read: impl FnOnce(&Registered) -> R,
    ) -> Option<R> {
        self.part(tenant, client)
            .read()
            .get(&SessionKeyRef { tenant, client })
            .map(read)
    }

    /// All owners, in the order of their clients.
    pub(crate) fn owners(&self) -> Vec<Arc<dyn Owner>> {
        let mut owners = Vec::new();
        for part in &self.parts {
            let part = part.read();
            let of_part = part.iter();
            owners.extend(of_part.map(|(key, found)| (key.clone(), Arc::clone(&found.owner))));
        }
        owners.sort_by(|(a, _), (b, _)| a.cmp(b));
        owners.into_iter().map(|(_, owner)| owner).collect()
    }

    /// The owner.
    pub(crate) fn owner(&self, tenant: TenantId, client: &[u8]) -> Option<Arc<dyn Owner>> {
        self.with(tenant, client, |registered| Arc::clone(&registered.owner))
    }

    fn part(&self, tenant: TenantId, client: &[u8]) -> &Part {
        let hash = self.hasher.hash_one(SessionKeyRef { tenant, client });
        // The map inside uses the low and the highest bits.
        let at = usize::try_from((hash >> 40) % 64).unwrap_or_default();
        &self.parts[at % self.parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::LiveGrant;
    use tessera_mqtt::Message;

    struct Nobody;

    impl Owner for Nobody {
        fn taken_over(&self) {}
        fn available(&self) {}
        fn deliver_live(&self, _: &Message, _: &LiveGrant<'_>) {}
    }

    fn registered(epoch: u64) -> Registered {
        Registered {
            owner: Arc::new(Nobody),
            principal: PrincipalId::from_bytes([1; 16]),
            ownership: ownership(epoch),
            lane: None,
            registration: None,
        }
    }

    fn ownership(epoch: u64) -> Ownership {
        Ownership {
            incarnation: SessionIncarnation(1),
            epoch: OwnerEpoch(epoch),
        }
    }

    #[test]
    fn the_same_client_of_two_tenants_has_two_owners() {
        let registry = Registry::new();
        let client = ClientId::try_from("c").unwrap();
        let [a, b] = [1, 2].map(|byte| TenantId::from_bytes([byte; 16]));
        assert!(
            registry
                .insert(SessionKey::new(a, &client), registered(1))
                .is_none()
        );
        assert!(
            registry
                .insert(SessionKey::new(b, &client), registered(2))
                .is_none()
        );
        let owner = |tenant| registry.with(tenant, b"c", |found| found.ownership);
        assert_eq!(
            (owner(a), owner(b)),
            (Some(ownership(1)), Some(ownership(2)))
        );
    }

    #[test]
    fn a_former_owner_removes_nobody() {
        let registry = Registry::new();
        let key = SessionKey::of_bytes(TenantId::from_bytes([1; 16]), b"c");
        registry.insert(key.clone(), registered(1));
        let old = registry.insert(key.clone(), registered(2));
        assert_eq!(old.unwrap().ownership, ownership(1));
        assert!(!registry.remove(&key, ownership(1)));
        assert!(!registry.is_empty());
        assert!(registry.remove(&key, ownership(2)));
        assert!(registry.is_empty());
    }
}
