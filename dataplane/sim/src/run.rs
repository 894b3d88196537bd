//! One run: the cluster starts, clients work while things go wrong, all is healed, everything is
//! there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tessera_shard::{ReadError, Rows};
use tessera_tenancy::NodeId;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{look, probe};
use crate::cluster::{Node, Process, Stop, World};
use crate::invariants::{
    acknowledged_is_durable, applied_once, every_operation_ends, linearizable, no_panic,
    one_digest, one_owner_per_key, ranges_cover_the_space, reads_see_a_prefix, recovers,
    split_conserves,
};
use crate::journal::{Journal, Record};
use crate::machine::{Digest, Key, Register};
use crate::plan::Plan;
use crate::rng::{hash_bytes, mix_in};
use crate::{client, faults, operator, watch};

/// Simulated time of a whole run, at most.
const RUN_WITHIN: Duration = Duration::from_secs(600);
/// Simulated time between two looks whether the cluster is as it should be.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Tenants from here on are only written to see that a shard takes writes.
const PROBE_TENANT: u8 = 200;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) record: Record,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) simulated: Duration,
}

/// Runs a plan on this thread, in simulated time.
pub(crate) fn run(plan: Plan, is_traced: bool) -> std::io::Result<Ran> {
    no_panic::watch();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build()?;
    let mut ran = runtime.block_on(async {
        let journal = Journal::new(is_traced);
        let world = World::new(plan, journal.clone());
        let finishing = timeout(RUN_WITHIN, phases(&world));
        let is_late = tokio::select! {
            biased;
            // What else would break follows from it.
            () = journal.until_violated() => false,
            finished = finishing => finished.is_err(),
        };
        if is_late {
            journal.violated(recovers::NAME, format!("the run took {RUN_WITHIN:?}"));
        }
        Ran {
            acknowledged: world.history.done(),
            unknown: world.history.unknown(),
            simulated: journal.elapsed(),
            record: journal.record(),
        }
    });
    drop(runtime);
    // Whatever else broke may have followed from a panic.
    if let Err(detail) = no_panic::end() {
        ran.record.violation = Some(crate::journal::Violation {
            invariant: no_panic::NAME,
            detail,
            at: ran.simulated,
        });
    }
    Ok(ran)
}

async fn phases(world: &Arc<World>) {
    world.start();
    recover(world, "starting").await;
    let watching = tokio::spawn(watch::run(Arc::clone(world)));
    let operating = tokio::spawn(operator::run(Arc::clone(world)));
    let clients: Vec<_> = (0..world.plan.load.clients)
        .map(|number| tokio::spawn(client::run(Arc::clone(world), number)))
        .collect();
    faults::inject(Arc::clone(world)).await;
    world.journal.say(|| "healed".to_owned());
    world.heal();
    end_clients(clients).await;
    recover(world, "healed").await;
    lights_out(world).await;
    recover(world, "after the lights went out").await;
    watching.abort();
    operating.abort();
    verify(world).await;
}

/// Clients do the rest of their work on a healed cluster.
async fn end_clients(clients: Vec<JoinHandle<()>>) {
    for client in clients {
        // A panic is counted where it happens.
        drop(client.await);
    }
}

/// All nodes lose power at once: what was acknowledged is on disks, not in somebody's memory.
async fn lights_out(world: &World) {
    for node in &world.nodes {
        node.order(Stop::CutPower, Duration::from_millis(100));
    }
    // Orders are obeyed at once, so now all of them are down.
    sleep(Duration::from_millis(50)).await;
}

/// Waits until the cluster is as it should be.
async fn recover(world: &World, when: &'static str) {
    let begun = Instant::now();
    // Writes through every node, for which it is then waited everywhere.
    let mut to_probe = to_probe(world);
    while let Some(missing) = missing(world, &mut to_probe).await {
        if begun.elapsed() > recovers::WITHIN {
            let missing = format!("{when}: {missing}");
            world
                .journal
                .check(recovers::NAME, recovers::check(Some(missing)));
            return;
        }
        sleep(LOOK_EVERY).await;
    }
    world.journal.note("recovered", &[]);
}

/// What is not yet as it should be.
async fn missing(world: &World, to_probe: &mut Vec<(NodeId, Key)>) -> Option<String> {
    let members = match members(world) {
        Ok(members) => members,
        Err(missing) => return Some(missing),
    };
    if let Some(missing) = missing_members(world, &members) {
        return Some(missing);
    }
    while let Some((id, key)) = to_probe.last() {
        let is_member = members.iter().find(|(node, _)| node.id == *id);
        if let Some((node, _)) = is_member
            && !probe(world, node, *key).await
        {
            return Some(format!("no write to {key:?} through node {id}"));
        }
        to_probe.pop();
    }
    let mut places: BTreeMap<u64, BTreeMap<u64, Digest>> = BTreeMap::new();
    for (node, process) in &members {
        for (shard, digest) in stand(process) {
            places.entry(shard).or_default().insert(node.id.0, digest);
        }
    }
    let apart = places.into_iter().find(|(_, replicas)| {
        let first = replicas.values().next();
        replicas.values().any(|digest| Some(digest) != first)
    });
    apart.map(|(shard, replicas)| format!("replicas of {shard:x} stand at {replicas:x?}"))
}

/// The members that are wanted, with their processes; an error names one that is down.
fn members(world: &World) -> Result<Vec<(Arc<Node>, Process)>, String> {
    let wanted = world.wanted().into_iter();
    let up = wanted.map(|id| {
        let node = world.node(id).ok_or_else(|| format!("no node {id}"))?;
        let process = node.process().ok_or_else(|| format!("node {id} is down"))?;
        Ok((Arc::clone(node), process))
    });
    up.collect()
}

/// Whether all members have the same shards, each with a leader and with exactly these members.
fn missing_members(world: &World, members: &[(Arc<Node>, Process)]) -> Option<String> {
    let shards_of = |process: &Process| -> BTreeSet<u64> {
        let shards = process.shards().into_iter();
        shards.map(|shard| shard.id().as_u64()).collect()
    };
    let (_, first) = members.first()?;
    let shards = shards_of(first);
    if shards.len() < world.plan.ranges {
        return Some(format!("{} shards", shards.len()));
    }
    for (node, process) in members {
        let here = shards_of(process);
        if here != shards {
            return Some(format!(
                "node {} has {here:x?}, another {shards:x?}",
                node.id
            ));
        }
        for shard in process.shards() {
            let (id, status) = (shard.id(), shard.status());
            if status.leader.is_none() {
                return Some(format!("node {} knows no leader of {id}", node.id));
            }
            let in_group = status.members;
            if in_group.voters != world.wanted() || !in_group.learners.is_empty() {
                return Some(format!("{id} has {in_group:?} as node {} knows", node.id));
            }
        }
        if let Err(missing) = ranges_cover_the_space::check(node.id.0, watch::owned(process)) {
            return Some(missing);
        }
    }
    None
}

/// Every node, with a key of each range at least.
fn to_probe(world: &World) -> Vec<(NodeId, Key)> {
    let tenants = 0..u8::try_from(world.plan.ranges * 2).unwrap_or(u8::MAX);
    let probes = tenants.flat_map(|tenant| {
        let key = Key {
            tenant: PROBE_TENANT + tenant,
            register: 0,
        };
        world.nodes.iter().map(move |node| (node.id, key))
    });
    probes.collect()
}

/// Where the replicas of a process stand.
fn stand(process: &Process) -> Vec<(u64, Digest)> {
    let shards = process.shards().into_iter();
    let digests = shards.filter_map(|shard| {
        let digest = shard.read(|rows| Digest::read(rows));
        Some((shard.id().as_u64(), digest.ok()?))
    });
    digests.collect()
}

/// What can be checked only at the end, when all replicas stand at one place.
async fn verify(world: &World) {
    let journal = &world.journal;
    for (node, process) in members(world).unwrap_or_default() {
        watch::look_at(world, &node, &process, true).await;
        let held = ranges_cover_the_space::check(node.id.0, watch::owned(&process));
        journal.check(ranges_cover_the_space::NAME, held);
    }
    journal.check(
        every_operation_ends::NAME,
        every_operation_ends::check(world.history.open()),
    );
    let Some(rows) = check_replicas(world) else {
        return;
    };
    for (key, ops) in world.history.by_key() {
        let row = rows.get(&key).cloned().unwrap_or_default();
        journal.check(applied_once::NAME, applied_once::check_row(&row));
        let held = acknowledged_is_durable::check(key, &ops, &row);
        journal.check(acknowledged_is_durable::NAME, held);
        journal.check(linearizable::NAME, linearizable::check(key, &ops));
        let shards = world.observer().shards_of(&row.ops);
        let held = one_owner_per_key::check_order(key, &shards);
        journal.check(one_owner_per_key::NAME, held);
    }
    for (key, seen) in world.history.seen() {
        let row = rows.get(&key).cloned().unwrap_or_default();
        journal.check(
            reads_see_a_prefix::NAME,
            reads_see_a_prefix::check(key, &seen, &row),
        );
    }
}

/// Compares all replicas, and returns the row of every key that was asked for.
fn check_replicas(world: &World) -> Option<BTreeMap<Key, Register>> {
    let processes = members(world).ok()?.into_iter();
    let processes: Vec<_> = processes
        .map(|(node, process)| (node.id.0, process))
        .collect();
    let mut rows = BTreeMap::new();
    for key in world.history.by_key().into_keys() {
        let owners = processes.iter().map(|(node, process)| {
            let shard = process.shard(key).map(|shard| shard.id().as_u64());
            (*node, shard)
        });
        let held = one_owner_per_key::check(key, &owners.collect());
        world.journal.check(one_owner_per_key::NAME, held);
        let (_, first) = processes.first()?;
        let row = first.shard(key).and_then(|shard| look(&shard, key).ok());
        rows.insert(key, row.unwrap_or_default());
    }
    check_shards(world, &processes);
    Some(rows)
}

/// Compares the shards of all members, and all rows of each.
fn check_shards(world: &World, processes: &[(u64, Process)]) {
    let mut digests: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    let (mut shards, mut counts) = (BTreeMap::new(), BTreeMap::new());
    for (node, process) in processes {
        let of_node: &mut BTreeSet<u64> = shards.entry(*node).or_default();
        let count: &mut usize = counts.entry(*node).or_default();
        for shard in process.shards() {
            let read = shard
                .read(all_rows)
                .map_err(|error: ReadError| error.to_string());
            let (digest, rows) = read.unwrap_or_else(|error| {
                let detail = format!("node {node}: {error}");
                world.journal.violated(one_digest::NAME, detail);
                (0, 0)
            });
            let number = shard.id().as_u64();
            digests.entry(number).or_default().insert(*node, digest);
            of_node.insert(number);
            *count += rows;
        }
    }
    for (shard, replicas) in digests {
        let held = one_digest::check_rows(shard, &replicas);
        world.journal.check(one_digest::NAME, held);
    }
    let splits = world.journal.splits();
    let held = split_conserves::check(world.plan.ranges, splits, &shards, &counts);
    world.journal.check(split_conserves::NAME, held);
}

/// A hash over all rows of a shard, and how many rows of tenants it has.
fn all_rows(rows: &dyn Rows) -> Result<(u64, usize), tessera_shard::RowError> {
    let (mut hash, mut count) = (0, 0);
    let mut visit = |key: &[u8], value: &[u8]| {
        hash = mix_in(mix_in(hash, hash_bytes(key)), hash_bytes(value));
        count += 1;
        ControlFlow::Continue(())
    };
    rows.scan(&[], &[], &mut visit)?;
    let of_tenants = count;
    rows.scan_local(&[], &[], &mut |key, value| {
        hash = mix_in(mix_in(hash, hash_bytes(key)), hash_bytes(value));
        ControlFlow::Continue(())
    })?;
    Ok((hash, of_tenants))
}
