//! The shard engine: Raft groups on redb with group commit.
//!
//! A store (dist, inbox, retain) gives the engine a [`StateMachine`] over ordered rows. The engine
//! cuts the keys into ranges, keeps a Raft group for each, and tells a proposer only what is on
//! disk and applied.
//!
//! ```text
//! submit ─> queue per tenant ─> numbered batch ─> Raft ─> log (fsync) ─> apply ─> answer
//!           `fair`              `batch`                   `log`          `state`
//!           └───── `proposer` ────────┘
//! ```
//!
//! # Contents
//! - [`Engine`], [`Store`], [`Shard`], [`Proposal`]: what a store's service holds.
//! - [`StateMachine`], [`Rows`], [`RowsMut`]: what a store's `apply` and queries see.
//! - `proposer`, `fair`, `batch`, `dedupe`: from commands to entries that apply once and in order.
//! - `log`: one file and one writer thread for all groups of the node.
//! - `state`: stripes, each a file and a thread that applies; checkpoints, snapshots.
//! - `replica`: Raft itself, leading, purging. `transport`: peers, of which there are none yet.
//! - [`LocalStore`], [`NodeIdentity`]: what else a node keeps on disk.
//!
//! # Invariants
//! - A vote, an append and a proposal are acknowledged only after the fsync that covers them; a
//!   group's operations reach the disk in the order of their calls.
//! - Every key has exactly one shard. A command writes only rows of its scope's tenant and of its
//!   shard; anything else fences the node.
//! - The log is purged only up to what a durable commit of the state covers, and a group is not
//!   opened when entries are missing between the two.
//! - A batch number is applied once, and only right after the one before it.
//! - What is read from a file is what was written: every value has a checksum over table, key and
//!   value. (A key that a flipped bit moved is seen by scans, and missed by a get of the old key.)
//! - After the first storage error, a panic in `apply` included, nothing is acknowledged any more.
//! - Everything queued is bounded: commands by bytes per shard, batches in flight by bytes and
//!   count, work of the writer threads by what is in flight.
//!
//! # Decisions
//! - *Log on redb, one-phase commits.* One fsync per group commit. redb's pages carry a
//!   non-cryptographic checksum, so somebody who controls both payloads and power cuts could in
//!   theory forge a commit; two phases would cost a second fsync on every acknowledgement. State
//!   files do commit in two phases (quick-repair), a few times a minute.
//! - *The committed position lies behind the newest entry*, on the same page: saving it is free.
//! - *State is applied by a thread per file*, not by Raft's task: redb blocks, the runtime must not.
//! - *A snapshot is a read transaction* at the last durable commit: O(1), and it keeps no page from
//!   reuse that the commit does not keep itself. It is read in this process only; a group of one
//!   voter never sends one.
//! - *A term is one life of one leader*: standard Raft leader ids, and a restarted leader is elected
//!   anew, so that a term can fence.
//! - *A proposer that lost a number stops* for this life. With one voter that cannot happen; with
//!   more it will repeat the same numbers to the next leader.
//! - *Group time is the largest batch time.* Keeping a clock step from expiring things at once is
//!   the business of the clock that is passed in.

#![warn(missing_docs)]

mod batch;
mod bytes_io;
mod checksum;
mod database;
mod dedupe;
mod engine;
mod error;
mod fair;
mod fence;
mod folder;
mod identity;
mod local;
mod log;
mod machine;
mod options;
mod proposer;
mod raft_types;
mod range;
mod replica;
mod state;
mod store;
mod transport;

pub use engine::Engine;
pub use error::{OpenError, ProposeError, ReadError, RowError};
pub use fence::FenceCause;
pub use identity::{IDENTITY_RANDOM_LEN, IdentityError, NodeIdentity};
pub use local::{LocalStore, LocalStoreError};
pub use machine::{ApplyContext, Rows, RowsMut, Scope, StateMachine, Visit};
pub use options::{COMMAND_BYTES_MAX, Clock, EngineOptions, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use proposer::Proposal;
pub use range::{ShardId, StoreKind};
pub use store::{Shard, Store};

#[cfg(test)]
mod tests;
