//! Whether the process lives and can serve.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /healthz` and `GET /readyz`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `unavailable` with status 503.
    pub status: HealthStatus,
    /// The version of the control plane.
    pub version: String,
}

/// A state of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Serves.
    Ok,
    /// Cannot serve now: the database does not answer.
    Unavailable,
}
