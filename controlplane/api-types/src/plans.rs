//! Plans: what a tenant is granted unless it is overridden.

use serde::{Deserialize, Serialize};
use tessera_tenancy::PlanSlug;
use utoipa::ToSchema;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Its name: `free`, `pro`, `enterprise`, `dev`.
    #[schema(value_type = String)]
    pub slug: PlanSlug,
    /// What it grants: one row for every quota.
    pub limits: Vec<PlanLimit>,
}

/// What a plan grants of one quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanLimit {
    /// The quota's name.
    pub name: String,
    /// How much; null is unlimited.
    pub limit: Option<u64>,
    /// What it counts.
    pub unit: String,
}
