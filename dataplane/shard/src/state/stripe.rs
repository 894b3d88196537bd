//! A stripe: one state file and the thread that writes it.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openraft::storage::EntryResponder;
use parking_lot::{Condvar, Mutex};
use redb::{Durability, ReadTransaction, ReadableDatabase as _};
use tokio::sync::{Notify, oneshot};

use crate::database::{Disk, SharedDatabase};
use crate::error::{OpenError, RowError};
use crate::fence::Fence;
use crate::machine::StateMachine;
use crate::raft_types::{SnapshotMeta, Types};
use crate::state::group::{Durable, Group};
use crate::state::install;
use crate::state::machine::SnapshotView;
use crate::state::rows::{Extent, LOCAL, ROWS, Tables};

/// When a stripe commits durably.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckpointPolicy {
    pub(crate) interval: Duration,
    pub(crate) bytes: usize,
}

pub(super) type Answer<T> = oneshot::Sender<io::Result<T>>;

/// Work for the stripe's thread, done in order.
pub(super) enum Job {
    Apply {
        group: Arc<Group>,
        entries: Vec<EntryResponder<Types>>,
        done: Answer<()>,
    },
    /// The last durable state; with `is_fresh`, first makes everything applied durable.
    Snapshot {
        group: Arc<Group>,
        is_fresh: bool,
        done: Answer<Option<Durable>>,
    },
    Install {
        group: Arc<Group>,
        meta: SnapshotMeta,
        view: SnapshotView,
        done: Answer<()>,
    },
}

/// A state file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stripe {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    database: SharedDatabase,
    fence: Fence,
    groups: Mutex<Vec<Arc<Group>>>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Told after each checkpoint: the log may be purged.
    advanced: Arc<Notify>,
}

/// Bounded: a group has one application at a time.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl std::fmt::Debug for Stripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stripe")
    }
}

impl Stripe {
    /// Opens or makes a state file and starts its thread. Blocks.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
        policy: CheckpointPolicy,
        fence: Fence,
        advanced: Arc<Notify>,
    ) -> Result<Self, OpenError> {
        let database = SharedDatabase::open(disk, path, cache_bytes)?;
        make_tables(&database)?;
        let shared = Arc::new(Shared {
            database,
            fence,
            groups: Mutex::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            advanced,
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            policy,
            dirty_bytes: 0,
            dirty_since: None,
        };
        let thread = std::thread::Builder::new()
            .name("tessera-state".into())
            .spawn(move || worker.run())
            .map_err(|source| OpenError::io(path, source))?;
        Ok(Self {
            shared,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    pub(crate) fn database(&self) -> &SharedDatabase {
        &self.shared.database
    }

    /// Loads a group whose rows are in this file. Blocks. Before anything is applied here.
    pub(crate) fn add_group(
        &self,
        extent: Extent,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Arc<Group>, OpenError> {
        let txn = self.shared.begin_read()?;
        let group = Arc::new(Group::load(extent, machine, txn)?);
        self.shared.groups.lock().push(Arc::clone(&group));
        Ok(group)
    }

    /// Does a job and waits for its answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        self.push(job(done));
        answer
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the state's thread ended")))
    }

    fn push(&self, job: Job) {
        let mut queue = self.shared.queue.lock();
        if queue.is_closed {
            drop(queue);
            job.fail("the state is closed");
            return;
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Takes nothing any more; the thread does what is queued, commits durably and ends.
    pub(crate) fn begin_close(&self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.wake.notify_one();
    }

    /// Does what is queued, commits durably, ends the thread and closes the file. Blocks.
    pub(crate) fn close(&self) {
        self.begin_close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            self.shared
                .fence
                .trip("ending the state's thread", &"the thread panicked");
        }
        for group in self.shared.groups.lock().drain(..) {
            group.durable.lock().take();
        }
        self.shared.database.close();
    }
}

impl Shared {
    fn begin_read(&self) -> Result<Arc<ReadTransaction>, RowError> {
        let database = self.database.get_open()?;
        Ok(Arc::new(database.begin_read().map_err(RowError::storage)?))
    }

    /// Everything queued; empty when `deadline` passed; `None` at the end.
    fn next(&self, deadline: Option<Instant>) -> Option<VecDeque<Job>> {
        let mut queue = self.queue.lock();
        while queue.jobs.is_empty() && !queue.is_closed {
            match deadline {
                None => self.wake.wait(&mut queue),
                Some(deadline) => {
                    if self.wake.wait_until(&mut queue, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        let jobs = std::mem::take(&mut queue.jobs);
        (!queue.is_closed || !jobs.is_empty()).then_some(jobs)
    }
}

struct Worker {
    shared: Arc<Shared>,
    policy: CheckpointPolicy,
    /// Bytes applied since the last durable commit, about.
    dirty_bytes: usize,
    dirty_since: Option<Instant>,
}

/// Entries of one group to apply, and whom to tell.
struct Application {
    group: Arc<Group>,
    entries: Vec<EntryResponder<Types>>,
    done: Answer<()>,
}

impl Worker {
    fn run(mut self) {
        while let Some(jobs) = self.shared.next(self.due_at()) {
            self.work(jobs);
            if self.due_at().is_some_and(|due| due <= Instant::now()) {
                self.checkpoint_or_fence();
            }
        }
        if self.dirty_since.is_some() {
            self.checkpoint_or_fence();
        }
    }

    fn checkpoint_or_fence(&mut self) {
        if self.guarded("committing state", Self::checkpoint).is_err() {
            // The node is fenced: there is nothing to be made durable any more.
            self.dirty_since = None;
        }
    }

    fn due_at(&self) -> Option<Instant> {
        let since = self.dirty_since?;
        let is_full = self.dirty_bytes >= self.policy.bytes;
        Some(if is_full {
            since
        } else {
            since + self.policy.interval
        })
    }

    fn work(&mut self, jobs: VecDeque<Job>) {
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
                    let durable = self.guarded("committing state", |worker| {
                        worker.snapshot(&group, is_fresh)
                    });
                    answer(done, durable);
                }
                Job::Install {
                    group,
                    meta,
                    view,
                    done,
                } => {
                    self.apply_all(std::mem::take(&mut applications));
                    let installed = self.guarded("installing a snapshot", |worker| {
                        worker.install(&group, &meta, &view)
                    });
                    answer(done, installed);
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
    ) -> Result<Vec<Vec<crate::raft_types::BatchReply>>, RowError> {
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
        drop(tables);
        txn.commit().map_err(RowError::storage)?;
        self.dirty_since.get_or_insert_with(Instant::now);
        for application in applications {
            application.group.machine.committed();
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

    fn install(
        &mut self,
        group: &Group,
        meta: &SnapshotMeta,
        view: &SnapshotView,
    ) -> Result<(), RowError> {
        install::install(&*self.shared.database.get_open()?, group, meta, view)?;
        self.dirty_since.get_or_insert_with(Instant::now);
        self.checkpoint()?;
        let view = view_of(&self.shared, group)?;
        group.machine.opened(&view)
    }
}

impl Job {
    fn fail(self, text: &str) {
        let error = RowError::Storage(text.into());
        match self {
            Self::Apply { done, .. } | Self::Install { done, .. } => answer(done, Err(error)),
            Self::Snapshot { done, .. } => answer(done, Err(error)),
        }
    }
}

fn view_of(shared: &Shared, group: &Group) -> Result<crate::state::rows::View, RowError> {
    crate::state::rows::View::now(&*shared.database.get_open()?, group.extent.clone())
}

/// Answers the proposals of applied entries, then Raft.
fn finish(applications: Vec<Application>, replies: Vec<Vec<crate::raft_types::BatchReply>>) {
    for (application, replies) in applications.into_iter().zip(replies) {
        for ((_, responder), reply) in application.entries.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        answer(application.done, Ok(()));
    }
}

/// An asker that is gone no longer needs its answer.
fn answer<T>(done: Answer<T>, result: Result<T, RowError>) {
    drop(done.send(result.map_err(io::Error::other)));
}

fn make_tables(database: &SharedDatabase) -> Result<(), RowError> {
    let mut txn = database
        .get_open()?
        .begin_write()
        .map_err(RowError::storage)?;
    txn.set_quick_repair(true);
    txn.open_table(ROWS).map_err(RowError::storage)?;
    txn.open_table(LOCAL).map_err(RowError::storage)?;
    txn.commit().map_err(RowError::storage)
}
