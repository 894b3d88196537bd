//! Errors, an enum per operation.

use tessera_mqtt::Qos;
use tessera_shard::{ProposeError, ReadError};
use tessera_tenancy::NodeId;

use crate::queue::SUBSCRIPTION_IDS_MAX;

/// Why a session was not attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The client identifier belongs to another principal of the tenant.
    #[error("the client identifier belongs to another principal")]
    OtherPrincipal,
    /// Too many connections ask for this client identifier at once.
    #[error("{waiting} connections wait for this client identifier")]
    Contended {
        /// How many.
        waiting: usize,
    },
    /// The node that has the client's connection did not answer, and may still have it.
    #[error("node {node} has the client's connection and does not answer")]
    FormerOwner {
        /// Which.
        node: NodeId,
    },
    /// The shard did not take or answer the command.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The stored session could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The shard's answer is not one to this command.
    #[error("the shard answered in a form that this version does not know")]
    Answer,
}

/// Why an operation on a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The session was taken over, discarded or has expired: its former owner may do nothing more.
    #[error("the session has another owner now")]
    Stale,
    /// The session is transient: it has nothing stored.
    #[error("the session is transient")]
    Transient,
    /// The session has as many subscriptions as one may have.
    #[error("a session has at most {limit} subscriptions")]
    TooManySubscriptions {
        /// The bound.
        limit: u32,
    },
    /// The session holds as many QoS 2 packet identifiers as one may hold.
    #[error("a session holds at most {limit} received QoS 2 packet identifiers")]
    TooManyPacketIds {
        /// The bound.
        limit: usize,
    },
    /// The session has no such subscription or packet identifier to finish.
    #[error("there is nothing of that name to finish")]
    Unknown,
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

/// Why a message was not queued. What was taken before the error may be stored: at least once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// A target asks for QoS 0, which is not queued.
    #[error("a queue takes QoS 1 and 2, not {qos:?}")]
    Qos {
        /// What was asked.
        qos: Qos,
    },
    /// A target has more Subscription Identifiers than one delivery may carry.
    #[error("{given} subscription identifiers in one delivery, at most {SUBSCRIPTION_IDS_MAX}")]
    TooManySubscriptionIds {
        /// How many.
        given: usize,
    },
    /// The publisher has as many QoS 2 publishes that may come again as one may have.
    #[error("a publisher has at most {limit} unsettled QoS 2 publishes")]
    Unsettled {
        /// The bound.
        limit: usize,
    },
    /// The shard did not take or answer the command.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The shard's answer is not one to this command.
    #[error("the shard answered in a form that this version does not know")]
    Answer,
}
