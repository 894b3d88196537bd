//! A group's replicas on other nodes, as Raft calls them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::alias::SnapshotOf;
use openraft::error::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2, impls::EmptyNode};
use serde::de::DeserializeOwned;
use tessera_tenancy::{ClusterId, NodeId};

use crate::raft_types::{LogId, Types, Vote};
use crate::range::{RangeRecord, StoreKind};
use crate::snapshot::{SNAPSHOT_TIME_MAX, send_snapshot};
use crate::state::{Group, SnapshotData};
use crate::transport::{Transport, TransportError};
use crate::wire::{Envelope, Refusal, Request, read_answer};
use crate::workers::Workers;

/// This node's way to all others.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) workers: Workers,
    /// Snapshots sent so far: their numbers.
    pub(crate) transfers: AtomicU64,
}

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the node refused: {0:?}")]
    Refused(Refusal),
}

impl Link {
    async fn call<T: DeserializeOwned>(
        &self,
        to: NodeId,
        envelope: &Envelope,
        request: &Request,
        within: Duration,
    ) -> Result<T, CallError> {
        let Some(transport) = &self.transport else {
            return Err(TransportError::Unreachable { to }.into());
        };
        let request = request.encode(envelope);
        let request = request.ok_or(CallError::Refused(Refusal::Malformed))?;
        let answered = tokio::time::timeout(within, transport.call(to, request)).await;
        let answer = answered.map_err(|_elapsed| TransportError::Timeout { to })??;
        read_answer(&answer).map_err(CallError::Refused)
    }
}

/// One group's way to its replicas.
#[derive(Debug, Clone)]
pub(crate) struct GroupLink {
    pub(crate) link: Arc<Link>,
    pub(crate) kind: StoreKind,
    pub(crate) group: Arc<Group>,
    /// Since which change of its members this node was out of the group, if it comes back to it. Until
    /// its log has that change, it knows old members only, and must neither vote nor be voted for among
    /// those: its old vote and log are gone, and with them what it had promised.
    pub(crate) left: Option<LogId>,
}

impl GroupLink {
    /// Whether a candidate with this last entry may have this node's vote, or be it.
    pub(crate) fn may_elect(&self, last: Option<LogId>) -> bool {
        self.left.is_none() || last >= self.left
    }

    /// Asks the replica on `to`, if it has one.
    pub(crate) async fn call_member<T: DeserializeOwned>(
        &self,
        to: NodeId,
        request: &Request,
        within: Duration,
    ) -> Result<T, CallError> {
        self.link.call(to, &self.envelope(), request, within).await
    }

    /// Asks the replica on `to`. A node that has none is told to make one, and asked again.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        to: NodeId,
        request: &Request,
        within: Duration,
    ) -> Result<T, CallError> {
        let envelope = self.envelope();
        let answered = self.link.call(to, &envelope, request, within).await;
        match answered {
            Err(CallError::Refused(Refusal::UnknownShard)) => {
                let host = Request::Host(self.record(), self.members_since());
                self.link.call::<()>(to, &envelope, &host, within).await?;
                self.link.call(to, &envelope, request, within).await
            }
            Ok(_) | Err(_) => answered,
        }
    }

    fn envelope(&self) -> Envelope {
        let extent = self.group.extent();
        Envelope {
            cluster: self.link.cluster,
            kind: self.kind,
            shard: extent.shard,
            epoch: extent.epoch,
        }
    }

    /// The log index of the members as this node has applied them.
    fn members_since(&self) -> u64 {
        let (_, members) = self.group.applied();
        members.log_id().as_ref().map_or(0, |id| id.index)
    }

    fn record(&self) -> RangeRecord {
        let extent = self.group.extent();
        RangeRecord {
            shard: extent.shard,
            epoch: extent.epoch,
            // Chosen by the node that makes the replica.
            stripe: 0,
            range: (*extent.range).clone(),
            founders: Vec::new(),
        }
    }
}

impl RaftNetworkFactory<Types> for GroupLink {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        Peer {
            target: NodeId(target),
            group: self.clone(),
        }
    }
}

/// One replica elsewhere.
#[derive(Debug)]
pub(crate) struct Peer {
    target: NodeId,
    group: GroupLink,
}

impl Peer {
    async fn call<T: DeserializeOwned>(
        &self,
        action: RPCTypes,
        request: Request,
        option: &RPCOption,
    ) -> Result<T, RPCError<Types>> {
        let within = option.hard_ttl();
        let called = self.group.call(self.target, &request, within).await;
        called.map_err(|error| match error {
            CallError::Transport(TransportError::Timeout { .. }) => RPCError::Timeout(Timeout {
                action,
                id: self.group.link.node.0,
                target: self.target.0,
                timeout: within,
            }),
            CallError::Refused(Refusal::Malformed) => RPCError::Network(NetworkError::new(&error)),
            CallError::Transport(TransportError::Unreachable { .. }) | CallError::Refused(_) => {
                RPCError::Unreachable(Unreachable::new(&error))
            }
        })
    }
}

impl Peer {
    fn check_candidate(&self, request: &VoteRequest<Types>) -> Result<(), RPCError<Types>> {
        if self.group.may_elect(request.last_log_id) {
            return Ok(());
        }
        let to = self.target;
        let unasked = Unreachable::new(&TransportError::Unreachable { to });
        Err(RPCError::Unreachable(unasked))
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = Request::Append(request);
        self.call(RPCTypes::AppendEntries, request, &option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.check_candidate(&request)?;
        let request = Request::Vote(request);
        self.call(RPCTypes::Vote, request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.check_candidate(&request)?;
        let request = Request::PreVote(request);
        self.call(RPCTypes::Vote, request, &option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = Request::TransferLeader(request);
        self.call(RPCTypes::TransferLeader, request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = send_snapshot(&self.group, self.target, vote, snapshot);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = tokio::time::timeout(SNAPSHOT_TIME_MAX, sending) => match sent {
                Ok(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
                Ok(Err(error)) => Err(Unreachable::new(&error).into()),
                Err(late) => Err(Unreachable::new(&late).into()),
            },
        }
    }
}
