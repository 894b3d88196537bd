//! The types that Raft is instantiated with.

use std::fmt;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, EmptyNode, InlineBatch};
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::batch::EncodedBatch;

/// Standard Raft, one leader per term: a term is a fencing token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = EncodedBatch;
    type R = BatchReply;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<EncodedBatch, u64, EmptyNode>;
    type Entry = openraft::Entry<leader_id_std::CommittedLeaderId<u64>, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = OnComplete<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Metrics = openraft::RaftMetrics<Types>;
pub(crate) type WriteResult = openraft::raft::ClientWriteResult<Types>;

pub(crate) const fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: leader_id_std::CommittedLeaderId { term },
        index,
    }
}

/// What applying an entry answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BatchReply {
    /// An answer per command, now or by the same batch before.
    Answers(Vec<Bytes>),
    /// Applied before; the answers are no longer kept.
    Forgotten,
    /// Not applied: a batch before it is missing.
    Gap { expected: u64 },
    /// Not applied: the proposer has begun a later life.
    Stale,
    /// Not applied, for good: the range has another epoch than the proposer knew.
    Moved,
    /// The range was split: its later part is the shard of this number.
    Split(u64),
    /// The range was not split: it has another epoch, the key is not inside, or its members are
    /// changing.
    NotSplit,
    /// An entry without commands.
    Nothing,
}

/// The form in which a reply travels to a forwarding node.
#[derive(Serialize, Deserialize)]
enum WireReply {
    Answers(Vec<Vec<u8>>),
    Forgotten,
    Gap(u64),
    Stale,
    Nothing,
    Moved,
    Split(u64),
    NotSplit,
}

impl Serialize for BatchReply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = match self {
            Self::Answers(answers) => {
                WireReply::Answers(answers.iter().map(|answer| answer.to_vec()).collect())
            }
            Self::Forgotten => WireReply::Forgotten,
            Self::Gap { expected } => WireReply::Gap(*expected),
            Self::Stale => WireReply::Stale,
            Self::Nothing => WireReply::Nothing,
            Self::Moved => WireReply::Moved,
            Self::Split(child) => WireReply::Split(*child),
            Self::NotSplit => WireReply::NotSplit,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BatchReply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match WireReply::deserialize(deserializer)? {
            WireReply::Answers(answers) => {
                Self::Answers(answers.into_iter().map(Bytes::from).collect())
            }
            WireReply::Forgotten => Self::Forgotten,
            WireReply::Gap(expected) => Self::Gap { expected },
            WireReply::Stale => Self::Stale,
            WireReply::Nothing => Self::Nothing,
            WireReply::Moved => Self::Moved,
            WireReply::Split(child) => Self::Split(child),
            WireReply::NotSplit => Self::NotSplit,
        })
    }
}

/// Calls back with the result, on the thread that has it.
pub(crate) struct OnComplete<T>(Box<dyn FnOnce(T) + Send>);

impl<T> OnComplete<T> {
    pub(crate) fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }
}

impl<T> fmt::Debug for OnComplete<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnComplete")
    }
}

impl<T: Send + 'static> Responder<Types, T> for OnComplete<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
