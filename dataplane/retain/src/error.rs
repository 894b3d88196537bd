//! Errors, an enum per operation.

use tessera_shard::{ProposeError, ReadError};

/// Why a message was not retained or cleared. What was taken may still be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The shard did not take or answer the command.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The shard's answer is not one to this command.
    #[error("the shard answered in a form that this version does not know")]
    Answer,
}

/// Why a step of expiry failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpireError {
    /// The shard did not take or answer the command.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The rows could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The shard's answer is not one to this command.
    #[error("the shard answered in a form that this version does not know")]
    Answer,
}
