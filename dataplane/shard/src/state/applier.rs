//! Applies what was committed to a stripe's file, and makes it durable now and then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use openraft::storage::EntryResponder;
use redb::Durability;
use tokio::time::Instant;

use crate::error::RowError;
use crate::raft_types::{BatchReply, Types};
use crate::state::group::{Durable, Group};
use crate::state::install::{Installing, clear};
use crate::state::rows::{Extent, Tables, View};
use crate::state::stripe::{Answer, CheckpointPolicy, Job, Shared, answer};
use crate::workers::Work;

/// What a stripe's writer knows.
pub(super) struct Applier {
    shared: Arc<Shared>,
    policy: CheckpointPolicy,
    /// Bytes applied since the last durable commit, about.
    dirty_bytes: usize,
    dirty_since: Option<Instant>,
    /// Snapshots on their way in; each turn does a step of each.
    installs: Vec<(Installing, Answer<()>)>,
}

/// Entries of one group to apply, and whom to tell.
struct Application {
    group: Arc<Group>,
    entries: Vec<EntryResponder<Types>>,
    done: Answer<()>,
}

impl Work for Applier {
    type Item = Job;
    /// Nothing: what is applied is durable in the log already, so askers are told at once.
    type Done = ();

    fn due_at(&self) -> Option<Instant> {
        if !self.installs.is_empty() {
            return Some(Instant::now());
        }
        self.checkpoint_at()
    }

    fn work(&mut self, jobs: Vec<Job>) {
        self.do_jobs(jobs);
        self.step_installs();
        if self
            .checkpoint_at()
            .is_some_and(|due| due <= Instant::now())
        {
            self.checkpoint_or_fence();
        }
    }

    fn finish(&mut self, (): ()) {}

    fn end(&mut self) {
        if self.dirty_since.is_some() {
            self.checkpoint_or_fence();
        }
    }
}

impl Applier {
    pub(super) const fn new(shared: Arc<Shared>, policy: CheckpointPolicy) -> Self {
        Self {
            shared,
            policy,
            dirty_bytes: 0,
            dirty_since: None,
            installs: Vec::new(),
        }
    }

    fn checkpoint_at(&self) -> Option<Instant> {
        let since = self.dirty_since?;
        let is_full = self.dirty_bytes >= self.policy.bytes;
        Some(if is_full {
            since
        } else {
            since + self.policy.interval
        })
    }

    fn checkpoint_or_fence(&mut self) {
        if self.guarded("committing state", Self::checkpoint).is_err() {
            // The node is fenced: there is nothing to be made durable any more.
            self.dirty_since = None;
        }
    }

    fn do_jobs(&mut self, jobs: Vec<Job>) {
        let mut applications = Vec::new();
        for job in jobs {
            match job {
                Job::Apply {
                    group,
                    entries,
                    done,
                } => {
                    applications.push(Application {
                        group,
                        entries,
                        done,
                    });
                }
                Job::Snapshot {
                    group,
                    is_fresh,
                    done,
                } => {
                    self.apply_all(std::mem::take(&mut applications));
                    let durable = self.guarded("committing state", |applier| {
                        applier.snapshot(&group, is_fresh)
                    });
                    answer(done, durable);
                }
                Job::Clear { extent, done } => {
                    self.apply_all(std::mem::take(&mut applications));
                    let cleared =
                        self.guarded("removing a replica", |applier| applier.clear(&extent));
                    answer(done, cleared);
                }
                Job::Install {
                    group,
                    meta,
                    spool,
                    done,
                } => {
                    self.apply_all(std::mem::take(&mut applications));
                    let begun = self.guarded("installing a snapshot", |applier| {
                        let others = applier.shared.other_ranges(group.shard());
                        Installing::new(group, meta, spool, &others)
                    });
                    match begun {
                        Ok(installing) => self.installs.push((installing, done)),
                        Err(error) => answer(done, Err(error)),
                    }
                }
            }
        }
        self.apply_all(applications);
    }

    /// Runs `work` unless the node is fenced; an error or a panic fences it.
    fn guarded<T>(
        &mut self,
        during: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, RowError>,
    ) -> Result<T, RowError> {
        if self.shared.fence.is_tripped() {
            return Err(RowError::Storage("the node is fenced".into()));
        }
        let worked = catch_unwind(AssertUnwindSafe(|| work(self)))
            .unwrap_or_else(|_panic| Err(RowError::Storage("a panic".into())));
        if let Err(error) = &worked {
            self.shared.fence.trip(during, error);
        }
        worked
    }

    fn apply_all(&mut self, applications: Vec<Application>) {
        if applications.is_empty() {
            return;
        }
        let applied = self.guarded("applying", |worker| worker.apply_in_one(&applications));
        match applied {
            Ok(replies) => finish(applications, replies),
            Err(error) => {
                for application in applications {
                    answer(application.done, Err(error.clone()));
                }
            }
        }
    }

    /// One transaction for all; not durable, the log is.
    fn apply_in_one(
        &mut self,
        applications: &[Application],
    ) -> Result<Vec<Vec<BatchReply>>, RowError> {
        let database = self.shared.database.get_open()?;
        let mut txn = database.begin_write().map_err(RowError::storage)?;
        txn.set_durability(Durability::None)
            .map_err(RowError::storage)?;
        let mut tables = Tables::open(&txn)?;
        let replies = applications
            .iter()
            .map(|application| {
                let entries = application.entries.iter().map(|(entry, _)| entry);
                application.group.apply(&mut tables, entries)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.dirty_bytes += tables.touched_bytes;
        let births = std::mem::take(&mut tables.births);
        drop(tables);
        txn.commit().map_err(RowError::storage)?;
        self.dirty_since.get_or_insert_with(Instant::now);
        if !births.is_empty() {
            // A child starts only from what is durable.
            self.checkpoint()?;
            self.shared.births.lock().extend(births);
            self.shared.advanced.notify_one();
        }
        for Application { group, .. } in applications {
            if group.publish() {
                group
                    .machine
                    .opened(&View::now(&database, group.extent())?)?;
            }
            group.machine.committed();
        }
        Ok(replies)
    }

    /// Makes everything applied durable.
    fn checkpoint(&mut self) -> Result<(), RowError> {
        let groups: Vec<_> = self.shared.groups.lock().clone();
        // Let go of the pages that only the last snapshot held, so that this commit frees them.
        for group in &groups {
            group.durable.lock().take();
        }
        let database = self.shared.database.get_open()?;
        let mut txn = database.begin_write().map_err(RowError::storage)?;
        txn.set_durability(Durability::Immediate)
            .map_err(RowError::storage)?;
        txn.set_quick_repair(true);
        txn.commit().map_err(RowError::storage)?;
        self.dirty_bytes = 0;
        self.dirty_since = None;
        let txn = self.shared.begin_read()?;
        for group in &groups {
            group.set_durable(Arc::clone(&txn));
        }
        self.shared.advanced.notify_one();
        Ok(())
    }

    fn snapshot(&mut self, group: &Group, is_fresh: bool) -> Result<Option<Durable>, RowError> {
        if is_fresh && self.dirty_since.is_some() {
            self.checkpoint()?;
        }
        Ok(group.durable.lock().clone())
    }

    fn clear(&mut self, extent: &Extent) -> Result<(), RowError> {
        let others = self.shared.other_ranges(extent.shard);
        clear(&*self.shared.database.get_open()?, extent, &others)?;
        self.dirty_since.get_or_insert_with(Instant::now);
        self.checkpoint()
    }

    /// Does a step of each snapshot that is on its way in.
    fn step_installs(&mut self) {
        for (mut installing, done) in std::mem::take(&mut self.installs) {
            let stepped = self.guarded("installing a snapshot", |applier| {
                installing.step(&*applier.shared.database.get_open()?)
            });
            match stepped {
                Ok(false) => self.installs.push((installing, done)),
                Ok(true) => {
                    let adopted =
                        self.guarded("installing a snapshot", |applier| applier.adopt(installing));
                    answer(done, adopted);
                }
                Err(error) => answer(done, Err(error)),
            }
        }
    }

    fn adopt(&mut self, installing: Installing) -> Result<(), RowError> {
        installing.adopt(&*self.shared.database.get_open()?)?;
        let removed = installing.into_spool().remove(&self.shared.storage);
        removed.map_err(|error| RowError::Storage(error.to_string().into()))?;
        // What was installed is durable; say so.
        self.dirty_since.get_or_insert_with(Instant::now);
        self.checkpoint()?;
        Ok(())
    }
}

/// Answers the proposals of applied entries, then Raft.
fn finish(applications: Vec<Application>, replies: Vec<Vec<BatchReply>>) {
    for (application, replies) in applications.into_iter().zip(replies) {
        for ((_, responder), reply) in application.entries.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        answer(application.done, Ok(()));
    }
}
