//! The state of the node: what applied entries left behind, in a few files per store kind.
//!
//! One thread per file (a *stripe*) applies the committed entries of all its groups, many in one
//! transaction. Those commits are not durable: the log is. Every few seconds or megabytes the
//! stripe commits durably (with quick-repair, so that the file opens at once after a crash); only
//! then may the log be purged. A restart replays the log from there.

mod group;
mod install;
mod machine;
mod rows;
mod stripe;

pub(crate) use machine::{SnapshotView, StateHandle};
pub(crate) use rows::{Extent, View};
pub(crate) use stripe::{CheckpointPolicy, Stripe};
