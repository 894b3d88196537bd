//! The nodes: each has a disk that stays, and processes that come and go.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tessera_shard::{Engine, EngineOptions, OpenError, Seams, Shard, Store, StoreKind, Workers};
use tessera_tenancy::{ClusterId, Incarnation, NodeId};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::disk::SimDisk;
use crate::history::History;
use crate::invariants::{every_operation_ends, fenced_for_a_reason};
use crate::journal::{FaultKind, Journal};
use crate::machine::{Key, Registers};
use crate::net::{NetFaults, SimNet};
use crate::observer::Observer;
use crate::plan::Plan;
use crate::rng::Rng;

const KIND: StoreKind = StoreKind::Inbox;
/// Simulated time that a start or a shutdown may take.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Orders to a node that wait; more are dropped.
const ORDERS_MAX: usize = 4;
/// How long a node that could not start is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(400);

/// Everything that a run has.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) journal: Journal,
    pub(crate) net: SimNet,
    pub(crate) history: History,
    pub(crate) nodes: Vec<Arc<Node>>,
    observer: Arc<Observer>,
    /// Who is to be in every group.
    wanted: Mutex<BTreeSet<NodeId>>,
    is_healing: AtomicBool,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    skew_ms: u64,
    phase: Mutex<Phase>,
    lives: AtomicU64,
    is_founded: AtomicBool,
    process: Mutex<Option<Process>>,
    orders: mpsc::Sender<Order>,
    /// Taken by its supervisor.
    inbox: Mutex<Option<mpsc::Receiver<Order>>>,
}

/// `Spare` → `Used` → `Gone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It never ran.
    Spare,
    Used,
    /// Beyond repair.
    Gone,
}

/// How a process ends, and for how long the node is down then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) stop: Stop,
    pub(crate) down: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Kill,
    CutPower,
    Shutdown,
    /// As a kill; flipped bits are mended before the next start.
    Repair,
    /// For good, and its disk with it: another node takes its place.
    Lose,
}

/// A process of a node that is up. Cheap to clone; whoever holds one lets go of it once it ended.
#[derive(Clone)]
pub(crate) struct Process {
    engine: Engine,
    store: Store<Registers>,
    ended: Arc<Ended>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Process")
    }
}

impl Process {
    /// The shard of a key, if there is a replica of it.
    pub(crate) fn shard(&self, key: Key) -> Option<Shard<Registers>> {
        self.store.find_shard(key.tenant_id(), &key.rest())
    }

    pub(crate) fn shards(&self) -> Vec<Shard<Registers>> {
        self.store.shards().collect()
    }

    /// Returns once the process has ended.
    pub(crate) async fn ended(&self) {
        self.ended.wait().await;
    }
}

/// Happens once. Wakes those who wait in the order in which they came.
#[derive(Debug, Default)]
struct Ended {
    has: AtomicBool,
    notify: Notify,
}

impl Ended {
    fn set(&self) {
        self.has.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    async fn wait(&self) {
        let notified = self.notify.notified();
        if !self.has.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

impl World {
    pub(crate) fn new(plan: Plan, journal: Journal) -> Arc<Self> {
        let seed = plan.seed;
        let quiet = NetFaults::none(plan.net.usual_max);
        let observer = Arc::new(Observer::new(journal.clone()));
        let rng = Rng::of_part(seed, 2);
        let net = SimNet::new(quiet, rng, journal.clone(), Some(Arc::clone(&observer)));
        let nodes = (1..=plan.nodes + plan.spares).map(|id| {
            let rng = Rng::of_part(seed, 100 + id);
            let disk = SimDisk::new(id, plan.disk, rng, journal.clone());
            let skew_ms = Rng::of_part(seed, 200 + id).between(0, plan.engine.skew_ms_max);
            Arc::new(Node::new(NodeId(id), disk, skew_ms))
        });
        Arc::new(Self {
            nodes: nodes.collect(),
            observer,
            wanted: Mutex::new((1..=plan.nodes).map(NodeId).collect()),
            plan,
            journal,
            net,
            history: History::default(),
            is_healing: AtomicBool::new(false),
        })
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Starts the nodes that a store begins with.
    pub(crate) fn start(self: &Arc<Self>) {
        for id in self.wanted() {
            self.start_node(id);
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Who is to be in every group.
    pub(crate) fn wanted(&self) -> Vec<NodeId> {
        self.wanted.lock().iter().copied().collect()
    }

    /// Whether the data of one more node may be lost: another node can take its place, no other one
    /// has lost anything, and none that did is still a member of a group.
    pub(crate) fn can_lose_one(&self) -> bool {
        let is_gone = |id: &NodeId| {
            let node = self.node(*id);
            node.is_none_or(|node| *node.phase.lock() == Phase::Gone)
        };
        let is_rotting = self.nodes.iter().any(|node| node.disk.is_rotting());
        if self.idle().is_empty() || is_rotting {
            return false;
        }
        self.wanted().into_iter().all(|id| {
            let process = self.node(id).and_then(|node| node.process());
            process.is_some_and(|process| {
                let members = process.shards().into_iter().map(|shard| shard.members());
                let mut all =
                    members.flat_map(|members| [members.voters, members.learners].concat());
                !all.any(|member| is_gone(&member))
            })
        })
    }

    /// Another node takes the place of `old`, which stays as it is.
    pub(crate) fn swap(self: &Arc<Self>, old: NodeId, new: NodeId) {
        let mut wanted = self.wanted.lock();
        if wanted.contains(&old) && !wanted.contains(&new) {
            wanted.remove(&old);
            wanted.insert(new);
            drop(wanted);
            self.journal.note("swap", &[old.0, new.0]);
            self.start_node(new);
        }
    }

    /// A node that runs or could, and is not wanted now.
    pub(crate) fn idle(&self) -> Vec<NodeId> {
        let wanted = self.wanted.lock();
        let is_idle =
            |node: &&Arc<Node>| !wanted.contains(&node.id) && *node.phase.lock() != Phase::Gone;
        let idle = self.nodes.iter().filter(is_idle);
        idle.map(|node| node.id).collect()
    }

    /// A node is beyond repair: another one takes its place.
    fn replace(self: &Arc<Self>, old: &Node) {
        *old.phase.lock() = Phase::Gone;
        self.journal.count(FaultKind::NodeReplaced);
        self.journal
            .say(|| format!("node {} is beyond repair", old.id));
        if let Some(new) = self.idle().first() {
            self.swap(old.id, *new);
        }
    }

    fn start_node(self: &Arc<Self>, id: NodeId) {
        let Some(node) = self.node(id) else {
            return;
        };
        let was = std::mem::replace(&mut *node.phase.lock(), Phase::Used);
        if was == Phase::Spare {
            tokio::spawn(Arc::clone(node).supervise(Arc::clone(self)));
        }
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.is_healing.store(true, Ordering::Release);
        self.net
            .set_faults(NetFaults::none(self.plan.net.usual_max));
        self.net.mend_all();
        for node in &self.nodes {
            node.disk.heal();
            if node.disk.is_flipped() {
                node.order(Stop::Repair, Duration::ZERO);
            }
        }
    }

    fn is_healing(&self) -> bool {
        self.is_healing.load(Ordering::Acquire)
    }
}

impl Node {
    fn new(id: NodeId, disk: SimDisk, skew_ms: u64) -> Self {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        Self {
            id,
            disk,
            skew_ms,
            phase: Mutex::new(Phase::Spare),
            lives: AtomicU64::new(0),
            is_founded: AtomicBool::new(false),
            process: Mutex::default(),
            orders,
            inbox: Mutex::new(Some(inbox)),
        }
    }

    /// The process, if the node is up.
    pub(crate) fn process(&self) -> Option<Process> {
        self.process.lock().clone()
    }

    /// Ends the process. One order too many is dropped; `false` then.
    pub(crate) fn order(&self, stop: Stop, down: Duration) -> bool {
        self.orders.try_send(Order { stop, down }).is_ok()
    }

    /// Starts processes and ends them as it is told.
    pub(crate) async fn supervise(self: Arc<Self>, world: Arc<World>) {
        let Some(mut orders) = self.inbox.lock().take() else {
            return;
        };
        while *self.phase.lock() != Phase::Gone {
            let Some(process) = self.start(&world).await else {
                sleep(RETRY_AFTER).await;
                continue;
            };
            let down = self.live(&world, process, &mut orders).await;
            sleep(down).await;
            // What was ordered in the meantime was meant for the process that has ended.
            while orders.try_recv().is_ok() {}
        }
    }

    /// Starts a process. `None` if it could not.
    async fn start(&self, world: &Arc<World>) -> Option<Process> {
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        if world.is_healing() && !self.repair(world) {
            return None;
        }
        let options = self.options(world, life);
        world.journal.note("start", &[self.id.0, life]);
        let opening = timeout(START_WITHIN, self.open(world, options));
        let opened = tokio::select! {
            biased;
            () = self.disk.until_cut() => None,
            opened = opening => Some(opened),
        };
        let why = match opened {
            Some(Ok(Ok(process))) => {
                let engine = Arc::new(process.engine.downgrade());
                world.net.connect(self.id, life, engine);
                *self.process.lock() = Some(process.clone());
                return Some(process);
            }
            Some(Ok(Err(error))) => Some(error.to_string()),
            Some(Err(_late)) => Some("the start did not end".to_owned()),
            None => None,
        };
        world.net.disconnect(self.id);
        if let Some(why) = why
            && self.disk.is_on()
        {
            self.failed(world, &why);
        }
        self.disk.end_life();
        None
    }

    async fn open(&self, world: &World, options: EngineOptions) -> Result<Process, OpenError> {
        let engine = Engine::open(options)?;
        if self.id == NodeId(1) && !self.is_founded.load(Ordering::Relaxed) {
            let members = (1..=world.plan.nodes).map(NodeId).collect::<Vec<_>>();
            engine.init_store(KIND, world.plan.ranges, &members).await?;
            self.is_founded.store(true, Ordering::Relaxed);
        }
        let (node, observer) = (self.id.0, Arc::clone(&world.observer));
        let ballast = world.plan.ballast;
        let make = move |shard| Registers {
            node,
            number: observer.number_machine(),
            shard,
            ballast,
            observer: Arc::clone(&observer),
        };
        let store = engine.join_store(KIND, make).await?;
        Ok(Process {
            engine,
            store,
            ended: Arc::default(),
        })
    }

    fn options(&self, world: &World, life: u64) -> EngineOptions {
        let (choices, journal) = (world.plan.engine, world.journal.clone());
        let skew_ms = self.skew_ms;
        let clock = move || {
            let elapsed = u64::try_from(journal.elapsed().as_millis()).unwrap_or(u64::MAX);
            1_000_000 + skew_ms + elapsed
        };
        let cluster = ClusterId::from_bytes([7; 16]);
        let mut options = EngineOptions::new(
            Path::new(""),
            self.id,
            cluster,
            Incarnation(life),
            Arc::new(clock),
        );
        options.transport = Some(world.net.line(self.id, life));
        options.timing = choices.timing;
        options.propose_timeout = choices.propose_timeout;
        options.queue_bytes_max = choices.queue_bytes_max;
        options.in_flight_bytes_max = choices.in_flight_bytes_max;
        options.checkpoint_interval = choices.checkpoint_interval;
        options.checkpoint_bytes = choices.checkpoint_bytes;
        options.laggard_log_bytes_max = choices.laggard_log_bytes_max;
        options.stripes = choices.stripes;
        options.state_cache_bytes = choices.cache_bytes;
        options.log_cache_bytes = choices.cache_bytes;
        let random = Rng::of_part(world.plan.seed, (life << 16) | self.id.0);
        options.seams = Seams {
            workers: Workers::Tasks,
            disk: Some(self.disk.begin_life()),
            random: Some(random.into_random()),
        };
        options
    }

    /// Until the process ends. How long the node is down then.
    async fn live(
        &self,
        world: &Arc<World>,
        process: Process,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Duration {
        let mut fenced = process.engine.fenced();
        let fence = async {
            let cause = fenced.wait_for(Option::is_some).await;
            cause.map_or_else(|_| None, |cause| cause.clone())
        };
        let order = tokio::select! {
            biased;
            () = self.disk.until_cut() => Order { stop: Stop::CutPower, down: RETRY_AFTER },
            cause = fence => {
                if self.disk.is_on() {
                    let why = cause.map_or_else(String::new, |cause| cause.to_string());
                    self.failed(world, &format!("fenced while {why}"));
                }
                Order { stop: Stop::Kill, down: RETRY_AFTER }
            }
            order = orders.recv() => order.unwrap_or(Order {
                stop: Stop::Kill,
                down: RETRY_AFTER,
            }),
        };
        self.end(world, process, order.stop).await;
        order.down
    }

    async fn end(&self, world: &Arc<World>, process: Process, stop: Stop) {
        world.journal.note("stop", &[self.id.0]);
        world
            .journal
            .say(|| format!("node {} stops: {stop:?}", self.id));
        match stop {
            Stop::Kill => {}
            Stop::CutPower => self.disk.cut_power(),
            Stop::Shutdown => {
                let shutdown = timeout(START_WITHIN, process.engine.shutdown()).await;
                if shutdown.is_err() {
                    let detail = format!("the shutdown of node {} did not end", self.id);
                    world.journal.violated(every_operation_ends::NAME, detail);
                }
            }
            Stop::Repair => {
                self.disk.end_life();
                self.repair(world);
            }
            Stop::Lose => {
                self.disk.end_life();
                world.replace(self);
            }
        }
        self.disk.end_life();
        world.net.disconnect(self.id);
        *self.process.lock() = None;
        process.ended.set();
    }

    /// The process stopped by itself.
    fn failed(&self, world: &Arc<World>, why: &str) {
        world
            .journal
            .say(|| format!("node {} failed: {why}", self.id));
        let held = fenced_for_a_reason::check(self.id.0, self.disk.is_hurt(), why);
        world.journal.check(fenced_for_a_reason::NAME, held);
        if self.disk.is_flipped() {
            world.journal.count(FaultKind::FlipNoticed);
            self.disk.end_life();
            self.repair(world);
        }
    }

    /// Mends flipped bits. `false` if the node is beyond repair.
    fn repair(&self, world: &Arc<World>) -> bool {
        let is_whole = self.disk.mend_flips();
        if !is_whole {
            world.replace(self);
        }
        is_whole
    }
}
