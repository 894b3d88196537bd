//! Nodes with a replica of every shard each, in one process: engines over a switchboard, front ends
//! over another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tempfile::TempDir;
use tessera_config::{Config, MemoryDisk};
use tessera_dist::{Dist, DistOptions};
use tessera_frontend::{Frontend, FrontendOptions, Seams, Services, cluster_nodes};
use tessera_inbox::Inbox;
use tessera_limits::Directory;
use tessera_mqtt::{DecodeLimits, ReasonCode};
use tessera_retain::Retain;
use tessera_session::ServerLimits;
use tessera_shard::{
    Engine, EngineOptions, RaftTiming, StoreKind, Switchboard, Transport, TransportError,
};
use tessera_tenancy::{ClusterId, Incarnation, LimitCode, NodeId};

use crate::client::{Device, Hello};
use crate::harness::{ACME, Push, SERVER_KEY, free_but, set_tenant, tenant_id, unix_ms};

/// Fast, so that elections do not take long.
const TIMING: RaftTiming = RaftTiming {
    heartbeat: Duration::from_millis(60),
    election_min: Duration::from_millis(250),
    election_max: Duration::from_millis(500),
};
/// The nodes of every test.
pub(super) const NODES: [u64; 3] = [1, 2, 3];

/// Three nodes.
pub(super) struct Cluster {
    nodes: BTreeMap<u64, Node>,
    engines: Switchboard,
    peers: PeerBoard,
    _folder: TempDir,
}

/// One of them.
struct Node {
    engine: Engine,
    frontend: Frontend,
    background: tokio::task::JoinHandle<()>,
}

impl Cluster {
    /// Three nodes that hold their leases; tenant `acme` may publish as fast as it can.
    pub(super) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let engines = Switchboard::new(Arc::new(|| 0));
        let peers = PeerBoard::default();
        let members: Vec<NodeId> = NODES.map(NodeId).into();
        let mut opened = BTreeMap::new();
        for node in NODES {
            let engine = open_engine(folder.path(), node, &engines);
            engines.connect(NodeId(node), engine.downgrade());
            if node == NODES[0] {
                for kind in [StoreKind::Dist, StoreKind::Inbox, StoreKind::Retain] {
                    engine.init_store(kind, 2, &members).await.unwrap();
                }
            }
            opened.insert(node, engine);
        }
        let started = opened
            .into_iter()
            .map(async |(node, engine)| (node, Node::start(node, engine, &peers).await));
        let nodes = join_all(started).await.into_iter().collect();
        let cluster = Self {
            nodes,
            engines,
            peers,
            _folder: folder,
        };
        for node in NODES {
            cluster.connected(node, &Hello::new(ACME, "first")).await;
        }
        cluster
    }

    /// A connection to a node, as soon as that takes any.
    pub(super) async fn connected(&self, node: u64, hello: &Hello) -> Device {
        loop {
            let mut device = self.device(node).await;
            let answer = device.hello(hello).await;
            match answer.reason {
                ReasonCode::Success => return device,
                ReasonCode::ServerUnavailable => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                refused => panic!("{refused:?}"),
            }
        }
    }

    /// A connection that has said nothing yet.
    pub(super) async fn device(&self, node: u64) -> Device {
        Device::open(self.nodes[&node].frontend.address()).await
    }

    /// Cuts a node off from the others; its devices still reach it.
    pub(super) fn isolate(&self, node: u64) {
        self.engines.isolate(NodeId(node));
        self.peers.isolate(NodeId(node));
    }

    /// From now on calls between front ends are lost and doubled.
    pub(super) fn disturb(&self) {
        self.peers.0.lock().is_faulty = true;
    }

    pub(super) fn heal(&self) {
        self.engines.heal();
        self.peers.heal();
    }

    pub(super) async fn stop(self) {
        for node in self.nodes.values() {
            node.background.abort();
        }
        join_all(self.nodes.values().map(|node| node.frontend.shutdown())).await;
        join_all(self.nodes.values().map(|node| node.engine.shutdown())).await;
    }
}

impl Node {
    async fn start(number: u64, engine: Engine, peers: &PeerBoard) -> Self {
        let node = NodeId(number);
        let options = DistOptions {
            ranges: 2,
            node,
            incarnation: Incarnation(1),
        };
        let transport = peers.transport_of(node);
        let dist = Dist::join(&engine, options).await.unwrap();
        let nodes = cluster_nodes(dist.clone(), Arc::clone(&transport));
        let inbox = Inbox::join(&engine, nodes).await.unwrap();
        let retain = Retain::join(&engine).await.unwrap();
        // Its replicas come, and elect their leaders, as the others start.
        while dist.enter().await.is_err() || dist.live_sessions(tenant_id(ACME)).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let config = Config::open(Arc::new(MemoryDisk::new())).unwrap();
        let services = Services {
            config: config.clone(),
            limits: Directory::new(),
            dist,
            inbox: inbox.clone(),
            retain,
            server_key: SERVER_KEY,
            peers: Some(transport),
        };
        let options = FrontendOptions {
            mqtt_listen: "127.0.0.1:0".parse().unwrap(),
            session_limits: ServerLimits::default(),
            decode_limits: DecodeLimits::default(),
            seams: Seams::default(),
        };
        let frontend = Frontend::start(services, options).unwrap();
        peers.connect(node, frontend.clone());
        let mut push = Push::begin(&config);
        push.snapshot();
        push.change(set_tenant(
            ACME,
            free_but(LimitCode::PublishesPerSecond, 1_000_000),
        ));
        let background = tokio::spawn(expire(inbox));
        Self {
            engine,
            frontend,
            background,
        }
    }
}

fn open_engine(folder: &Path, node: u64, board: &Switchboard) -> Engine {
    let mut options = EngineOptions::new(
        folder.join(node.to_string()),
        NodeId(node),
        ClusterId::from_bytes([3; 16]),
        Incarnation(1),
        Arc::new(unix_ms),
    );
    options.transport = Some(board.transport_of(NodeId(node)));
    options.timing = TIMING;
    Engine::open(options).unwrap()
}

/// The background work that a node does.
async fn expire(inbox: Inbox) {
    loop {
        // While a shard has no leader, nothing is done.
        drop(inbox.expire(unix_ms()).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Connects the front ends of one process.
#[derive(Clone, Default)]
struct PeerBoard(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    frontends: BTreeMap<NodeId, Frontend>,
    isolated: BTreeSet<NodeId>,
    /// Of three answers one is lost, and of three requests one comes twice.
    is_faulty: bool,
    calls: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Carried,
    Doubled,
    AnswerLost,
}

#[derive(Clone)]
struct Line {
    from: NodeId,
    board: PeerBoard,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl PeerBoard {
    fn transport_of(&self, from: NodeId) -> Arc<dyn Transport> {
        let board = self.clone();
        Arc::new(Line { from, board })
    }

    fn connect(&self, node: NodeId, frontend: Frontend) {
        self.0.lock().frontends.insert(node, frontend);
    }

    fn isolate(&self, node: NodeId) {
        self.0.lock().isolated.insert(node);
    }

    fn heal(&self) {
        self.0.lock().isolated.clear();
    }

    /// What happens to the next call.
    fn fate(&self) -> Fate {
        let mut board = self.0.lock();
        board.calls += 1;
        match board.calls % 3 {
            0 if board.is_faulty => Fate::AnswerLost,
            1 if board.is_faulty => Fate::Doubled,
            _ => Fate::Carried,
        }
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Option<Frontend> {
        let board = self.0.lock();
        let is_cut = board.isolated.contains(&from) || board.isolated.contains(&to);
        board.frontends.get(&to).filter(|_| !is_cut).cloned()
    }
}

impl Transport for Line {
    fn call(
        &self,
        to: NodeId,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let line = self.clone();
        Box::pin(async move {
            let frontend = line.board.reach(line.from, to);
            let frontend = frontend.ok_or(TransportError::Unreachable { to })?;
            let fate = line.board.fate();
            if fate == Fate::Doubled {
                frontend.handle_peer(request.clone()).await;
            }
            let answer = frontend.handle_peer(request).await;
            if fate == Fate::AnswerLost {
                return Err(TransportError::Timeout { to });
            }
            // The way back may be cut meanwhile.
            let way_back = line.board.reach(to, line.from);
            way_back
                .map(|_| answer)
                .ok_or(TransportError::Timeout { to })
        })
    }
}
