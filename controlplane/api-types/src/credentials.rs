//! Credentials: how a device says who it is.

use serde::{Deserialize, Serialize};
use tessera_tenancy::{CredentialId, DeviceUsername, KeyId};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::page::Applied;
use crate::secret::Secret;

/// A credential without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// `crd_…`
    #[schema(value_type = String)]
    pub id: CredentialId,
    /// Its name inside the tenant.
    #[schema(value_type = String)]
    pub username: DeviceUsername,
    /// What the device sends as MQTT user name: `<tenant slug>.<username>`.
    pub mqtt_username: String,
    /// The policy that says what it may do; `allow-all` so far.
    pub policy: String,
    /// Its live secrets, the newest first: one, or two after a rotation.
    pub secrets: Vec<LiveSecret>,
    /// Its number: the `ETag`.
    pub revision: u64,
    /// The pushed change that made it so.
    pub config_revision: u64,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// After a write with `?wait=applied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// What may be told of a live secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveSecret {
    /// The public part of its text: `tsd_<key id>_…`.
    #[schema(value_type = String)]
    pub key_id: KeyId,
    /// When it was generated.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A credential with its newest secret: the answer to creating and to rotating. Shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialWithSecret {
    /// The credential.
    #[serde(flatten)]
    pub credential: Credential,
    /// What the device sends as MQTT password: `tsd_…`.
    pub secret: Secret,
}

/// `POST /v1/tenants/{tenant}/credentials`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialCreate {
    /// 1 to 128 of `A-Z a-z 0-9 . _ ~ : @ -`, unique in the tenant.
    pub username: String,
}
