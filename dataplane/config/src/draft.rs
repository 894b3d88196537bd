//! What a push would write, checked against what is there. Nothing is written here.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tessera_tenancy::{
    Change, ChangeBody, CredentialId, CredentialRecord, DeviceUsername, KeyId, LIMITS, LimitCode,
    TenantId, TenantRecord, TenantSlug,
};

use crate::disk::{Disk, DiskError, RowWrites};
use crate::keys::{self, Kind, NOBODY, Slot};
use crate::rows;

/// Why a change cannot be part of any configuration, or not of this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// The id that stands for no tenant.
    #[error("the tenant id is all zeros")]
    NoTenantId,
    /// A snapshot says what there is; it has nothing to remove.
    #[error("a removal inside a snapshot")]
    RemovalInSnapshot,
    /// A snapshot names the same twice.
    #[error("named twice in one snapshot")]
    Repeated,
    /// More tenants than the node has room for.
    #[error("more than {max} tenants")]
    TooManyTenants {
        /// [`ConfigOptions::tenants_max`](crate::ConfigOptions::tenants_max).
        max: usize,
    },
    /// The slug names another tenant.
    #[error("slug {slug} is tenant {owner}'s")]
    SlugTaken {
        /// The slug.
        slug: TenantSlug,
        /// Whose it is.
        owner: TenantId,
    },
    /// A limit beyond what its row in the registry allows.
    #[error("{limit} {value} is above {max}")]
    LimitTooLarge {
        /// Which limit.
        limit: LimitCode,
        /// What was pushed.
        value: u64,
        /// The largest that may be set.
        max: u64,
    },
    /// A credential of a tenant that there is not.
    #[error("a credential of an unknown tenant")]
    UnknownTenant,
    /// More live secrets than a credential may have.
    #[error("{count} secrets, {} are allowed", CredentialRecord::SECRETS_MAX)]
    TooManySecrets {
        /// What was pushed.
        count: usize,
    },
    /// The user name is another credential's of the tenant.
    #[error("user name {username} is credential {owner}'s")]
    UsernameTaken {
        /// The user name.
        username: DeviceUsername,
        /// Whose it is.
        owner: CredentialId,
    },
    /// The key id finds another secret.
    #[error("key id {key_id} finds another secret")]
    KeyIdTaken {
        /// The key id.
        key_id: KeyId,
    },
}

/// Why a change was not taken into a draft.
#[derive(Debug)]
pub(crate) enum DraftError {
    Invalid(InvalidChange),
    Disk(DiskError),
}

impl From<InvalidChange> for DraftError {
    fn from(invalid: InvalidChange) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<DiskError> for DraftError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// What the changes of a draft are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// They alter the rows in force.
    Changes,
    /// They name the rows of a snapshot, each once, in any order.
    Snapshot,
}

/// The writes of some changes on one slot, each checked against the disk and the ones before it.
pub(crate) struct Draft<'a> {
    disk: &'a dyn Disk,
    slot: Slot,
    purpose: Purpose,
    tenants: usize,
    tenants_max: usize,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Draft<'a> {
    /// A draft on a slot that holds `tenants` tenants.
    pub(crate) const fn new(
        disk: &'a dyn Disk,
        slot: Slot,
        purpose: Purpose,
        tenants: usize,
        tenants_max: usize,
    ) -> Self {
        Self {
            disk,
            slot,
            purpose,
            tenants,
            tenants_max,
            writes: BTreeMap::new(),
        }
    }

    /// Adds one change. After an error the draft is of no use.
    pub(crate) fn add(&mut self, change: &Change) -> Result<(), DraftError> {
        let tenant = change.tenant;
        if tenant == NOBODY {
            return Err(InvalidChange::NoTenantId.into());
        }
        match &change.body {
            ChangeBody::Tenant(record) => self.set_tenant(tenant, record),
            ChangeBody::TenantRemoved => self.remove_tenant(tenant),
            ChangeBody::Credential { id, record } => self.set_credential(tenant, *id, record),
            ChangeBody::CredentialRemoved { id } => self.remove_credential(tenant, *id),
        }
    }

    /// Adds the removal of a credential's rows, of a tenant that is gone.
    pub(crate) fn forget(
        &mut self,
        tenant: TenantId,
        id: CredentialId,
        record: &CredentialRecord,
    ) -> Result<(), DiskError> {
        self.delete(keys::credential(tenant, self.slot, id));
        self.delete(keys::username(tenant, self.slot, &record.username));
        for secret in &record.secrets {
            // A key id of a removed tenant's may have been given to another since.
            if self.key_id_owner(secret.key_id)? == Some((tenant, id)) {
                self.delete(keys::key_id(self.slot, secret.key_id));
            }
        }
        Ok(())
    }

    /// How many tenants the slot has once the draft is written.
    pub(crate) const fn tenants(&self) -> usize {
        self.tenants
    }

    pub(crate) fn into_writes(self) -> RowWrites {
        self.writes.into_iter().collect()
    }

    fn set_tenant(&mut self, tenant: TenantId, record: &TenantRecord) -> Result<(), DraftError> {
        check_limits(record)?;
        match (self.tenant(tenant)?, self.purpose) {
            (None, _) => self.admit(tenant)?,
            (Some(_), Purpose::Snapshot) => return Err(InvalidChange::Repeated.into()),
            (Some(former), Purpose::Changes) => self.delete(keys::slug(self.slot, &former.slug)),
        }
        let slug = keys::slug(self.slot, &record.slug);
        if let Some(owner) = self.get(&slug)? {
            return Err(DraftError::Invalid(InvalidChange::SlugTaken {
                slug: record.slug.clone(),
                owner: rows::decode_slug_owner(&owner)?,
            }));
        }
        self.put(slug, tenant.as_bytes().to_vec());
        self.put(keys::tenant(self.slot, tenant), rows::encode_tenant(record));
        Ok(())
    }

    /// Makes room for a tenant that there was not.
    fn admit(&mut self, tenant: TenantId) -> Result<(), DraftError> {
        self.tenants += 1;
        if self.tenants > self.tenants_max {
            let max = self.tenants_max;
            return Err(InvalidChange::TooManyTenants { max }.into());
        }
        let orphan = keys::orphan(self.slot, tenant);
        if self.get(&orphan)?.is_none() {
            return Ok(());
        }
        match self.purpose {
            // Its credentials came first.
            Purpose::Snapshot => {}
            // It was removed, is not yet swept and returns: without its former credentials.
            Purpose::Changes => self.forget_all(tenant)?,
        }
        self.delete(orphan);
        Ok(())
    }

    fn forget_all(&mut self, tenant: TenantId) -> Result<(), DiskError> {
        let rows = self.rows(&keys::kind(tenant, self.slot, Kind::Credential))?;
        for (key, value) in rows {
            let id = keys::id_at_end(&key).ok_or_else(|| rows::damaged("credential"))?;
            let record = rows::decode_credential(&value)?;
            self.forget(tenant, CredentialId::from_bytes(id), &record)?;
        }
        Ok(())
    }

    fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), DraftError> {
        self.refuse_in_snapshot()?;
        if let Some(former) = self.tenant(tenant)? {
            self.tenants -= 1;
            self.delete(keys::slug(self.slot, &former.slug));
            self.delete(keys::tenant(self.slot, tenant));
            self.put(keys::orphan(self.slot, tenant), Vec::new());
        }
        Ok(())
    }

    fn set_credential(
        &mut self,
        tenant: TenantId,
        id: CredentialId,
        record: &CredentialRecord,
    ) -> Result<(), DraftError> {
        check_secrets(record)?;
        self.expect_tenant(tenant)?;
        match (self.credential(tenant, id)?, self.purpose) {
            (None, _) => {}
            (Some(_), Purpose::Snapshot) => return Err(InvalidChange::Repeated.into()),
            (Some(former), Purpose::Changes) => self.forget(tenant, id, &former)?,
        }
        let username = keys::username(tenant, self.slot, &record.username);
        if let Some(named) = self.get(&username)? {
            let (owner, _record) = rows::decode_named(&named)?;
            let username = record.username.clone();
            return Err(InvalidChange::UsernameTaken { username, owner }.into());
        }
        for secret in &record.secrets {
            self.expect_free(secret.key_id)?;
            self.put(
                keys::key_id(self.slot, secret.key_id),
                rows::encode_owner(tenant, id),
            );
        }
        let encoded = rows::encode_credential(record);
        self.put(username, rows::encode_named(id, &encoded));
        self.put(keys::credential(tenant, self.slot, id), encoded);
        Ok(())
    }

    fn remove_credential(&mut self, tenant: TenantId, id: CredentialId) -> Result<(), DraftError> {
        self.refuse_in_snapshot()?;
        if self.tenant(tenant)?.is_some()
            && let Some(former) = self.credential(tenant, id)?
        {
            self.forget(tenant, id, &former)?;
        }
        Ok(())
    }

    fn refuse_in_snapshot(&self) -> Result<(), InvalidChange> {
        match self.purpose {
            Purpose::Snapshot => Err(InvalidChange::RemovalInSnapshot),
            Purpose::Changes => Ok(()),
        }
    }

    /// A snapshot may name the tenant later; until then it has an orphan row.
    fn expect_tenant(&mut self, tenant: TenantId) -> Result<(), DraftError> {
        let known = self.get(&keys::tenant(self.slot, tenant))?.is_some();
        match (known, self.purpose) {
            (true, _) => Ok(()),
            (false, Purpose::Changes) => Err(InvalidChange::UnknownTenant.into()),
            (false, Purpose::Snapshot) => {
                self.put(keys::orphan(self.slot, tenant), Vec::new());
                Ok(())
            }
        }
    }

    /// A key id is free if it finds nothing, or a credential of a removed tenant's.
    fn expect_free(&self, key_id: KeyId) -> Result<(), DraftError> {
        let Some((owner, _id)) = self.key_id_owner(key_id)? else {
            return Ok(());
        };
        let removed = match self.purpose {
            Purpose::Changes => self.get(&keys::tenant(self.slot, owner))?.is_none(),
            Purpose::Snapshot => false,
        };
        if !removed {
            return Err(InvalidChange::KeyIdTaken { key_id }.into());
        }
        Ok(())
    }

    fn tenant(&self, tenant: TenantId) -> Result<Option<TenantRecord>, DiskError> {
        let row = self.get(&keys::tenant(self.slot, tenant))?;
        row.map(|value| rows::decode_tenant(&value)).transpose()
    }

    fn credential(
        &self,
        tenant: TenantId,
        id: CredentialId,
    ) -> Result<Option<CredentialRecord>, DiskError> {
        let row = self.get(&keys::credential(tenant, self.slot, id))?;
        row.map(|value| rows::decode_credential(&value)).transpose()
    }

    fn key_id_owner(&self, key_id: KeyId) -> Result<Option<(TenantId, CredentialId)>, DiskError> {
        let row = self.get(&keys::key_id(self.slot, key_id))?;
        row.map(|value| rows::decode_owner(&value)).transpose()
    }

    /// The rows of a prefix as they will be.
    fn rows(&self, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, DiskError> {
        let mut rows = BTreeMap::new();
        self.disk.scan(prefix, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })?;
        let drafted = self.writes.range(prefix.to_vec()..);
        for (key, value) in drafted.take_while(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        match self.writes.get(key) {
            Some(drafted) => Ok(drafted.clone()),
            None => self.disk.get(key),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }
}

fn check_limits(record: &TenantRecord) -> Result<(), InvalidChange> {
    for row in &LIMITS {
        if let Some(value) = record.limits.get(row.code)
            && value > row.value_max
        {
            return Err(InvalidChange::LimitTooLarge {
                limit: row.code,
                value,
                max: row.value_max,
            });
        }
    }
    Ok(())
}

fn check_secrets(record: &CredentialRecord) -> Result<(), InvalidChange> {
    let count = record.secrets.len();
    if count > CredentialRecord::SECRETS_MAX {
        return Err(InvalidChange::TooManySecrets { count });
    }
    for (at, secret) in record.secrets.iter().enumerate() {
        let key_id = secret.key_id;
        if record.secrets[..at].iter().any(|one| one.key_id == key_id) {
            return Err(InvalidChange::KeyIdTaken { key_id });
        }
    }
    Ok(())
}
