//! The operator: brings every shard to the members that are wanted, one change after the other,
//! whatever goes wrong meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tessera_shard::{ChangeError, Members, Shard};
use tessera_tenancy::NodeId;
use tokio::time::{sleep, timeout};

use crate::cluster::{Process, World};
use crate::journal::FaultKind;
use crate::machine::{Key, Registers};
use crate::rng::Rng;

/// Simulated time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long the operator waits for one change before it looks again.
const CHANGE_WITHIN: Duration = Duration::from_secs(4);
/// More are not split off.
const SHARDS_MAX: usize = 8;

/// What to do next with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    AddLearner(NodeId),
    Promote(NodeId),
    Remove(NodeId),
    /// This leader is to go: another one must lead first.
    HandOver(NodeId),
}

/// Works until it is aborted.
pub(crate) async fn run(world: Arc<World>) {
    loop {
        sleep(LOOK_EVERY).await;
        for node in &world.nodes {
            let Some(process) = node.process() else {
                continue;
            };
            for shard in process.shards() {
                let status = shard.status();
                if status.is_leader
                    && let Some(step) = next_step(&world, node.id, &status.members)
                {
                    take(&world, &process, &shard, step).await;
                }
            }
        }
    }
}

/// Hands a random shard over to a random voter.
pub(crate) fn transfer(world: &Arc<World>, rng: &mut Rng) {
    let (world, mut rng) = (Arc::clone(world), Rng::of_part(rng.next(), 0));
    tokio::spawn(async move {
        let Some((process, shard)) = led(&world, &mut rng) else {
            return;
        };
        let status = shard.status();
        let voters = status.members.voters.into_iter();
        let others: Vec<_> = voters
            .filter(|voter| Some(*voter) != status.leader)
            .collect();
        if others.is_empty() {
            return;
        }
        let to = rng.pick(&others);
        if change(&process, shard.transfer_leader(to)).await == Some(Ok(())) {
            world.journal.count(FaultKind::LeaderTransferred);
        }
    });
}

/// Splits a random shard at a random key.
pub(crate) fn split(world: &Arc<World>, rng: &mut Rng) {
    let (world, mut rng) = (Arc::clone(world), Rng::of_part(rng.next(), 0));
    tokio::spawn(async move {
        let Some((process, shard)) = led(&world, &mut rng) else {
            return;
        };
        if process.shards().len() >= SHARDS_MAX {
            return;
        }
        let load = world.plan.load;
        let key = Key {
            tenant: u8::try_from(rng.below(u64::from(load.tenants))).unwrap_or(0),
            register: u16::try_from(rng.below(u64::from(load.registers))).unwrap_or(0),
        };
        let at = if rng.chance(700) {
            key.row()
        } else {
            key.tenant_id().as_bytes().to_vec()
        };
        if let Some(Ok(child)) = change(&process, shard.split(&at)).await {
            world
                .journal
                .note("split", &[shard.id().as_u64(), child.as_u64()]);
            world.journal.count_split();
        }
    });
}

/// A random shard on the node that leads it.
fn led(world: &World, rng: &mut Rng) -> Option<(Process, Shard<Registers>)> {
    let processes = world.nodes.iter().filter_map(|node| node.process());
    let shards = processes.flat_map(|process| {
        let shards = process.shards().into_iter();
        shards.map(move |shard| (process.clone(), shard))
    });
    let mut led: Vec<_> = shards
        .filter(|(_, shard)| shard.status().is_leader)
        .collect();
    let at = rng.index(led.len());
    (at < led.len()).then(|| led.swap_remove(at))
}

/// A change's answer, unless its process ended or it took too long.
async fn change<T>(
    process: &Process,
    change: impl Future<Output = Result<T, ChangeError>>,
) -> Option<Result<T, ChangeError>> {
    tokio::select! {
        biased;
        changed = timeout(CHANGE_WITHIN, change) => changed.ok(),
        () = process.ended() => None,
    }
}

async fn take(world: &World, process: &Process, shard: &Shard<Registers>, step: Step) {
    let changing = async {
        match step {
            Step::AddLearner(node) => shard.add_learner(node).await,
            Step::Promote(node) => shard.promote(node).await,
            Step::Remove(node) => shard.remove(node).await,
            Step::HandOver(node) => shard.transfer_leader(node).await,
        }
    };
    let changed = change(process, changing).await;
    world
        .journal
        .say(|| format!("{step:?} of {}: {changed:?}", shard.id()));
    if changed == Some(Ok(())) {
        world.journal.note("member", &[shard.id().as_u64()]);
        world.journal.count(FaultKind::MembersChanged);
    }
}

/// First those who are missing come, then those who are not wanted go.
fn next_step(world: &World, leader: NodeId, members: &Members) -> Option<Step> {
    let wanted = world.wanted();
    for node in &wanted {
        if members.learners.contains(node) {
            return Some(Step::Promote(*node));
        }
        if !members.voters.contains(node) {
            return Some(Step::AddLearner(*node));
        }
    }
    let all = members.voters.iter().chain(&members.learners);
    let mut unwanted = all.copied().filter(|node| !wanted.contains(node));
    let goes = unwanted.clone().find(|node| *node != leader);
    if let Some(node) = goes {
        return Some(Step::Remove(node));
    }
    // Only the leader itself is left.
    unwanted.next()?;
    let is_up = |node: &NodeId| {
        world
            .node(*node)
            .is_some_and(|node| node.process().is_some())
    };
    wanted.into_iter().find(is_up).map(Step::HandOver)
}
