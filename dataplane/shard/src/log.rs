//! The log of the node: one file for all its groups, written by one thread.
//!
//! ```text
//! groups ── append, vote, truncate, purge ──> queue ── writer thread ──> one transaction, fsynced
//!    ^                                                                          │
//!    └── entries are readable at once ── callbacks and answers only after ──────┘
//! ```
//!
//! While a transaction is on its way to the disk, the next operations of every group gather and
//! go into the next one together: group commit without a timer. Operations of a group are written
//! in the order of their calls, so a vote never overtakes an append.

mod claim;
mod group;
mod rows;
mod sizes;
mod writer;
mod written;

pub(crate) use claim::{read_claim, read_ranges, read_tombstone, write_claim};
pub(crate) use group::{GroupLog, LogHandle, payload_bytes};
pub(crate) use rows::{ENTRIES, META, encode_vote, read_vote};
pub(crate) use writer::NodeLog;
pub(crate) use written::Written;
