//! A group's state, as Raft holds it.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, alias};
use redb::ReadTransaction;

use crate::error::RowError;
use crate::log::GroupLog;
use crate::raft_types::{LogId, SnapshotMeta, StoredMembership, Types};
use crate::state::group::{Durable, Group};
use crate::state::rows::{Extent, View};
use crate::state::stripe::{Job, Stripe};

/// A group's state. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StateHandle {
    pub(crate) group: Arc<Group>,
    pub(crate) stripe: Stripe,
    pub(crate) log: Arc<GroupLog>,
}

/// A snapshot: the rows of a group at a durable commit, held open in O(1). It keeps the pages of
/// that commit from reuse while it lives.
///
/// It is read in this process only. Sending one to another node belongs to the transport, which
/// a group of one voter never uses.
#[derive(Clone)]
pub(crate) struct SnapshotView {
    extent: Extent,
    txn: Arc<ReadTransaction>,
}

impl SnapshotView {
    pub(super) fn view(&self) -> Result<View, RowError> {
        View::at(&self.txn, self.extent.clone())
    }
}

impl fmt::Debug for SnapshotView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot of shard {}", self.extent.shard)
    }
}

type SnapshotOf = alias::SnapshotOf<Types, SnapshotView>;

impl StateHandle {
    async fn snapshot(&self, is_fresh: bool) -> io::Result<Option<SnapshotOf>> {
        let group = Arc::clone(&self.group);
        let durable = self
            .stripe
            .ask(|done| Job::Snapshot {
                group,
                is_fresh,
                done,
            })
            .await?;
        Ok(durable.map(|durable| self.handle(durable)))
    }

    fn handle(&self, durable: Durable) -> SnapshotOf {
        Snapshot {
            meta: SnapshotMeta {
                last_log_id: durable.applied,
                last_membership: durable.membership,
            },
            snapshot: SnapshotView {
                extent: self.group.extent.clone(),
                txn: durable.txn,
            },
        }
    }
}

impl RaftStateMachine<Types> for StateHandle {
    type SnapshotData = SnapshotView;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.group.applied())
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let entries: Vec<_> = entries.try_collect().await?;
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        let last = last.log_id.index;
        let group = Arc::clone(&self.group);
        self.stripe
            .ask(|done| Job::Apply {
                group,
                entries,
                done,
            })
            .await?;
        self.log.release(last);
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        Some(Builder {
            state: self.clone(),
            is_fresh: force,
        })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.clone(),
            is_fresh: true,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotView,
    ) -> io::Result<()> {
        let (group, meta) = (Arc::clone(&self.group), meta.clone());
        self.stripe
            .ask(|done| Job::Install {
                group,
                meta,
                view: snapshot,
                done,
            })
            .await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let snapshot = self.snapshot(false).await?;
        Ok(snapshot.filter(|snapshot| snapshot.meta.last_log_id.is_some()))
    }
}

/// Builds a snapshot: what is durable already, or first makes durable what is applied.
#[derive(Debug)]
pub(crate) struct Builder {
    state: StateHandle,
    is_fresh: bool,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotView;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let snapshot = self.state.snapshot(self.is_fresh).await?;
        snapshot.ok_or_else(|| io::Error::other("the state is closed"))
    }
}
