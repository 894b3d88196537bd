//! Who the caller is.

use serde::{Deserialize, Serialize};
use tessera_tenancy::{ApiKeyId, TenantId, TenantSlug};
use utoipa::ToSchema;

use crate::api_keys::Role;

/// `GET /v1/whoami`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The API key of this request.
    #[schema(value_type = String)]
    pub api_key: ApiKeyId,
    /// Its name for people.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// What the role may do, in order: `credentials:write`, …
    pub scopes: Vec<String>,
    /// The only tenant it may see; null for a platform key.
    pub tenant: Option<WhoamiTenant>,
}

/// The tenant of a tenant's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoamiTenant {
    /// `ten_…`
    #[schema(value_type = String)]
    pub id: TenantId,
    /// Its slug.
    #[schema(value_type = String)]
    pub slug: TenantSlug,
}
