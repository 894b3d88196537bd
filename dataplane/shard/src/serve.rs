//! What other nodes ask of this one.

use bytes::Bytes;
use openraft::error::RaftError;
use serde::Serialize;

use crate::raft::Inner;
use crate::range::ShardId;
use crate::replicas::OpenStore;
use crate::wire::{Refusal, Request, answer};

pub(crate) async fn serve(
    store: &OpenStore,
    shard: ShardId,
    request: Request,
) -> Result<Bytes, Refusal> {
    match request {
        Request::Host(record, since) => store.host(record, since).await.map(|()| answer(&())),
        Request::Retire(since) => store.retire(shard, since).await.map(|()| answer(&())),
        Request::Append(_)
        | Request::Vote(_)
        | Request::PreVote(_)
        | Request::TransferLeader(_)
        | Request::Forward(_)
        | Request::ReadIndex
        | Request::Snapshot(_) => serve_replica(store, shard, request).await,
    }
}

async fn serve_replica(
    store: &OpenStore,
    shard: ShardId,
    request: Request,
) -> Result<Bytes, Refusal> {
    let replica = store.replicas().get(shard);
    let replica = replica.ok_or(Refusal::UnknownShard)?;
    let raft = &replica.raft;
    if let Request::Vote(vote) | Request::PreVote(vote) = &request
        && !replica.link.may_elect(vote.last_log_id)
    {
        return Err(Refusal::Unavailable);
    }
    match request {
        Request::Append(append) => {
            let is_beginning = append.prev_log_id.is_none() && !append.entries.is_empty();
            if is_beginning && replica.state.group.needs_snapshot() {
                return Err(Refusal::Unavailable);
            }
            let call = |raft: Inner| async move { raft.append_entries(append).await };
            raft_answer(raft.call(call).await)
        }
        Request::Vote(vote) => {
            raft_answer(raft.call(|raft| async move { raft.vote(vote).await }).await)
        }
        Request::PreVote(vote) => raft_answer(
            raft.call(|raft| async move { raft.pre_vote(vote).await })
                .await,
        ),
        Request::TransferLeader(transfer) => {
            let handled = raft
                .call(|raft| async move { raft.handle_transfer_leader(transfer).await })
                .await;
            handled
                .map(|answered| answer(&answered))
                .map_err(|_ended| Refusal::Unavailable)
        }
        Request::Forward(batches) => Ok(answer(&replica.forward(batches).await)),
        Request::ReadIndex => {
            let index = replica.read_index().await;
            index
                .map(|index| answer(&index))
                .ok_or(Refusal::Unavailable)
        }
        Request::Snapshot(part) => {
            let received = replica.receiver.receive(raft, &replica.state, part).await;
            received.map(|vote| answer(&vote))
        }
        // Answered above.
        Request::Host(..) | Request::Retire(_) => Err(Refusal::Malformed),
    }
}

fn raft_answer<T: Serialize, E>(
    answered: Result<T, RaftError<crate::raft_types::Types, E>>,
) -> Result<Bytes, Refusal>
where
    E: std::error::Error,
{
    answered
        .map(|answered| answer(&answered))
        .map_err(|_ended| Refusal::Unavailable)
}
