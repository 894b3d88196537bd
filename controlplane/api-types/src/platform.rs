//! What the platform's operators see: nodes and the head of the configuration.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A data node, as the control plane knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// A number of 64 bits, as text, since JSON readers round such numbers.
    pub id: String,
    /// One life of its process: larger at each start.
    pub incarnation: u64,
    /// The newest configuration revision that it reported; null if none yet.
    pub applied_revision: Option<u64>,
    /// Whether it was heard from in the last ten seconds.
    pub live: bool,
    /// When it was last heard from.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
}

/// The head of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigHead {
    /// The history that the revision belongs to. It changes when the database is restored.
    pub timeline: String,
    /// The newest committed revision.
    pub revision: u64,
    /// The oldest change that is kept; a node that is further behind gets a snapshot.
    pub oldest_change: Option<u64>,
}
