//! A group's state, as Raft holds it.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, alias};
use redb::{Database, ReadTransaction};

use crate::error::{ReadError, RowError};
use crate::log::GroupLog;
use crate::raft_types::{LogId, SnapshotMeta, StoredMembership, Types};
use crate::state::group::{Durable, Group};
use crate::state::rows::{Extent, View};
use crate::state::spool::{Records, Spool};
use crate::state::stripe::{Job, Stripe};

/// A group's state. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StateHandle {
    pub(crate) group: Arc<Group>,
    pub(crate) stripe: Stripe,
    pub(crate) log: Arc<GroupLog>,
}

/// A snapshot: rows at a durable commit on the node that has them, or a file that was received.
#[derive(Clone)]
pub(crate) enum SnapshotData {
    View(SnapshotView),
    Spool(Spool),
}

/// The rows of a group at a durable commit, held open in O(1). It keeps the pages of that commit
/// from reuse while it lives, so nobody may hold one for long.
#[derive(Clone)]
pub(crate) struct SnapshotView {
    extent: Extent,
    time_ms: u64,
    txn: Arc<ReadTransaction>,
}

impl SnapshotView {
    pub(crate) fn records(&self) -> Result<Records, RowError> {
        let view = View::at(&self.txn, self.extent.clone())?;
        Ok(Records::new(view, self.time_ms))
    }
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(view) => write!(f, "snapshot of shard {}", view.extent.shard),
            Self::Spool(spool) => spool.fmt(f),
        }
    }
}

type SnapshotOf = alias::SnapshotOf<Types, SnapshotData>;

impl StateHandle {
    /// The rows for a reader, as `take` finds them; all of them.
    pub(crate) fn view(
        &self,
        take: impl FnOnce(&Database, Extent) -> Result<View, RowError>,
    ) -> Result<View, ReadError> {
        let before = self.group.check_readable()?;
        let database = self.stripe.database().get().ok_or(ReadError::Closed)?;
        let view = take(&database, self.group.extent());
        // What was taken while rows were replaced or removed is not whole.
        if self.group.check_readable()? != before {
            return Err(ReadError::Installing);
        }
        Ok(view?)
    }

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
        Ok(durable.map(handle))
    }

    /// Writes a view into a spool, as if it had been received.
    async fn spool(&self, view: SnapshotView) -> io::Result<Spool> {
        let stripe = self.stripe.clone();
        let shard = self.group.shard();
        let spooled = self.stripe.workers().run(move || {
            let mut writer = stripe.begin_spool(shard)?;
            let mut records = view.records().map_err(io::Error::other)?;
            loop {
                let block = records.next_block().map_err(io::Error::other)?;
                if block.is_empty() {
                    return stripe.finish_spool(writer);
                }
                writer.append(&block)?;
            }
        });
        let spooled = spooled.await;
        spooled.unwrap_or_else(|| Err(io::Error::other("reading a snapshot panicked")))
    }
}

fn handle(durable: Durable) -> SnapshotOf {
    Snapshot {
        meta: SnapshotMeta {
            last_log_id: durable.applied,
            last_membership: durable.membership,
        },
        snapshot: SnapshotData::View(SnapshotView {
            extent: durable.extent,
            time_ms: durable.time_ms,
            txn: durable.txn,
        }),
    }
}

impl RaftStateMachine<Types> for StateHandle {
    type SnapshotData = SnapshotData;
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
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let spool = match snapshot {
            SnapshotData::Spool(spool) => spool,
            SnapshotData::View(view) => self.spool(view).await?,
        };
        let (group, meta) = (Arc::clone(&self.group), meta.clone());
        self.stripe
            .ask(|done| Job::Install {
                group,
                meta,
                spool,
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
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let snapshot = self.state.snapshot(self.is_fresh).await?;
        snapshot.ok_or_else(|| io::Error::other("the state is closed"))
    }
}
