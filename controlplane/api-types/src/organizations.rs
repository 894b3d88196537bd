//! Organizations: the customers that own tenants.

use serde::{Deserialize, Serialize};
use tessera_tenancy::OrganizationId;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    /// `org_…`
    #[schema(value_type = String)]
    pub id: OrganizationId,
    /// Its name in paths, unique in the installation.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Its number: the `ETag`.
    pub revision: u64,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// In the answer to a write: the newest configuration revision. Nodes are not told of
    /// organizations, so there is nothing to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_revision: Option<u64>,
}

/// `POST /v1/organizations`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationCreate {
    /// A DNS label: 1 to 63 of `a-z 0-9 -`, a letter first, no hyphen last.
    pub slug: String,
    /// For people; the slug unless given. 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
