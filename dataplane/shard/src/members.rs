//! Who is in a group: learner → voter → removed, one change at a time, by its leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::impls::EmptyNode;
use openraft::metrics::WaitError;
use tessera_tenancy::NodeId;

use crate::error::ChangeError;
use crate::peer::CallError;
use crate::raft_types::{Metrics, StoredMembership, Types};
use crate::replica::Replica;
use crate::wire::Request;

/// How long a change of members may take before its caller is told that it is unknown. Nothing is
/// undone: it may still take effect.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The members of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// They decide, in the order of their ids. During a change, those of before and after.
    pub voters: Vec<NodeId>,
    /// They follow the log and decide nothing.
    pub learners: Vec<NodeId>,
}

/// A change of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    AddLearner(NodeId),
    Promote(NodeId),
    Remove(NodeId),
}

impl Members {
    pub(crate) fn of(members: &StoredMembership) -> Self {
        Self {
            voters: members.voter_ids().map(NodeId).collect(),
            learners: members.membership().learner_ids().map(NodeId).collect(),
        }
    }
}

impl Replica {
    /// The members as this node knows them.
    pub(crate) fn members(&self) -> Members {
        Members::of(&self.raft.metrics().borrow_watched().membership_config)
    }

    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change(Change::AddLearner(node)).await
    }

    pub(crate) async fn promote(&self, node: NodeId) -> Result<(), ChangeError> {
        self.await_caught_up(node).await?;
        self.change(Change::Promote(node)).await
    }

    /// Waits for a short while until a learner has everything that this node has applied now.
    async fn await_caught_up(&self, node: NodeId) -> Result<(), ChangeError> {
        if !self.members().learners.contains(&node) {
            return Ok(());
        }
        let (applied, _) = self.state.group.applied();
        let wait = self.raft.wait(self.timing.election_max);
        let is_there = |metrics: &Metrics| {
            let Some(replication) = &metrics.replication else {
                // It does not lead, as the change will tell.
                return true;
            };
            replication.get(&node.0).is_some_and(|at| *at >= applied)
        };
        match wait.metrics(is_there, "a learner to catch up").await {
            Ok(_metrics) => Ok(()),
            Err(WaitError::Timeout(..)) => Err(ChangeError::NotCaughtUp { node }),
            Err(WaitError::ShuttingDown) => Err(self.ended_change()),
        }
    }

    /// Removes a member, then tells it so; one that cannot be told keeps its files until it is.
    pub(crate) async fn remove(&self, node: NodeId) -> Result<(), ChangeError> {
        if node == self.link.link.node {
            return Err(ChangeError::Leads { node });
        }
        self.change(Change::Remove(node)).await?;
        self.tell_removed(node).await;
        Ok(())
    }

    async fn tell_removed(&self, node: NodeId) {
        let (_, members) = self.state.group.applied();
        let Some(since) = *members.log_id() else {
            return;
        };
        let told: Result<(), CallError> = self
            .link
            .call_member(node, &Request::Retire(since), self.timing.election_max)
            .await;
        if let Err(error) = told {
            tracing::info!(%node, %error, "a removed replica was not told");
        }
    }

    /// Ends a change of members that was begun and that nobody ends: its caller went away, or its
    /// leader. Until it is ended, the old and the new voters must agree on everything. On the leader,
    /// else nothing is done.
    pub(crate) async fn finish_change(&self) {
        let (_, members) = self.state.group.applied();
        let [before, after] = members.membership().get_joint_config().as_slice() else {
            return;
        };
        let Ok(_changing) = self.changing.try_lock() else {
            return;
        };
        if !self.raft.is_leader() {
            return;
        }
        let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
        let ending = self
            .raft
            .call(|raft| async move { raft.change_membership(nobody, false).await });
        match tokio::time::timeout(self.timing.election_max, ending).await {
            Ok(Ok(_ended)) => {}
            Ok(Err(error)) => {
                tracing::info!(shard = %self.shard(), %error, "a change of members goes on");
                return;
            }
            Err(_late) => return,
        }
        for node in before.difference(after) {
            if *node != self.link.link.node.0 {
                self.tell_removed(NodeId(*node)).await;
            }
        }
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let Ok(_changing) = self.changing.try_lock() else {
            return Err(ChangeError::InProgress);
        };
        // Raft would end what is half done first, and then take this on top: whoever asked for it saw
        // the voters of before and after, and might be left with one fewer than it meant.
        if self.is_half_changed() {
            return Err(ChangeError::InProgress);
        }
        let members = self.resolve(change)?;
        let changing = self
            .raft
            .call(|raft| async move { raft.change_membership(members, false).await });
        match tokio::time::timeout(CHANGE_TIMEOUT, changing).await {
            Ok(Ok(_done)) => Ok(()),
            Ok(Err(error)) => Err(self.change_error(error, change)),
            Err(_late) => Err(ChangeError::Unavailable),
        }
    }

    fn is_half_changed(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        configs.len() > 1
    }

    fn resolve(&self, change: Change) -> Result<ChangeMembers<u64, EmptyNode>, ChangeError> {
        let members = self.members();
        match change {
            Change::AddLearner(node) => {
                let nodes = BTreeMap::from([(node.0, EmptyNode {})]);
                Ok(ChangeMembers::AddNodes(nodes))
            }
            Change::Promote(node) => Ok(ChangeMembers::AddVoterIds(BTreeSet::from([node.0]))),
            Change::Remove(node) if members.voters.contains(&node) => {
                Ok(ChangeMembers::RemoveVoters(BTreeSet::from([node.0])))
            }
            Change::Remove(node) if members.learners.contains(&node) => {
                Ok(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])))
            }
            Change::Remove(node) => Err(ChangeError::NotMember { node }),
        }
    }

    fn change_error(
        &self,
        error: RaftError<Types, ClientWriteError<Types>>,
        change: Change,
    ) -> ChangeError {
        let (Change::AddLearner(node) | Change::Promote(node) | Change::Remove(node)) = change;
        match error {
            RaftError::Fatal(_ended) => self.ended_change(),
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ChangeError::NotLeader {
                    leader: forward.leader_id.map(NodeId),
                }
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::UncommittedLeaderLog(_) => ChangeError::InProgress,
                ChangeMembershipError::EmptyMembership(_)
                | ChangeMembershipError::LearnerNotFound(_)
                | ChangeMembershipError::UnsupportedMembershipTransition(_)
                | ChangeMembershipError::NodeMetadataChanged(_) => ChangeError::NotMember { node },
            },
            RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_),
            ) => ChangeError::Unavailable,
        }
    }

    pub(crate) fn ended_change(&self) -> ChangeError {
        if self.fence.is_tripped() {
            ChangeError::Fenced
        } else {
            ChangeError::Closed
        }
    }

    /// Hands leadership to another voter, and waits until it leads.
    pub(crate) async fn transfer_leader(&self, to: NodeId) -> Result<(), ChangeError> {
        let leader = self.raft.leader();
        if leader != Some(self.link.link.node) {
            return Err(ChangeError::NotLeader { leader });
        }
        if !self.members().voters.contains(&to) {
            return Err(ChangeError::NotMember { node: to });
        }
        let triggered = self
            .raft
            .call(|raft| async move { raft.trigger().transfer_leader(to.0).await })
            .await;
        triggered.map_err(|_ended| self.ended_change())?;
        // It leads once it confirms a read.
        let within = self.timing.election_max;
        let asked = async {
            loop {
                let confirmed: Result<u64, CallError> =
                    self.link.call(to, &Request::ReadIndex, within).await;
                if confirmed.is_ok() {
                    return;
                }
                tokio::time::sleep(self.timing.heartbeat / 2).await;
            }
        };
        let led = tokio::time::timeout(within * 2, asked).await;
        led.map_err(|_late| ChangeError::Unavailable)
    }
}
