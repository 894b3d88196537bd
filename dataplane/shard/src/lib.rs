//! The shard engine: Raft groups on redb with group commit.

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
