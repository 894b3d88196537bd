//! One engine, or three that are joined, and what is asked of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use tessera_shard::{
    Capacity, ChangeError, Engine, EngineOptions, IDENTITY_RANDOM_LEN, IdentityError, NodeIdentity,
    OpenError, ProposeError, RaftTiming, ReadError, Shard, Store, StoreKind, Switchboard,
};
use tessera_tenancy::NodeId;

use crate::engine_host::machine::{self, Writes};
use crate::engine_wire::{Answer, Replica, Row, WriteId};

/// Short, so that a round does not wait for elections; not so short that a busy machine has no leader.
const TIMING: RaftTiming = RaftTiming {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(400),
    election_max: Duration::from_millis(800),
};
/// Often, so that many kills fall into one, and logs are purged.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(300);
/// See [`CHECKPOINT_INTERVAL`].
const CHECKPOINT_BYTES: usize = 256 * 1024;
/// What a node may store: what else is on the machine's disk does not matter.
const CAPACITY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Ranges that the store begins with.
const RANGES: usize = 4;
/// The writes' store: any kind will do.
const KIND: StoreKind = StoreKind::Inbox;
/// Longest wait for a shard to confirm a read.
const CONFIRM_MAX: Duration = Duration::from_secs(5);

/// The nodes of a host by number.
pub(super) struct Nodes {
    nodes: BTreeMap<u64, Node>,
    #[expect(dead_code, reason = "carries what the nodes say to each other")]
    board: Switchboard,
}

struct Node {
    engine: Engine,
    store: Store<Writes>,
}

impl Nodes {
    /// Opens `count` nodes, each in a folder of its own below this one.
    pub(super) async fn open(folder: &Path, count: u64) -> anyhow::Result<Self> {
        let board = Switchboard::new(Arc::new(|| 0));
        let members: Vec<_> = (1..=count).map(NodeId).collect();
        let mut nodes = BTreeMap::new();
        for node in &members {
            let options = options(&folder.join(format!("node-{node}")), *node, &board)?;
            let engine = Engine::open(options)?;
            let store = open_store(&engine, *node, &members).await?;
            board.connect(*node, engine.downgrade());
            nodes.insert(node.0, Node { engine, store });
        }
        Ok(Self { nodes, board })
    }

    /// Ends once the storage of a node has failed.
    pub(super) async fn failed(&self) -> anyhow::Error {
        let mut waiting = tokio::task::JoinSet::new();
        for (number, node) in &self.nodes {
            let (number, mut fenced) = (*number, node.engine.fenced());
            waiting.spawn(async move {
                let cause = fenced.wait_for(Option::is_some).await;
                anyhow!("node {number} is fenced: {cause:?}")
            });
        }
        match waiting.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(_)) | None => anyhow!("nobody looks after the nodes"),
        }
    }

    pub(super) async fn write(&self, node: u64, id: WriteId, text: &str) -> Answer {
        let answered = match self.node(node) {
            Ok(node) => {
                let (rest, command) = (machine::rest_of(id), machine::command(id, text));
                node.store.propose(id.tenant(), &rest, command).await
            }
            Err(why) => return refused(id, &why),
        };
        match answered {
            Ok(answer) => match machine::applied(&answer) {
                Some(applied) => Answer::Written { id, applied },
                None => unknown(id, &"another answer than a write's"),
            },
            Err(
                error @ (ProposeError::Busy { .. }
                | ProposeError::TooLarge { .. }
                | ProposeError::OutsideRange { .. }
                | ProposeError::DiskFull
                | ProposeError::RangeMoved { .. }),
            ) => refused(id, &error),
            Err(
                error @ (ProposeError::Unavailable
                | ProposeError::AnswerForgotten
                | ProposeError::Fenced
                | ProposeError::Closed),
            ) => unknown(id, &error),
        }
    }

    /// Splits on whichever node leads the range.
    pub(super) async fn split(&self, id: WriteId, if_larger: Option<u64>) -> Answer {
        let mut why = "no node leads the range".to_owned();
        for node in self.nodes.values() {
            let Some(shard) = node.store.find_shard(id.tenant(), &machine::rest_of(id)) else {
                continue;
            };
            let split = match if_larger {
                Some(bytes) => shard.split_if_larger(bytes).await,
                None => shard.split(&machine::key_of(id)).await.map(Some),
            };
            match split {
                Ok(Some(child)) => {
                    return Answer::Split {
                        child: child.as_u64(),
                    };
                }
                Ok(None) => why = String::from("it is not that large"),
                Err(ChangeError::NotLeader { .. }) => {}
                Err(error) => why = error.to_string(),
            }
        }
        Answer::NotSplit { why }
    }

    /// Every replica of every node, each after a linearizable read.
    pub(super) async fn replicas(&self) -> anyhow::Result<Vec<Replica>> {
        let mut replicas = Vec::new();
        for (number, node) in &self.nodes {
            for shard in node.store.shards() {
                confirm(*number, &shard).await?;
                let digest = shard.digest().await?;
                let digest = digest.with_context(|| format!("{shard:?} has applied nothing"))?;
                replicas.push(Replica {
                    shard: shard.id().as_u64(),
                    node: *number,
                    index: digest.index,
                    epoch: digest.epoch,
                    digest: digest.digest,
                });
            }
        }
        replicas.sort_unstable();
        Ok(replicas)
    }

    /// Everything that a node has.
    pub(super) async fn rows(&self, node: u64) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for shard in self.node(node)?.store.shards() {
            confirm(node, &shard).await?;
            // The scan may be long.
            let reading = tokio::task::spawn_blocking(move || shard.read(machine::all));
            rows.extend(reading.await??);
        }
        Ok(rows)
    }

    pub(super) fn is_owned(&self, node: u64, id: WriteId) -> bool {
        let owner = |node: &Node| node.store.find_shard(id.tenant(), &machine::rest_of(id));
        self.node(node).is_ok_and(|node| owner(node).is_some())
    }

    fn node(&self, number: u64) -> anyhow::Result<&Node> {
        let node = self.nodes.get(&number);
        node.with_context(|| format!("there is no node {number}"))
    }
}

fn options(folder: &Path, node: NodeId, board: &Switchboard) -> anyhow::Result<EngineOptions> {
    let identity = identity(folder, node)?;
    let clock = Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
    });
    let mut options = EngineOptions::new(
        folder,
        identity.node,
        identity.cluster,
        identity.incarnation,
        clock,
    );
    options.transport = Some(board.transport_of(node));
    options.timing = TIMING;
    options.checkpoint_interval = CHECKPOINT_INTERVAL;
    options.checkpoint_bytes = CHECKPOINT_BYTES;
    options.capacity = Capacity::Bytes(CAPACITY_BYTES);
    Ok(options)
}

/// The next life of the node in this folder, the first one if it is new.
fn identity(folder: &Path, node: NodeId) -> Result<NodeIdentity, IdentityError> {
    match NodeIdentity::open(folder) {
        Err(IdentityError::Missing { .. }) => {
            // The cluster is the same one, and its number means nothing.
            let mut random = [7; IDENTITY_RANDOM_LEN];
            random[..8].copy_from_slice(&node.0.to_le_bytes());
            NodeIdentity::create(folder, random)
        }
        opened => opened,
    }
}

/// The first node founds the groups, whatever happened to its lives before.
async fn open_store(
    engine: &Engine,
    node: NodeId,
    members: &[NodeId],
) -> anyhow::Result<Store<Writes>> {
    if members == [node] {
        return Ok(engine.open_store(KIND, RANGES, |_| Writes).await?);
    }
    if members.first() == Some(&node) {
        match engine.init_store(KIND, RANGES, members).await {
            Ok(()) | Err(OpenError::HasRanges { .. }) => {}
            Err(error) => bail!(error),
        }
    }
    Ok(engine.join_store(KIND, |_| Writes).await?)
}

/// A linearizable read of nothing.
async fn confirm(node: u64, shard: &Shard<Writes>) -> anyhow::Result<()> {
    let reading = shard.read_linearizable(|_| Ok(()));
    let read: Result<(), ReadError> = tokio::time::timeout(CONFIRM_MAX, reading)
        .await
        .with_context(|| format!("{shard:?} on node {node} confirms nothing"))?;
    read.with_context(|| format!("{shard:?} on node {node}"))
}

fn refused(id: WriteId, why: &impl ToString) -> Answer {
    let why = why.to_string();
    Answer::Refused { id, why }
}

fn unknown(id: WriteId, why: &impl ToString) -> Answer {
    let why = why.to_string();
    Answer::Unknown { id, why }
}
