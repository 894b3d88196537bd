//! Which tenant and which principal is this device? (design §4)
//!
//! The signals of a plain TCP connection are the user name's prefix up to the first dot, which
//! names the tenant, and the generated secret's key id. They must agree. There is no default tenant
//! and no anonymous mode. Whatever is wrong, the answer and the work done are the same, so that
//! nobody learns which tenants and user names exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;
use tessera_config::Config;
use tessera_mqtt::TopicName;
use tessera_tenancy::{
    CredentialId, CredentialRecord, DeviceUsername, GeneratedSecret, KeyId, Policy, PrincipalId,
    SecretDigest, SecretKind, ServerKey, TenantId, TenantRecord, TenantSlug, TenantStatus,
};

use crate::connection::may_publish;

/// Who a connection acts as, from its CONNECT to its end.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) tenant: TenantId,
    pub(crate) credential: CredentialId,
    pub(crate) principal: PrincipalId,
    pub(crate) policy: Policy,
    /// The live secret that was shown: removing it ends the connection.
    pub(crate) key_id: KeyId,
    pub(crate) username: DeviceUsername,
}

/// Why a device was refused. Only the second is told apart on the wire, after a right secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthenticationError {
    #[error("user name and password name no credential")]
    NotAuthorized,
    #[error("the tenant is suspended")]
    Suspended,
}

/// Answers who a device is from what it sent.
#[derive(Debug)]
pub(crate) struct Authenticator {
    config: Config,
    server_key: ServerKey,
    /// What writers may do, and the generation of credentials that it was read in.
    writers: Cache<(TenantId, PrincipalId), (u64, Option<Policy>)>,
    /// Grows with each change of a credential or tenant.
    generation: AtomicU64,
}

/// Writers whose policy is remembered.
const WRITERS_MAX: u64 = 65_536;

impl Authenticator {
    pub(crate) fn new(config: Config, server_key: ServerKey) -> Self {
        Self {
            config,
            server_key,
            writers: Cache::new(WRITERS_MAX),
            generation: AtomicU64::new(0),
        }
    }

    /// The configuration changed: what was remembered of writers counts no more.
    pub(crate) fn forget_writers(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a message that was stored may still be delivered: who wrote it may publish it now
    /// (promise 16). One look at the configuration for each writer and change of credentials.
    pub(crate) fn may_still_publish(
        &self,
        tenant: TenantId,
        writer: PrincipalId,
        topic: &TopicName,
    ) -> bool {
        // Before the look: what is read later may be newer, and is only forgotten sooner.
        let generation = self.generation.load(Ordering::Acquire);
        let policy = match self.writers.get(&(tenant, writer)) {
            Some((of, policy)) if of == generation => policy,
            Some(_) | None => {
                let policy = self.policy(tenant, writer);
                self.writers.insert((tenant, writer), (generation, policy));
                policy
            }
        };
        policy.is_some_and(|policy| may_publish(policy, topic))
    }

    /// Verifies a user name and password.
    pub(crate) fn authenticate(
        &self,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<Identity, AuthenticationError> {
        let password = password.unwrap_or_default();
        // Digested before anything is looked up: the unknown takes the time of the wrong.
        let shown = self.server_key.digest(password);
        let key_id = std::str::from_utf8(password)
            .ok()
            .and_then(|text| GeneratedSecret::parse(SecretKind::Device, text).ok())
            .map(|secret| secret.key_id());
        let found = username.and_then(|username| self.find(username));
        let matched = secret_matches(found.as_ref().map(|f| &*f.record), key_id, &shown);
        match found {
            Some(found) if matched => found.identity(key_id),
            Some(_) | None => Err(AuthenticationError::NotAuthorized),
        }
    }

    /// Whether what a connection was let in with still stands. Asked once more after the connection
    /// became known to those who end revoked ones, so that no revocation falls between the two.
    pub(crate) fn still_stands(&self, identity: &Identity) -> bool {
        let active = self
            .config
            .tenant(identity.tenant)
            .is_some_and(|tenant| tenant.status == TenantStatus::Active);
        active
            && self
                .config
                .credential(identity.tenant, &identity.username)
                .is_some_and(|(_, record)| has_secret(&record, identity.key_id))
    }

    /// What a principal may do now; `None` if its credential is gone.
    pub(crate) fn policy(&self, tenant: TenantId, principal: PrincipalId) -> Option<Policy> {
        let credential = CredentialId::from_bytes(*principal.as_bytes());
        let record = self.config.credential_by_id(tenant, credential)?;
        Some(record.policy)
    }

    fn find(&self, username: &str) -> Option<Found> {
        let (slug, device) = username.split_once('.')?;
        let slug: TenantSlug = slug.parse().ok()?;
        let device: DeviceUsername = device.parse().ok()?;
        let (tenant_id, tenant) = self.config.tenant_by_slug(&slug)?;
        let (credential, record) = self.config.credential(tenant_id, &device)?;
        Some(Found {
            tenant_id,
            tenant,
            credential,
            record,
        })
    }
}

fn has_secret(record: &CredentialRecord, key_id: KeyId) -> bool {
    record.secrets.iter().any(|secret| secret.key_id == key_id)
}

struct Found {
    tenant_id: TenantId,
    tenant: Arc<TenantRecord>,
    credential: CredentialId,
    record: Arc<CredentialRecord>,
}

impl Found {
    fn identity(self, key_id: Option<KeyId>) -> Result<Identity, AuthenticationError> {
        let key_id = key_id.ok_or(AuthenticationError::NotAuthorized)?;
        match self.tenant.status {
            TenantStatus::Active => Ok(Identity {
                tenant: self.tenant_id,
                credential: self.credential,
                principal: self.credential.into(),
                policy: self.record.policy,
                key_id,
                username: self.record.username.clone(),
            }),
            TenantStatus::Suspended => Err(AuthenticationError::Suspended),
        }
    }
}

/// Whether the shown digest is that of a live secret with the shown key id. Compares as many
/// digests as a credential may have, whatever there is, in constant time each.
fn secret_matches(
    record: Option<&CredentialRecord>,
    key_id: Option<KeyId>,
    shown: &SecretDigest,
) -> bool {
    let secrets = record.map_or(&[][..], |record| &record.secrets);
    let mut matched = false;
    for at in 0..CredentialRecord::SECRETS_MAX {
        let secret = secrets.get(at);
        // A digest of zeros stands for a secret that is not there: no HMAC is known to give it.
        let digest = secret.map_or(SecretDigest::from_bytes([0; 32]), |secret| secret.digest);
        let named = key_id.is_some() && secret.map(|secret| secret.key_id) == key_id;
        matched |= digest.matches(shown) & named;
    }
    matched
}
