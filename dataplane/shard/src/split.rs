//! Splitting a range: a replicated command that moves no data.
//!
//! Applied, it gives the keys from `at` on to a new shard, whose rows lie where they are. The child
//! begins with the parent's members and a log that is purged up to a made-up position, the same on
//! every replica, so any of them can lead it. The parent's epoch rises, and whoever still goes by the
//! old range is told so.
//!
//! A replica that is behind makes the child when it comes to the command in the parent's log, and
//! refuses it before. One that gets a later snapshot of the parent instead loses the rows that are
//! the child's, and gets the child from its leader like any new member.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use tessera_tenancy::NodeId;

use crate::batch::EncodedBatch;
use crate::bytes_io::{Reader, put_part};
use crate::error::ChangeError;
use crate::machine::Rows as _;
use crate::raft_types::{BatchReply, LogId, log_id};
use crate::range::ShardId;
use crate::replica::Replica;
use crate::state::View;

/// The form of the command, among those of batches.
const FORM: u8 = 128;
/// How long a split may take before its caller is told that it is unknown.
const SPLIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the node that leads a parent asks for votes for the child before it leaves that to time.
const ELECTIONS: usize = 20;

/// The position that a child's log and state begin with.
pub(crate) const fn beginning() -> LogId {
    log_id(0, 1)
}

/// Split a range, if it still has this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitCommand {
    pub(crate) epoch: u64,
    pub(crate) at: Vec<u8>,
}

impl SplitCommand {
    pub(crate) fn encode(&self) -> EncodedBatch {
        let mut out = vec![FORM];
        out.extend_from_slice(&self.epoch.to_le_bytes());
        put_part(&mut out, &self.at);
        EncodedBatch::from_stored(Bytes::from(out))
    }

    /// `None` if it is something else, or damaged: then it is no batch either.
    pub(crate) fn decode(stored: &EncodedBatch) -> Option<Self> {
        if stored.form()? != FORM {
            return None;
        }
        let mut reader = Reader::new(stored.as_bytes().get(1..)?);
        let (epoch, at) = (reader.u64()?, reader.part()?.to_vec());
        reader.is_empty().then_some(Self { epoch, at })
    }
}

impl Replica {
    /// Splits the range at a key, as an operator says. The shard that has the keys from there on.
    pub(crate) async fn split_at(&self, at: &[u8]) -> Result<ShardId, ChangeError> {
        let Ok(_changing) = self.changing.try_lock() else {
            return Err(ChangeError::InProgress);
        };
        let epoch = self.state.group.extent().epoch;
        let command = SplitCommand {
            epoch,
            at: at.to_vec(),
        };
        let command = command.encode();
        let split = self
            .raft
            .call(|raft| async move { raft.client_write(command).await });
        let proposed = tokio::time::timeout(SPLIT_TIMEOUT, split).await;
        match proposed {
            Ok(Ok(response)) => match response.data {
                BatchReply::Split(child) => Ok(ShardId::from_u64(child)),
                BatchReply::NotSplit
                | BatchReply::Answers(_)
                | BatchReply::Forgotten
                | BatchReply::Gap { .. }
                | BatchReply::Stale
                | BatchReply::Moved
                | BatchReply::Nothing => Err(ChangeError::NotSplit),
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ChangeError::NotLeader {
                    leader: forward.leader_id.map(NodeId),
                })
            }
            Ok(Err(RaftError::Fatal(_ended))) => Err(self.ended_change()),
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(ChangeError::Unavailable),
        }
    }

    /// Splits the range in the middle of its bytes if it has more than `bytes`; `None` if it has not.
    /// Reads all of its keys.
    pub(crate) async fn split_if_larger(&self, bytes: u64) -> Result<Option<ShardId>, ChangeError> {
        let state = self.state.clone();
        let look = move || {
            let database = state.stripe.database().get()?;
            let view = View::now(&database, state.group.extent()).ok()?;
            middle(&view, bytes)
        };
        let found = self.link.link.workers.run(look).await;
        match found.flatten() {
            Some(at) => self.split_at(&at).await.map(Some),
            None => Ok(None),
        }
    }

    /// Asks for votes for a child of a shard that this node leads, until it has a leader.
    pub(crate) async fn hasten(self: Arc<Self>) {
        for _ in 0..ELECTIONS {
            if self.raft.leader().is_some() || self.fence.is_tripped() {
                return;
            }
            if self
                .raft
                .call(|raft| async move { raft.trigger().elect(true).await })
                .await
                .is_err()
            {
                return;
            }
            tokio::time::sleep(self.timing.heartbeat).await;
        }
    }
}

/// The key in the middle of the bytes of all rows, if there are more than `bytes`.
fn middle(view: &View, bytes: u64) -> Option<Vec<u8>> {
    let size = |key: &[u8], value: &[u8]| u64::try_from(key.len() + value.len()).unwrap_or(0);
    let mut total = 0;
    view.scan(&[], &[], &mut |key, value| {
        total += size(key, value);
        ControlFlow::Continue(())
    })
    .ok()?;
    if total <= bytes {
        return None;
    }
    let (mut before, mut at) = (0, None);
    view.scan(&[], &[], &mut |key, value| {
        if before >= total / 2 {
            at = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        before += size(key, value);
        ControlFlow::Continue(())
    })
    .ok()?;
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_reads_back_and_has_this_form() {
        let command = SplitCommand {
            epoch: 3,
            at: b"key".to_vec(),
        };
        let stored = command.encode();
        assert_eq!(SplitCommand::decode(&stored), Some(command));
        let golden = "80030000000000000003000000".to_owned() + "6b6579";
        assert_eq!(tessera_tenancy::encode_hex(stored.as_bytes()), golden);
        let batch = EncodedBatch::from_stored(Bytes::from_static(&[2, 0, 0]));
        assert_eq!(SplitCommand::decode(&batch), None);
        let cut = EncodedBatch::from_stored(Bytes::copy_from_slice(&stored.as_bytes()[..14]));
        assert_eq!(SplitCommand::decode(&cut), None);
    }
}
