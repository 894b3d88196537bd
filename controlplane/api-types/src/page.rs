//! Lists, and how far a write has got.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, at most `limit`.
    pub data: Vec<T>,
    /// Hand it back as `cursor` for what follows; null at the end. Opaque, bound to the list and its
    /// filters, good for a day.
    pub next_cursor: Option<String>,
}

/// How many live nodes serve with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Live nodes that have applied it.
    pub nodes: u32,
    /// Live nodes: those heard from in the last ten seconds.
    pub of: u32,
}

/// The answer 202 to a DELETE that some live node had not applied after five seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WriteAccepted {
    /// The number of the pushed change. It is committed, and every node will get it.
    pub config_revision: u64,
    /// Which part of the nodes has it by now.
    pub applied: Applied,
}
