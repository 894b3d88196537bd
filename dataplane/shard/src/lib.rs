//! The shard engine: Raft groups on redb with group commit.
//!
//! A store (dist, inbox, retain) gives the engine a [`StateMachine`] over ordered rows. The engine
//! cuts the keys into ranges, keeps a Raft group for each, and tells a proposer only what is on
//! disk and applied.
//!
//! ```text
//! submit ─> queue per tenant ─> numbered batch ─> Raft ─> log (fsync) ─> apply ─> answer
//!           `fair`              `batch`            │      `log`          `state`
//!           └───── `proposer` ────────┘            └── `peer` ─> `Transport` ─> `serve` ──┐
//!                                                      other nodes' replicas do the same <┘
//! ```
//!
//! # Contents
//! - [`Engine`], [`Store`], [`Shard`], [`Proposal`]: what a store's service holds.
//! - [`StateMachine`], [`Rows`], [`RowsMut`]: what a store's `apply` and queries see.
//! - `proposer`, `fair`, `batch`, `dedupe`: from commands to entries that apply once and in order,
//!   whoever leads.
//! - `log`: one file and one writer for all groups of the node.
//! - `state`: stripes, each a file and a writer that applies; checkpoints, snapshots.
//! - `replica`, `replicas`, `members`, `split`, `snapshot`: a group on this node; the groups of a
//!   store; who is in a group; cutting a range; taking a replica along that is far behind.
//! - [`Transport`], `wire`, `peer`, `serve`, [`Switchboard`]: how nodes reach each other, what they
//!   say, both ends of it, and a way between engines of one process.
//! - `space`, `digest`, `status`: how full the disk is; whether replicas are the same; where one
//!   stands.
//! - [`Seams`], [`Disk`], [`Workers`], `runtime`, `watched`: what a simulation replaces, so that on
//!   one thread a seed decides everything.
//! - [`LocalStore`], [`NodeIdentity`]: what else a node keeps on disk.
//!
//! # Invariants
//! - A vote, an append and a proposal are acknowledged only after the fsync that covers them; a
//!   group's operations reach the disk in the order of their calls.
//! - Every key has at most one replica on a node, and exactly one shard in an epoch. A command
//!   writes only rows of its scope's tenant and of its shard; anything else fences the node.
//! - A batch for another epoch of its range is not applied, and its proposer is told.
//! - The log is purged only up to what a durable commit of the state covers, and a group is not
//!   opened when entries are missing between the two.
//! - A batch number is applied once, and only right after the one before it. No two replicas that a
//!   node ever makes number as the same proposer.
//! - "Not applied" is told only of a command that was never sent, or that the group said so of.
//! - A learner becomes a voter only with everything that was committed when it was asked for.
//! - A node that left a group does not begin it again by an older word than that of its leaving; a
//!   replica is made empty, and never over a vote, a log or keys that another one here has.
//! - A replica that was made after a split begins with a snapshot: it could not apply the log of before.
//! - What is read from a file is what was written: every value has a checksum over table, key and
//!   value. (A key that a flipped bit moved is seen by scans, and missed by a get of the old key.)
//! - After the first storage error, a panic in `apply` included, nothing is acknowledged any more.
//! - Everything queued is bounded: commands by bytes per shard, batches in flight by bytes and
//!   count, work of the writers by what is in flight, messages and parts of snapshots by bytes.
//!
//! # Decisions
//! - *Log on redb, one-phase commits.* One fsync per group commit. redb's pages carry a
//!   non-cryptographic checksum, so somebody who controls both payloads and power cuts could in
//!   theory forge a commit; two phases would cost a second fsync on every acknowledgement. State
//!   files do commit in two phases (quick-repair), a few times a minute.
//! - *The committed position lies behind the newest entry*, on the same page: saving it is free.
//! - *State is applied by a writer per file*, not by Raft's task: redb blocks, the runtime must not.
//! - *A snapshot is a read transaction* at the last durable commit: O(1), and it keeps no page from
//!   reuse that the commit does not keep itself. To send it, it is read in bounded blocks, for at
//!   most 15 minutes.
//! - *A snapshot that was interrupted is finished when its file is opened*, before the group votes:
//!   simpler than voting with half-replaced rows, and as rare as a crash in those seconds.
//! - *A term is one life of one leader*: standard Raft leader ids, and a restarted leader is elected
//!   anew, so that a term can fence.
//! - *A proposer keeps a batch until its outcome is known* and sends it again under its number, to
//!   whoever leads. Its askers may be told earlier that the outcome is unknown; the number is not
//!   given up, for those behind it would never be applied.
//! - *A file that is being made has a mark beside it*, on disk from before its first byte until the
//!   file is whole: only with the mark is a file that does not open begun anew. A zeroed file without
//!   one is damage, and refused.
//! - *A change of members whose caller or leader went away is ended by whoever leads*, within about a
//!   second: undoing it would need the same agreement.
//! - *A batch of another epoch uses up its number*, else everything behind it would wait for ever.
//! - *A child's id is drawn from its parent's and the log index*: every replica names it alike without
//!   asking anybody.
//! - *A removed leader hands over first*: removing itself is refused.
//! - *A follower keeps the last 64 mebibytes of log*: it does not know how far the others are, and
//!   may lead tomorrow.
//! - *Group time is the largest batch time.* Keeping a clock step from expiring things at once is
//!   the business of the clock that is passed in.

#![warn(missing_docs)]

mod batch;
mod bytes_io;
mod checksum;
mod database;
mod dedupe;
mod digest;
mod disk;
mod engine;
mod error;
mod fair;
mod fence;
mod folder;
mod identity;
mod local;
mod log;
mod machine;
mod members;
mod options;
mod peer;
mod proposer;
mod raft;
mod raft_types;
mod range;
mod replica;
mod replicas;
mod runtime;
mod serve;
mod snapshot;
mod space;
mod split;
mod state;
mod status;
mod store;
mod switchboard;
mod transport;
mod watched;
mod wire;
mod workers;

pub use digest::StateDigest;
pub use disk::{Disk, DiskFile};
pub use engine::{Engine, WeakEngine};
pub use error::{ChangeError, OpenError, ProposeError, ReadError, RowError};
pub use fence::FenceCause;
pub use identity::{IDENTITY_RANDOM_LEN, IdentityError, NodeIdentity};
pub use local::{LocalStore, LocalStoreError};
pub use machine::{ApplyContext, Rows, RowsMut, Scope, StateMachine, Visit};
pub use members::Members;
pub use options::{
    COMMAND_BYTES_MAX, Clock, EngineOptions, KEY_BYTES_MAX, RaftTiming, Seams, VALUE_BYTES_MAX,
};
pub use proposer::Proposal;
pub use range::{ShardId, StoreKind};
pub use runtime::Random;
pub use space::{Capacity, DISK_FULL_PERCENT, DISK_HIGH_PERCENT, DiskState};
pub use status::{LogChecksum, LogPosition, ShardStatus};
pub use store::{Shard, Store};
pub use switchboard::{Faults, Switchboard};
pub use transport::{MESSAGE_BYTES_MAX, Transport, TransportError};
pub use workers::Workers;

#[cfg(test)]
mod tests;
