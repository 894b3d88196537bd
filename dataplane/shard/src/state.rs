//! The state of the node: what applied entries left behind, in a few files per store kind.
//!
//! One writer per file (a *stripe*) applies the committed entries of all its groups, many in one
//! transaction. Those commits are not durable: the log is. Every few seconds or megabytes the
//! stripe commits durably (with quick-repair, so that the file opens at once after a crash); only
//! then may the log be purged. A restart replays the log from there.

mod applier;
mod extents;
mod group;
mod install;
mod machine;
mod rows;
mod spool;
mod stripe;

pub(crate) use extents::Birth;
pub(crate) use group::Group;
pub(crate) use machine::{SnapshotData, StateHandle};
pub(crate) use rows::{Area, Extent, LOCAL, ROWS, View};
pub(crate) use spool::{CHUNK_BYTES, Spool, SpoolWriter};
pub(crate) use stripe::{CheckpointPolicy, Stripe};
