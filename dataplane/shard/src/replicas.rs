//! The replicas of a store kind on this node, their files and tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::error::{OpenError, ProposeError, RowError};
use crate::fence::Fence;
use crate::log;
use crate::machine::StateMachine;
use crate::raft_types::LogId;
use crate::range::{RangeRecord, ShardId, StoreKind};
use crate::replica::{Replica, ReplicaSetup, extent_of};
use crate::space::Counted;
use crate::state::{Birth, CheckpointPolicy, Extent, LOCAL, ROWS, Stripe};
use crate::wire::Refusal;

/// How long a shutdown waits for proposals in flight.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// How often changes of members that nobody ends are looked for.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// Makes the state machine of a shard.
pub(crate) type MakeMachine = Box<dyn Fn(ShardId) -> Arc<dyn StateMachine> + Send + Sync>;

/// The replicas of one kind.
pub(crate) struct OpenStore {
    kind: StoreKind,
    setup: ReplicaSetup,
    make: MakeMachine,
    replicas: Arc<Replicas>,
    /// Held while a replica is made.
    making: tokio::sync::Mutex<()>,
    stripes: Mutex<BTreeMap<u8, Stripe>>,
    tasks: Mutex<Tasks>,
    /// Told after each checkpoint.
    advanced: Arc<Notify>,
}

/// Replicas by shard; `version` is raised when they or their ranges have changed.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    by_shard: RwLock<BTreeMap<ShardId, Arc<Replica>>>,
    version: AtomicU64,
    /// The sum of all epochs when it was last looked at.
    epochs: AtomicU64,
}

#[derive(Debug, Default)]
struct Tasks {
    proposers: Vec<JoinHandle<()>>,
    keepers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenStore")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Replicas {
    pub(crate) fn get(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.by_shard.read().get(&shard).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Replica>> {
        self.by_shard.read().values().cloned().collect()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Looks whether a range has changed.
    fn note_epochs(&self) {
        let epochs = |replica: &Arc<Replica>| replica.state.group.extent().epoch;
        let sum = self.by_shard.read().values().map(epochs).sum();
        if self.epochs.swap(sum, Ordering::AcqRel) != sum {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn remove(&self, shard: ShardId) {
        self.by_shard.write().remove(&shard);
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    fn add(&self, replica: Arc<Replica>) {
        self.by_shard.write().insert(replica.shard(), replica);
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

impl OpenStore {
    /// Opens the replicas that are on disk. Does not wait for any of them to have a leader.
    pub(crate) async fn open(
        setup: ReplicaSetup,
        kind: StoreKind,
        records: Vec<RangeRecord>,
        make: MakeMachine,
    ) -> Result<Arc<Self>, OpenError> {
        let store = Arc::new(Self {
            kind,
            setup,
            make,
            replicas: Arc::default(),
            making: tokio::sync::Mutex::default(),
            stripes: Mutex::default(),
            tasks: Mutex::default(),
            advanced: Arc::default(),
        });
        match store.start(records).await {
            Ok(()) => {
                let keep = keep(
                    Arc::downgrade(&store),
                    Arc::clone(&store.replicas),
                    Arc::clone(&store.advanced),
                    store.setup.fence.clone(),
                );
                let settle = settle(
                    Arc::downgrade(&store),
                    Arc::clone(&store.replicas),
                    store.setup.fence.clone(),
                );
                store.tasks.lock().keepers = vec![tokio::spawn(keep), tokio::spawn(settle)];
                Ok(store)
            }
            Err(error) => {
                store.shutdown().await;
                Err(error)
            }
        }
    }

    pub(crate) const fn kind(&self) -> StoreKind {
        self.kind
    }

    pub(crate) const fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    async fn start(&self, mut records: Vec<RangeRecord>) -> Result<(), OpenError> {
        let used: BTreeSet<u8> = records.iter().map(|record| record.stripe).collect();
        for stripe in used {
            let children = self.unrecorded(stripe, &records).await?;
            records.extend(children);
        }
        let folder = &self.setup.options.folder;
        let synced = self.setup.storage.sync_names(folder);
        synced.map_err(|source| OpenError::io(folder, source))?;
        let mut replicas = Vec::new();
        for record in records {
            replicas.push(self.start_replica(&record).await?);
        }
        check_apart(&replicas)?;
        for replica in replicas {
            self.add(replica);
        }
        Ok(())
    }

    /// Makes an empty replica of a range that lives on other nodes, if there is none.
    /// `since` is the log index of the group's members: a node that left does not come back by an
    /// older one.
    pub(crate) async fn host(&self, mut record: RangeRecord, since: u64) -> Result<(), Refusal> {
        let _making = self.making.lock().await;
        if self.replicas.get(record.shard).is_some() {
            return Ok(());
        }
        let left = self.left_since(record.shard);
        let left = left.map_err(|_failed| Refusal::Unavailable)?;
        if left.is_some_and(|left| left.index >= since) {
            return Err(Refusal::Removed);
        }
        let replicas = self.replicas.all();
        let covers = |replica: &Arc<Replica>| {
            let extent = replica.state.group.extent();
            extent.range.overlaps(&record.range)
        };
        if replicas.iter().any(covers) {
            return Err(Refusal::Covered);
        }
        let stripes = self.setup.options.stripes.max(1);
        record.stripe = u8::try_from(replicas.len() % stripes).unwrap_or(0);
        record.founders.clear();
        match self.make_replica(&record).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(shard = %record.shard, %error, "a replica could not be made");
                Err(Refusal::Unavailable)
            }
        }
    }

    /// Children of splits in a stripe of which only the stripe knows: the process ended before they
    /// were recorded.
    async fn unrecorded(
        &self,
        stripe: u8,
        records: &[RangeRecord],
    ) -> Result<Vec<RangeRecord>, OpenError> {
        let file = self.stripe(stripe).await?;
        let read = self
            .setup
            .workers()
            .run(move || file.stored_extents())
            .await;
        let mut children = Vec::new();
        for extent in read.ok_or(OpenError::Fenced)?? {
            let is_recorded = records.iter().any(|record| record.shard == extent.shard);
            // What a replica left that was removed while it ended.
            let is_left = self.left_since(extent.shard)?.is_some();
            if !is_recorded && !is_left {
                children.push(record_of(&extent, stripe));
            }
        }
        Ok(children)
    }

    /// Starts the replicas that splits made.
    async fn start_children(&self) {
        let stripes: Vec<_> = {
            let stripes = self.stripes.lock();
            stripes
                .iter()
                .map(|(id, stripe)| (*id, stripe.clone()))
                .collect()
        };
        for (id, stripe) in stripes {
            for birth in stripe.take_births() {
                if let Err(error) = self.start_child(&birth, id).await {
                    let shard = birth.extent.shard;
                    tracing::error!(%shard, %error, "the child of a split could not be started");
                }
            }
        }
        self.replicas.note_epochs();
    }

    async fn start_child(&self, birth: &Birth, stripe: u8) -> Result<(), OpenError> {
        let _making = self.making.lock().await;
        if self.replicas.get(birth.extent.shard).is_some() {
            return Ok(());
        }
        let record = record_of(&birth.extent, stripe);
        self.record(&record).await?;
        let child = self.start_replica(&record).await?;
        self.add(Arc::clone(&child));
        let parent = self.replicas.get(birth.parent);
        if parent.is_some_and(|parent| parent.raft.is_leader()) {
            self.tasks
                .lock()
                .proposers
                .push(tokio::spawn(child.hasten()));
        }
        Ok(())
    }

    async fn record(&self, record: &RangeRecord) -> Result<(), OpenError> {
        let records = std::slice::from_ref(record);
        let written = self.setup.log.write_ranges(self.kind, records).await;
        written.map_err(|_failed| OpenError::Fenced)
    }

    async fn make_replica(&self, record: &RangeRecord) -> Result<(), OpenError> {
        let stripe = self.stripe(record.stripe).await?;
        let folder = &self.setup.options.folder;
        let synced = self.setup.storage.sync_names(folder);
        synced.map_err(|source| OpenError::io(folder, source))?;
        // What an earlier replica may have left.
        let cleared = stripe.clear(extent_of(record)).await;
        cleared.map_err(|_failed| OpenError::Fenced)?;
        self.record(record).await?;
        let replica = self.start_replica(record).await?;
        self.add(replica);
        Ok(())
    }

    fn left_since(&self, shard: ShardId) -> Result<Option<LogId>, RowError> {
        log::read_tombstone(&*self.setup.log.database().get_open()?, shard)
    }

    /// Removes this node's replica of a group that it left by the change at `since`.
    pub(crate) async fn retire(&self, shard: ShardId, since: LogId) -> Result<(), Refusal> {
        let _making = self.making.lock().await;
        let Some(replica) = self.replicas.get(shard) else {
            return Ok(());
        };
        let (_, members) = replica.state.group.applied();
        if members
            .log_id()
            .as_ref()
            .is_some_and(|id| id.index > since.index)
        {
            // An old word: this node has come back since.
            return Ok(());
        }
        self.replicas.remove(shard);
        replica.state.group.set_retired();
        replica.proposer.end(&ProposeError::RangeMoved { shard });
        replica.stop().await;
        let buried = self.setup.log.bury(self.kind, shard, since).await;
        buried.map_err(|_failed| Refusal::Unavailable)?;
        let extent = replica.state.group.extent();
        let cleared = replica.state.stripe.clear(extent).await;
        cleared.map_err(|_failed| Refusal::Unavailable)
    }

    async fn start_replica(&self, record: &RangeRecord) -> Result<Arc<Replica>, OpenError> {
        let stripe = self.stripe(record.stripe).await?;
        let machine = (self.make)(record.shard);
        let replica = Replica::start(&self.setup, self.kind, stripe, record, machine).await?;
        Ok(Arc::new(replica))
    }

    /// Lets proposals and requests reach a replica.
    fn add(&self, replica: Arc<Replica>) {
        let run = Arc::clone(&replica.proposer).run(replica.courier(&self.setup.options));
        self.tasks.lock().proposers.push(tokio::spawn(run));
        self.replicas.add(replica);
    }

    /// A state file, opened or made when it is first asked for.
    async fn stripe(&self, stripe: u8) -> Result<Stripe, OpenError> {
        if let Some(open) = self.stripes.lock().get(&stripe) {
            return Ok(open.clone());
        }
        let (setup, advanced) = (self.setup.clone(), Arc::clone(&self.advanced));
        let path = stripe_path(&setup.options.folder, self.kind, stripe);
        let runtime = tokio::runtime::Handle::current();
        let open = move || {
            // A writer that is a task is started in here.
            let _entered = runtime.enter();
            let policy = CheckpointPolicy {
                interval: setup.options.checkpoint_interval,
                bytes: setup.options.checkpoint_bytes,
            };
            Stripe::open(
                &setup.storage,
                &path,
                setup.options.state_cache_bytes,
                policy,
                setup.options.seams.workers,
                setup.fence.clone(),
                advanced,
            )
        };
        let opened = self.setup.workers().run(open).await;
        let opened = opened.ok_or(OpenError::Fenced)??;
        self.stripes.lock().insert(stripe, opened.clone());
        Ok(opened)
    }

    /// The state files.
    pub(crate) fn files(&self) -> Vec<Counted> {
        let stripes = self.stripes.lock();
        let counted = |(id, stripe): (&u8, &Stripe)| Counted {
            path: stripe_path(&self.setup.options.folder, self.kind, *id),
            database: stripe.database().clone(),
            tables: [ROWS, LOCAL],
        };
        stripes.iter().map(counted).collect()
    }

    /// Takes no more proposals, finishes those in flight, ends Raft, makes state durable.
    pub(crate) async fn shutdown(&self) {
        // Nothing is made any more while and after this.
        let _making = self.making.lock().await;
        let replicas = self.replicas.all();
        for replica in &replicas {
            replica.proposer.close();
        }
        let Tasks { proposers, keepers } = std::mem::take(&mut *self.tasks.lock());
        let drained = tokio::time::timeout(DRAIN_WAIT, join_all(proposers)).await;
        if drained.is_err() {
            tracing::warn!(kind = %self.kind, "proposals were still in flight at the shutdown");
        }
        keepers.iter().for_each(JoinHandle::abort);
        for replica in &replicas {
            replica.stop().await;
        }
        let stripes = std::mem::take(&mut *self.stripes.lock());
        for stripe in stripes.values() {
            stripe.close().await;
        }
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut();
        tasks
            .proposers
            .drain(..)
            .chain(tasks.keepers.drain(..))
            .for_each(|task| task.abort());
        self.stripes
            .get_mut()
            .values()
            .for_each(Stripe::begin_close);
    }
}

/// The file of a stripe; the first is there as soon as the store was opened once.
pub(crate) fn stripe_path(folder: &Path, kind: StoreKind, stripe: u8) -> PathBuf {
    folder.join(format!("state-{kind}-{stripe}.redb"))
}

/// No key may have two replicas here.
fn check_apart(replicas: &[Arc<Replica>]) -> Result<(), OpenError> {
    let ranges: Vec<_> = replicas
        .iter()
        .map(|replica| replica.state.group.extent().range)
        .collect();
    for (i, range) in ranges.iter().enumerate() {
        if ranges.iter().skip(i + 1).any(|other| other.overlaps(range)) {
            return Err(RowError::undecodable("key ranges: an overlap").into());
        }
    }
    Ok(())
}

/// After each checkpoint starts children and purges logs; when the node is fenced ends Raft, so that
/// no proposal hangs.
async fn keep(
    store: Weak<OpenStore>,
    replicas: Arc<Replicas>,
    advanced: Arc<Notify>,
    fence: Fence,
) {
    loop {
        tokio::select! {
            biased;
            () = fence.tripped() => break,
            () = advanced.notified() => {}
        }
        let Some(store) = store.upgrade() else {
            return;
        };
        store.start_children().await;
        drop(store);
        for replica in replicas.all() {
            replica.purge().await;
        }
    }
    for replica in replicas.all() {
        replica.stop().await;
    }
}

/// Ends changes of members that nobody ends, and helps new ones to a snapshot.
async fn settle(store: Weak<OpenStore>, replicas: Arc<Replicas>, fence: Fence) {
    loop {
        tokio::select! {
            biased;
            () = fence.tripped() => return,
            () = tokio::time::sleep(SETTLE_INTERVAL) => {}
        }
        if store.strong_count() == 0 {
            return;
        }
        for replica in replicas.all() {
            replica.finish_change().await;
            replica.purge_for_new_members().await;
        }
    }
}

/// What is recorded of a group that is in a stripe.
fn record_of(extent: &Extent, stripe: u8) -> RangeRecord {
    RangeRecord {
        shard: extent.shard,
        epoch: extent.epoch,
        stripe,
        range: (*extent.range).clone(),
        founders: Vec::new(),
    }
}

async fn join_all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a proposer panicked");
        }
    }
}

/// The ranges of a kind that are recorded here.
pub(crate) fn recorded(
    setup: &ReplicaSetup,
    kind: StoreKind,
) -> Result<Vec<RangeRecord>, OpenError> {
    let database = setup.log.database().get_open()?;
    Ok(log::read_ranges(&database, kind)?)
}
