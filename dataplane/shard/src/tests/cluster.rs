//! Three engines in one process: written through any of them, cut off, killed and healed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tempfile::TempDir;
use tessera_tenancy::NodeId;
use tokio::time::Instant;

use super::disk::TestDisk;
use super::kit::{Counters, key_of, options, tenant};
use crate::{
    Capacity, Engine, EngineOptions, Faults, OpenError, ProposeError, RaftTiming, Random,
    ReadError, Scope, Seams, Shard, StateDigest, Store, StoreKind, Switchboard, Workers,
};

/// Fast, so that elections do not take long.
const TIMING: RaftTiming = RaftTiming {
    heartbeat: Duration::from_millis(60),
    election_min: Duration::from_millis(250),
    election_max: Duration::from_millis(500),
};

/// A number per call, the same for the same seed.
pub(super) fn seeded(seed: u64) -> Random {
    let state = AtomicU64::new(seed);
    Arc::new(move || {
        let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Nodes of one process.
pub(super) struct Cluster {
    folder: TempDir,
    pub(super) board: Switchboard,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) incarnation: u64,
    simulated: Option<Simulated>,
    pub(super) laggard_log_bytes_max: u64,
    pub(super) capacity: Capacity,
}

/// What a cluster that runs on one thread has instead of the machine.
struct Simulated {
    random: Random,
    begun: Instant,
    disks: BTreeMap<u64, TestDisk>,
}

pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) store: Store<Counters>,
}

impl Cluster {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            board: Switchboard::new(seeded(seed)),
            nodes: BTreeMap::new(),
            incarnation: 0,
            simulated: None,
            laggard_log_bytes_max: 1 << 30,
            capacity: Capacity::Measured,
        }
    }

    /// Nodes on made-up disks, for a runtime of one thread with paused time.
    pub(super) fn simulated(seed: u64) -> Self {
        let random = seeded(seed);
        Self {
            board: Switchboard::new(Arc::clone(&random)),
            simulated: Some(Simulated {
                random,
                begun: Instant::now(),
                disks: BTreeMap::new(),
            }),
            ..Self::new(seed)
        }
    }

    /// The disk of a node; a new one unless given before.
    pub(super) fn disk(&mut self, node: u64) -> TestDisk {
        let simulated = self.simulated.as_mut().unwrap();
        simulated
            .disks
            .entry(node)
            .or_insert_with(TestDisk::new)
            .clone()
    }

    pub(super) fn set_disk(&mut self, node: u64, disk: TestDisk) {
        self.simulated.as_mut().unwrap().disks.insert(node, disk);
    }

    /// Nodes 1, 2 and 3, of which the first makes the ranges.
    pub(super) async fn of_three(seed: u64, ranges: usize) -> Self {
        let mut cluster = Self::new(seed);
        cluster.begin(&[1, 2, 3], ranges).await;
        cluster
    }

    /// Starts nodes; the first makes the ranges.
    pub(super) async fn begin(&mut self, nodes: &[u64], ranges: usize) {
        let members: Vec<_> = nodes.iter().copied().map(NodeId).collect();
        self.found(nodes[0], &members, ranges).await;
        for node in &nodes[1..] {
            self.start(*node).await;
        }
    }

    pub(super) fn options(&self, node: u64) -> EngineOptions {
        let folder = self.folder.path().join(node.to_string());
        let mut options = options(&folder, self.incarnation);
        options.node = NodeId(node);
        options.transport = Some(self.board.transport_of(NodeId(node)));
        options.timing = TIMING;
        options.checkpoint_interval = Duration::from_millis(50);
        options.laggard_log_bytes_max = self.laggard_log_bytes_max;
        options.capacity = self.capacity;
        options.stripes = 2;
        if let Some(simulated) = &self.simulated {
            options.propose_timeout = Duration::from_secs(2);
            let begun = simulated.begun;
            options.clock = Arc::new(move || u64::try_from(begun.elapsed().as_millis()).unwrap());
            options.seams = Seams {
                workers: Workers::Tasks,
                disk: Some(Arc::new(simulated.disks[&node].clone())),
                random: Some(Arc::clone(&simulated.random)),
            };
        }
        options
    }

    pub(super) async fn found(&mut self, node: u64, members: &[NodeId], ranges: usize) {
        self.prepare(node);
        let engine = Engine::open(self.options(node)).unwrap();
        let founded = engine.init_store(StoreKind::Inbox, ranges, members).await;
        founded.unwrap();
        self.join(node, engine).await;
    }

    fn prepare(&mut self, node: u64) {
        self.incarnation += 1;
        if self.simulated.is_some() {
            self.disk(node);
        }
    }

    pub(super) async fn start(&mut self, node: u64) {
        self.prepare(node);
        let engine = Engine::open(self.options(node)).unwrap();
        self.join(node, engine).await;
    }

    async fn join(&mut self, node: u64, engine: Engine) {
        let joined = engine.join_store(StoreKind::Inbox, |_| Counters::default());
        let store = joined.await.unwrap();
        self.board.connect(NodeId(node), engine.downgrade());
        self.nodes.insert(node, Node { engine, store });
    }

    /// Ends a node without telling the others.
    pub(super) async fn stop(&mut self, node: u64) {
        self.board.disconnect(NodeId(node));
        let Node { engine, store } = self.nodes.remove(&node).unwrap();
        drop(store);
        engine.shutdown().await;
    }

    /// Asserts that all replicas of a tenant's name have one digest once they are at one index.
    pub(super) async fn assert_one_digest(&self, number: u8, name: &[u8]) {
        loop {
            let mut digests = Vec::new();
            for node in self.nodes.values() {
                if let Some(shard) = node.store.find_shard(tenant(number), name) {
                    digests.extend(shard.digest().await.unwrap());
                }
            }
            let is_at_one = |digest: &StateDigest| digest.index == digests[0].index;
            if digests.len() == self.nodes.len() && digests.iter().all(is_at_one) {
                assert!(
                    digests.iter().all(|digest| *digest == digests[0]),
                    "{digests:?}"
                );
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn end(mut self) {
        for node in std::mem::take(&mut self.nodes).into_values() {
            node.engine.shutdown().await;
        }
    }

    /// The shard of a tenant's counters on `node`, once it has a replica there.
    pub(super) async fn shard(&self, node: u64, number: u8) -> Shard<Counters> {
        let store = &self.nodes[&node].store;
        until(|| store.find_shard(tenant(number), b"")).await
    }

    /// The node that leads a tenant's shard, once `asked` knows.
    pub(super) async fn leader(&self, asked: u64, number: u8) -> u64 {
        let shard = self.shard(asked, number).await;
        loop {
            if let Some(leader) = shard.leader() {
                return leader.0;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Adds one to a tenant's counter through `node`, again and again until it is told the outcome.
    pub(super) async fn add(&self, node: u64, number: u8, name: &[u8]) -> u64 {
        let shard = self.shard(node, number).await;
        let command = Bytes::copy_from_slice(name);
        let answer = shard.propose(Scope::Tenant(tenant(number)), command).await;
        u64::from_le_bytes(answer.unwrap()[..].try_into().unwrap())
    }

    /// A counter as a linearizable read through `node` sees it.
    pub(super) async fn count(&self, node: u64, number: u8, name: &[u8]) -> u64 {
        let shard = self.shard(node, number).await;
        loop {
            let key = key_of(tenant(number), name);
            match shard.read_linearizable(|rows| rows.get(&key)).await {
                Ok(row) => {
                    return row.map_or(0, |row| u64::from_le_bytes(row[..].try_into().unwrap()));
                }
                Err(ReadError::NotLeader { .. } | ReadError::Installing) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Waits for something that comes by itself.
pub(super) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking)
        .await
        .expect("it does not come")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_through_any_node_is_read_through_every_node() {
    let cluster = Cluster::of_three(1, 4).await;
    let mut expected = 0;
    for round in 0..10 {
        for node in 1..=3 {
            expected += 1;
            assert_eq!(cluster.add(node, 7, b"a").await, expected, "round {round}");
        }
    }
    for node in 1..=3 {
        assert_eq!(cluster.count(node, 7, b"a").await, expected);
    }
    cluster.end().await;
}

/// Adds names of its own to a tenant's counters through `node`, `count` of them; each is
/// acknowledged, or told to be unavailable and then unknown.
async fn add_names(
    cluster: &Cluster,
    node: u64,
    names: impl Iterator<Item = String>,
) -> (Vec<String>, Vec<String>) {
    let shard = cluster.shard(node, 7).await;
    let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
    let proposals = names.map(|name| {
        let command = Bytes::from(name.clone().into_bytes());
        let proposal = shard.submit(Scope::Tenant(tenant(7)), command).unwrap();
        async move { (name, proposal.await) }
    });
    for (name, answer) in join_all(proposals).await {
        match answer {
            Ok(count) => {
                assert_eq!(count[..], 1u64.to_le_bytes(), "{name} was applied once");
                acknowledged.push(name);
            }
            Err(ProposeError::Unavailable) => unknown.push(name),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    (acknowledged, unknown)
}

async fn assert_once(cluster: &Cluster, node: u64, acknowledged: &[String], unknown: &[String]) {
    for name in acknowledged {
        assert_eq!(cluster.count(node, 7, name.as_bytes()).await, 1, "{name}");
    }
    for name in unknown {
        let count = cluster.count(node, 7, name.as_bytes()).await;
        assert!(count <= 1, "{name} was applied {count} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_leader_is_cut_off_and_comes_back() {
    let cluster = Cluster::of_three(2, 1).await;
    for round in 0..3 {
        let leader = cluster.leader(1, 7).await;
        let other = leader % 3 + 1;
        cluster.add(other, 7, b"warm").await;
        let names = |node: u64| (0..40).map(move |i| format!("{round}/{node}/{i}"));
        let writing = async {
            tokio::join!(
                add_names(&cluster, leader, names(leader)),
                add_names(&cluster, other, names(other)),
            )
        };
        let cutting = async {
            cluster.board.isolate(NodeId(leader));
            let shard = cluster.shard(other, 7).await;
            loop {
                if shard.leader().is_some_and(|now| now.0 != leader) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // The rest goes on without it.
            cluster.add(other, 7, b"without").await;
            cluster.board.heal();
        };
        let (((mut acknowledged, mut unknown), more), ()) = tokio::join!(writing, cutting);
        acknowledged.extend(more.0);
        unknown.extend(more.1);
        assert_once(&cluster, leader, &acknowledged, &unknown).await;
        assert_once(&cluster, other, &acknowledged, &unknown).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_leader_is_replaced_and_catches_up_when_it_is_back() {
    let mut cluster = Cluster::of_three(3, 2).await;
    let mut expected = 0;
    for _ in 0..3 {
        let leader = cluster
            .leader(*cluster.nodes.keys().next().unwrap(), 7)
            .await;
        expected += 1;
        assert_eq!(cluster.add(leader, 7, b"a").await, expected);
        cluster.stop(leader).await;
        let other = leader % 3 + 1;
        expected += 1;
        assert_eq!(cluster.add(other, 7, b"a").await, expected);
        cluster.start(leader).await;
        expected += 1;
        assert_eq!(cluster.add(leader, 7, b"a").await, expected);
        assert_eq!(cluster.count(leader, 7, b"a").await, expected);
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_lost_doubled_and_reordered_change_nothing() {
    let cluster = Cluster::of_three(4, 1).await;
    cluster.add(1, 7, b"warm").await;
    cluster.board.set_faults(Faults {
        lost_per_mille: 50,
        doubled_per_mille: 200,
        delay_max: Duration::from_millis(20),
    });
    let names = |node: u64| (0..200).map(move |i| format!("{node}/{i}"));
    let (a, b, c) = tokio::join!(
        add_names(&cluster, 1, names(1)),
        add_names(&cluster, 2, names(2)),
        add_names(&cluster, 3, names(3)),
    );
    cluster.board.set_faults(Faults::default());
    let acknowledged = [a.0, b.0, c.0].concat();
    let unknown = [a.1, b.1, c.1].concat();
    assert_eq!(acknowledged.len() + unknown.len(), 600);
    assert_once(&cluster, 2, &acknowledged, &unknown).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_quorum_says_so_in_time_and_a_read_is_refused() {
    let mut cluster = Cluster::new(5);
    cluster.incarnation += 1;
    let mut options = cluster.options(1);
    options.propose_timeout = Duration::from_millis(400);
    let engine = Engine::open(options).unwrap();
    let members = [1, 2, 3].map(NodeId);
    engine
        .init_store(StoreKind::Inbox, 1, &members)
        .await
        .unwrap();
    cluster.join(1, engine).await;
    let shard = cluster.shard(1, 7).await;
    let lonely = shard.propose(Scope::Tenant(tenant(7)), Bytes::from_static(b"a"));
    assert_eq!(lonely.await, Err(ProposeError::Unavailable));
    let read = shard.read_linearizable(|_| Ok(())).await;
    assert!(matches!(read, Err(ReadError::NotLeader { .. })), "{read:?}");
    // The number is not given up: once there is a quorum, what was told to be unknown is done first.
    cluster.start(2).await;
    let mut unknown = 1;
    let count = loop {
        match shard
            .propose(Scope::Tenant(tenant(7)), Bytes::from_static(b"a"))
            .await
        {
            Ok(count) => break count,
            Err(ProposeError::Unavailable) => unknown += 1,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(count[..], u64::to_le_bytes(unknown + 1));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_made_once_by_a_member_and_other_clusters_are_refused() {
    let mut cluster = Cluster::of_three(6, 2).await;
    let stranger = Engine::open(EngineOptions {
        node: NodeId(9),
        ..cluster.options(9)
    });
    let stranger = stranger.unwrap();
    let not_founder = stranger.init_store(StoreKind::Inbox, 2, &[NodeId(1)]).await;
    assert!(matches!(
        not_founder,
        Err(OpenError::NotFounder { node: NodeId(9) })
    ));
    stranger.shutdown().await;

    cluster.add(2, 7, b"a").await;
    cluster.stop(2).await;
    cluster.incarnation += 1;
    let engine = Engine::open(cluster.options(2)).unwrap();
    let again = engine.init_store(StoreKind::Inbox, 2, &[NodeId(2)]).await;
    assert!(matches!(
        again,
        Err(OpenError::HasRanges {
            kind: StoreKind::Inbox
        })
    ));
    cluster.join(2, engine).await;
    assert_eq!(cluster.add(2, 7, b"a").await, 2);

    let foreign = crate::wire::Request::ReadIndex.encode(&crate::wire::Envelope {
        cluster: tessera_tenancy::ClusterId::from_bytes([1; 16]),
        kind: StoreKind::Inbox,
        shard: cluster.shard(2, 7).await.id(),
        epoch: 1,
    });
    let answer = cluster.nodes[&2]
        .engine
        .handle_request(NodeId(1), foreign.unwrap())
        .await;
    let answer: Result<u64, _> = crate::wire::read_answer(&answer);
    assert_eq!(answer, Err(crate::wire::Refusal::Foreign));
    cluster.end().await;
}
