//! Credentials that were looked up lately, and user names that name none. Bounded, tenant first.

use std::sync::Arc;

use moka::sync::Cache;
use tessera_tenancy::{CredentialId, CredentialRecord, DeviceUsername, TenantId};

type Name = (TenantId, DeviceUsername);

/// A credential as lookups return it.
pub(crate) type Found = (CredentialId, Arc<CredentialRecord>);

/// What the cache says of a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// It names this credential.
    Present(Found),
    /// It names none.
    Absent,
    /// Nothing: ask the disk.
    Unknown,
}

/// Entries are true for one epoch of their tenant only, so nothing is ever invalidated.
#[derive(Debug)]
pub(crate) struct CredentialCache {
    present: Cache<Name, (u64, Found)>,
    /// Apart from the credentials, so that guessed user names evict no device.
    absent: Cache<Name, u64>,
}

impl CredentialCache {
    pub(crate) fn new(present_max: u64, absent_max: u64) -> Self {
        Self {
            present: Cache::new(present_max),
            absent: Cache::new(absent_max),
        }
    }

    /// What is known of a name in this epoch of its tenant.
    pub(crate) fn get(&self, name: &Name, epoch: u64) -> Cached {
        match self.present.get(name) {
            Some((stamp, found)) if stamp == epoch => Cached::Present(found),
            Some(_) | None => match self.absent.get(name) {
                Some(stamp) if stamp == epoch => Cached::Absent,
                Some(_) | None => Cached::Unknown,
            },
        }
    }

    /// Remembers what the disk said in this epoch.
    pub(crate) fn insert(&self, name: Name, epoch: u64, found: Option<Found>) {
        match found {
            Some(found) => self.present.insert(name, (epoch, found)),
            None => self.absent.insert(name, epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::Policy;

    const ACME: TenantId = TenantId::from_bytes([1; 16]);

    fn name(number: u32) -> Name {
        (ACME, format!("device-{number}").parse().unwrap())
    }

    fn found(number: u32) -> Found {
        let record = CredentialRecord {
            username: name(number).1,
            secrets: Vec::new(),
            policy: Policy::AllowAll,
        };
        (CredentialId::from_bytes([7; 16]), Arc::new(record))
    }

    #[test]
    fn an_entry_is_true_in_its_epoch_only() {
        let cache = CredentialCache::new(10, 10);
        cache.insert(name(1), 5, Some(found(1)));
        cache.insert(name(2), 5, None);
        assert_eq!(cache.get(&name(1), 5), Cached::Present(found(1)));
        assert_eq!(cache.get(&name(2), 5), Cached::Absent);
        for other in [4, 6] {
            assert_eq!(cache.get(&name(1), other), Cached::Unknown);
            assert_eq!(cache.get(&name(2), other), Cached::Unknown);
        }
        cache.insert(name(1), 6, None);
        assert_eq!(cache.get(&name(1), 6), Cached::Absent);
    }

    #[test]
    fn guessed_names_stay_within_their_bound_and_evict_no_device() {
        let cache = CredentialCache::new(10, 10);
        cache.insert(name(0), 1, Some(found(0)));
        for number in 1..1_000 {
            cache.insert(name(number), 1, None);
        }
        cache.absent.run_pending_tasks();
        assert!(cache.absent.entry_count() <= 10);
        assert_eq!(cache.get(&name(0), 1), Cached::Present(found(0)));
    }

    #[test]
    fn devices_stay_within_their_bound() {
        let cache = CredentialCache::new(10, 10);
        for number in 0..1_000 {
            cache.insert(name(number), 1, Some(found(number)));
        }
        cache.present.run_pending_tasks();
        assert!(cache.present.entry_count() <= 10);
    }
}
