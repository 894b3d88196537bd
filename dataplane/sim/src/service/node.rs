//! One node: a disk that stays, and processes of the whole data plane that come and go.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tessera_dist::{Dist, DistOptions};
use tessera_frontend::{
    Background, Frontend, FrontendOptions, Seams as FrontendSeams, Services, cluster_nodes,
};
use tessera_inbox::{Inbox, InboxOptions};
use tessera_limits::Directory;
use tessera_mqtt::DecodeLimits;
use tessera_retain::{Retain, RetainOptions};
use tessera_session::ServerLimits;
use tessera_shard::{Clock, Engine, EngineOptions, Seams, StoreKind, Transport, Workers};
use tessera_tenancy::{ClusterId, Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::disk::SimDisk;
use crate::invariants::{every_operation_ends, fenced_for_a_reason};
use crate::net::Answers;
use crate::rng::Rng;
use crate::service::pipe::{Cord, ServerEnd};
use crate::service::tenants::{self, Refused};
use crate::service::world::World;

/// Simulated time that a start or a shutdown may take.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Pause before a node looks again whether its groups have leaders.
const ENTER_PAUSE: Duration = Duration::from_millis(20);
/// Orders to a node that wait; more are dropped.
const ORDERS_MAX: usize = 4;
/// How long a node that could not start is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(400);
/// Unix milliseconds at which every run begins.
const BEGUN_MS: u64 = 1_700_000_000_000;
const KINDS: [StoreKind; 3] = [StoreKind::Dist, StoreKind::Inbox, StoreKind::Retain];

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    skew_ms: u64,
    lives: AtomicU64,
    is_founded: AtomicBool,
    process: Mutex<Option<Process>>,
    orders: mpsc::Sender<Order>,
    /// Taken by its supervisor.
    inbox: Mutex<Option<mpsc::Receiver<Order>>>,
}

/// How a process ends, and for how long the node is down then.
#[derive(Debug, Clone, Copy)]
struct Order {
    stop: Stop,
    down: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Kill,
    CutPower,
    Shutdown,
}

/// A process of a node that is up. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    engine: Engine,
    frontend: Frontend,
    pub(crate) dist: Dist,
    pub(crate) inbox: Inbox,
    pub(crate) retain: Retain,
    cords: Arc<Mutex<Vec<Cord>>>,
    /// Background work ends.
    stop: CancellationToken,
}

impl Process {
    /// Serves a device.
    pub(crate) fn serve(&self, stream: ServerEnd, peer: SocketAddr) {
        let mut cords = self.cords.lock();
        cords.retain(|cord| !cord.is_gone());
        cords.push(stream.cord());
        drop(cords);
        self.frontend.serve(stream, peer);
    }

    /// Cuts off all devices.
    fn cut_cords(&self) {
        for cord in self.cords.lock().drain(..) {
            cord.cut();
        }
    }

    /// The process is gone. Its tasks find everything gone, and end.
    fn vanish(self) {
        self.stop.cancel();
        self.cut_cords();
        tokio::spawn(async move { self.frontend.shutdown().await });
    }
}

/// The stores of a process.
struct Stores {
    dist: Dist,
    inbox: Inbox,
    retain: Retain,
    /// The way to other front ends; `None` if the node is alone.
    peers: Option<Arc<dyn Transport>>,
}

/// A front end at the end of a line.
struct Peer(Frontend);

impl Answers for Peer {
    fn answer(&self, _from: NodeId, request: Bytes) -> Option<BoxFuture<'static, Bytes>> {
        let frontend = self.0.clone();
        Some(async move { frontend.handle_peer(request).await }.boxed())
    }
}

impl Node {
    pub(crate) fn new(id: NodeId, disk: SimDisk, skew_ms: u64) -> Self {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        Self {
            id,
            disk,
            skew_ms,
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

    /// Ends the process. One order too many is dropped; `false` then, or if the node is down.
    pub(crate) fn order(&self, stop: Stop, down: Duration) -> bool {
        let is_up = self.process.lock().is_some();
        is_up && self.orders.try_send(Order { stop, down }).is_ok()
    }

    /// Starts processes and ends them as it is told.
    pub(crate) async fn supervise(self: Arc<Self>, world: Arc<World>) {
        let Some(mut orders) = self.inbox.lock().take() else {
            return;
        };
        loop {
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
        world.journal.note("start", &[self.id.0, life]);
        let options = self.options(world, life);
        let opening = timeout(START_WITHIN, self.open(world, options, life));
        let opened = tokio::select! {
            biased;
            () = self.disk.until_cut() => None,
            opened = opening => Some(opened),
        };
        let why = match opened {
            Some(Ok(Ok(process))) => {
                world.journal.note("up", &[self.id.0, life]);
                *self.process.lock() = Some(process.clone());
                return Some(process);
            }
            Some(Ok(Err(Refused(why)))) => Some(why),
            Some(Err(_late)) => Some("the start did not end".to_owned()),
            None => None,
        };
        world.shards.disconnect(self.id);
        world.peers.disconnect(self.id);
        if let Some(why) = why
            && self.disk.is_on()
        {
            self.failed(world, &why);
        }
        self.disk.end_life();
        None
    }

    async fn open(
        &self,
        world: &World,
        options: EngineOptions,
        life: u64,
    ) -> Result<Process, Refused> {
        let clock = Arc::clone(&options.clock);
        let engine = Engine::open(options)?;
        let stores = tokio::select! {
            biased;
            cause = fenced(&engine) => return Err(Refused(cause)),
            stores = self.open_stores(world, &engine, life) => stores?,
        };
        let config = tenants::config()?;
        let seams = FrontendSeams {
            unix_ms: Some(clock),
            random: Some(self.rng(world, life, 1).into_random()),
        };
        let background = Background {
            dist: stores.dist.clone(),
            inbox: stores.inbox.clone(),
            retain: stores.retain.clone(),
            seams: seams.clone(),
        };
        let services = Services {
            config,
            limits: Directory::new(),
            dist: stores.dist.clone(),
            inbox: stores.inbox.clone(),
            retain: stores.retain.clone(),
            server_key: tenants::SERVER_KEY,
            peers: stores.peers,
        };
        let options = FrontendOptions {
            mqtt_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            session_limits: ServerLimits::default(),
            decode_limits: DecodeLimits::default(),
            seams,
        };
        let frontend = Frontend::start_without_port(services, options);
        world
            .peers
            .connect(self.id, life, Arc::new(Peer(frontend.clone())));
        let stop = CancellationToken::new();
        tokio::spawn(background.run(stop.clone()));
        Ok(Process {
            engine,
            frontend,
            dist: stores.dist,
            inbox: stores.inbox,
            retain: stores.retain,
            cords: Arc::default(),
            stop,
        })
    }

    async fn open_stores(
        &self,
        world: &World,
        engine: &Engine,
        life: u64,
    ) -> Result<Stores, Refused> {
        let ranges = world.plan.ranges;
        let options = DistOptions {
            ranges,
            node: self.id,
            incarnation: Incarnation(life),
        };
        if world.plan.nodes == 1 {
            return Ok(Stores {
                dist: Dist::open(engine, options).await?,
                inbox: Inbox::open(engine, InboxOptions { ranges }).await?,
                retain: Retain::open(engine, RetainOptions { ranges }).await?,
                peers: None,
            });
        }
        self.found(world, engine).await?;
        let peers = world.peers.line(self.id, life);
        let dist = Dist::join(engine, options).await?;
        let nodes = cluster_nodes(dist.clone(), Arc::clone(&peers));
        let stores = Stores {
            inbox: Inbox::join(engine, nodes).await?,
            retain: Retain::join(engine).await?,
            dist,
            peers: Some(peers),
        };
        let engine = Arc::new(engine.downgrade());
        world.shards.connect(self.id, life, engine);
        while !stores.enter(ranges).await {
            sleep(ENTER_PAUSE).await;
        }
        Ok(stores)
    }

    /// The first node makes the stores' ranges.
    async fn found(&self, world: &World, engine: &Engine) -> Result<(), Refused> {
        if self.id != NodeId(1) || self.is_founded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let members: Vec<_> = (1..=world.plan.nodes).map(NodeId).collect();
        for kind in KINDS {
            engine.init_store(kind, world.plan.ranges, &members).await?;
        }
        self.is_founded.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn options(&self, world: &World, life: u64) -> EngineOptions {
        let choices = world.plan.engine;
        let mut options = EngineOptions::new(
            Path::new(""),
            self.id,
            ClusterId::from_bytes([7; 16]),
            Incarnation(life),
            self.clock(world),
        );
        if world.plan.nodes > 1 {
            options.transport = Some(world.shards.line(self.id, life));
        }
        options.timing = choices.timing;
        options.propose_timeout = choices.propose_timeout;
        options.in_flight_bytes_max = choices.in_flight_bytes_max;
        options.checkpoint_interval = choices.checkpoint_interval;
        options.checkpoint_bytes = choices.checkpoint_bytes;
        options.laggard_log_bytes_max = choices.laggard_log_bytes_max;
        options.stripes = choices.stripes;
        options.state_cache_bytes = choices.cache_bytes;
        options.log_cache_bytes = choices.cache_bytes;
        options.seams = Seams {
            workers: Workers::Tasks,
            disk: Some(self.disk.begin_life()),
            random: Some(self.rng(world, life, 0).into_random()),
        };
        options
    }

    fn clock(&self, world: &World) -> Clock {
        let (journal, skew_ms) = (world.journal.clone(), self.skew_ms);
        Arc::new(move || {
            let elapsed = u64::try_from(journal.elapsed().as_millis()).unwrap_or(u64::MAX);
            BEGUN_MS + skew_ms + elapsed
        })
    }

    fn rng(&self, world: &World, life: u64, part: u64) -> Rng {
        Rng::of_part(world.plan.seed, (life << 16) | (part << 8) | self.id.0)
    }

    /// Until the process ends. How long the node is down then.
    async fn live(
        &self,
        world: &Arc<World>,
        process: Process,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Duration {
        let killed = Order {
            stop: Stop::Kill,
            down: RETRY_AFTER,
        };
        let order = tokio::select! {
            biased;
            () = self.disk.until_cut() => Order { stop: Stop::CutPower, ..killed },
            cause = fenced(&process.engine) => {
                if self.disk.is_on() {
                    self.failed(world, &format!("fenced while {cause}"));
                }
                killed
            }
            order = orders.recv() => order.unwrap_or(killed),
        };
        self.end(world, process, order.stop).await;
        order.down
    }

    async fn end(&self, world: &Arc<World>, process: Process, stop: Stop) {
        world.journal.note("stop", &[self.id.0]);
        world
            .journal
            .say(|| format!("node {} stops: {stop:?}", self.id));
        *self.process.lock() = None;
        world.recorder.node_ends(self.id.0);
        match stop {
            Stop::Kill => {}
            Stop::CutPower => self.disk.cut_power(),
            Stop::Shutdown => {
                process.frontend.shutdown().await;
                process.stop.cancel();
                if timeout(START_WITHIN, process.engine.shutdown())
                    .await
                    .is_err()
                {
                    let detail = format!("the shutdown of node {} did not end", self.id);
                    world.journal.violated(every_operation_ends::NAME, detail);
                }
            }
        }
        self.disk.end_life();
        world.shards.disconnect(self.id);
        world.peers.disconnect(self.id);
        process.vanish();
    }

    /// The process stopped by itself.
    fn failed(&self, world: &World, why: &str) {
        world
            .journal
            .say(|| format!("node {} failed: {why}", self.id));
        let held = fenced_for_a_reason::check(self.id.0, self.disk.is_hurt(), why);
        world.journal.check(fenced_for_a_reason::NAME, held);
    }
}

impl Stores {
    /// Opens the node session, once there are replicas of all ranges and all have leaders.
    async fn enter(&self, ranges: usize) -> bool {
        let counts = [
            self.dist.shards().len(),
            self.inbox.shards().len(),
            self.retain.shards().len(),
        ];
        let is_whole = counts.into_iter().all(|count| count >= ranges);
        is_whole
            && self.dist.enter().await.is_ok()
            && tenants::all().all(|tenant| !self.dist.live_sessions(tenants::id(tenant)).is_empty())
    }
}

/// Returns once the engine is fenced: why.
async fn fenced(engine: &Engine) -> String {
    let mut fenced = engine.fenced();
    let cause = fenced.wait_for(Option::is_some).await;
    match cause.map(|cause| cause.clone()) {
        Ok(Some(cause)) => cause.to_string(),
        Ok(None) | Err(_) => "it is gone".to_owned(),
    }
}
