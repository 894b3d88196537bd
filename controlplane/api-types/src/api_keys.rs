//! API keys: how a program says who it is to this API.

use serde::{Deserialize, Serialize};
use tessera_tenancy::{ApiKeyId, KeyId, TenantId};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::secret::Secret;

/// An API key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// `key_…`
    #[schema(value_type = String)]
    pub id: ApiKeyId,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The public part of its text: `tsk_<key id>_…`.
    #[schema(value_type = String)]
    pub key_id: KeyId,
    /// The only tenant it may see; null for a platform key.
    #[schema(value_type = Option<String>)]
    pub tenant: Option<TenantId>,
    /// Its number: the `ETag`.
    pub revision: u64,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// In the answer to a write: the newest configuration revision. Nodes are not told of API keys,
    /// so there is nothing to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_revision: Option<u64>,
}

/// An API key with its secret: the answer to creating it. Shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyWithSecret {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKey,
    /// What the program sends: `Authorization: Bearer tsk_…`.
    pub secret: Secret,
}

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    PlatformAdmin,
    /// Reads everything that is not a tenant's payload.
    PlatformViewer,
    /// Everything inside its tenant but its plan, its quotas and its existence.
    TenantAdmin,
    /// Reads inside its tenant.
    TenantViewer,
}

/// `POST /v1/tenants/{tenant}/api-keys` and `POST /v1/platform/api-keys`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCreate {
    /// For people. 1 to 128 characters.
    pub name: String,
    /// `tenant-admin` or `tenant-viewer` under a tenant, `platform-admin` or `platform-viewer` under
    /// the platform.
    pub role: Role,
}
