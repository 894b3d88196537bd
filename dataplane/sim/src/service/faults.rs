//! What goes wrong while clients work.

use std::sync::Arc;
use std::time::Duration;

use tessera_shard::ShardStatus;
use tokio::time::{Instant, sleep, timeout};

use crate::journal::FaultKind;
use crate::rng::Rng;
use crate::service::node::{Node, Process, Stop};
use crate::service::tenants;
use crate::service::world::World;

/// A power cut comes within so many writes and syncs.
const CUT_WITHIN_OPERATIONS: u64 = 60;
/// How long a split may take before it is given up.
const SPLIT_WITHIN: Duration = Duration::from_secs(4);

/// Something that is done to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    CutPower,
    CutPowerMidWrite,
    CutPowerEverywhere,
    Restart,
    FailSync,
    FillDisk,
    SlowDisk,
    CutOneWay,
    CutBothWays,
    Split,
}

impl Fault {
    pub(crate) const ALL: [Self; 11] = [
        Self::Kill,
        Self::CutPower,
        Self::CutPowerMidWrite,
        Self::CutPowerEverywhere,
        Self::Restart,
        Self::FailSync,
        Self::FillDisk,
        Self::SlowDisk,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::Split,
    ];
}

/// Makes things go wrong for as long as the plan says.
pub(crate) async fn inject(world: Arc<World>) {
    let mut rng = Rng::of_part(world.plan.seed, 4);
    let until = Instant::now() + world.plan.work_for;
    world.set_net_faults(world.plan.net);
    let gap_ms = u64::try_from(world.plan.fault_gap.as_millis()).unwrap_or(1);
    loop {
        let at = Instant::now() + rng.millis(1, gap_ms * 2);
        tokio::time::sleep_until(at.min(until)).await;
        if at >= until {
            return;
        }
        if !world.plan.faults.is_empty() {
            let fault = rng.pick(&world.plan.faults);
            world.journal.say(|| format!("fault: {fault:?}"));
            happen(&world, fault, &mut rng);
        }
    }
}

fn happen(world: &Arc<World>, fault: Fault, rng: &mut Rng) {
    let node = Arc::clone(&world.nodes[rng.index(world.nodes.len())]);
    let down = down_for(rng);
    match fault {
        Fault::Kill => stop(world, &node, Stop::Kill, down),
        Fault::CutPower => stop(world, &node, Stop::CutPower, down),
        Fault::Restart => stop(world, &node, Stop::Shutdown, down),
        Fault::CutPowerMidWrite => node.disk.cut_power_after(rng.below(CUT_WITHIN_OPERATIONS)),
        Fault::CutPowerEverywhere => {
            world.journal.count(FaultKind::PowerCutEverywhere);
            for node in &world.nodes {
                node.order(Stop::CutPower, down);
            }
        }
        Fault::FailSync => node.disk.fail_next_sync(),
        Fault::FillDisk => {
            let room = usize::try_from(rng.below(200_000)).unwrap_or(0);
            node.disk.fill(room);
            later(rng.millis(200, 3_000), move || node.disk.make_room());
        }
        Fault::SlowDisk => {
            world.journal.count(FaultKind::DiskSlow);
            node.disk.set_slow(rng.pick(&[10, 50, 200]));
            later(rng.millis(200, 3_000), move || node.disk.set_slow(1));
        }
        Fault::CutOneWay | Fault::CutBothWays => part(world, fault, rng),
        Fault::Split => split(world, rng),
    }
}

fn stop(world: &World, node: &Node, stop: Stop, down: Duration) {
    let kind = match stop {
        Stop::Kill => FaultKind::ProcessKilled,
        Stop::CutPower => FaultKind::PowerCut,
        Stop::Shutdown => FaultKind::CleanRestart,
    };
    if node.order(stop, down) {
        world.journal.count(kind);
    }
}

/// Cuts some nodes off from the others for a while.
fn part(world: &Arc<World>, fault: Fault, rng: &mut Rng) {
    let nodes = world.nodes.iter().map(|node| node.id);
    let (left, right): (Vec<_>, Vec<_>) = nodes.partition(|_| rng.chance(400));
    let pairs = left.iter().flat_map(|a| right.iter().map(|b| (*a, *b)));
    let mut pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() {
        return;
    }
    if fault == Fault::CutBothWays {
        world.journal.count(FaultKind::CutBothWays);
        pairs.extend(pairs.clone().into_iter().map(|(a, b)| (b, a)));
    } else {
        world.journal.count(FaultKind::CutOneWay);
    }
    for (from, to) in &pairs {
        world.cut(*from, *to);
    }
    let world = Arc::clone(world);
    later(rng.millis(300, 4_000), move || {
        for (from, to) in &pairs {
            world.mend(*from, *to);
        }
    });
}

/// Splits a store between two tenants, on the node that leads them.
fn split(world: &Arc<World>, rng: &mut Rng) {
    let (world, kind) = (Arc::clone(world), rng.below(3));
    tokio::spawn(async move {
        let at = tenants::id(crate::contract::Tenant(tenants::TENANTS));
        for node in &world.nodes {
            let Some(process) = node.process() else {
                continue;
            };
            let leads = |shard: &ShardStatus| {
                let begins = shard.start.as_ref() < at.as_bytes().as_slice();
                let ends = shard
                    .end
                    .as_ref()
                    .is_none_or(|end| at.as_bytes().as_slice() < &**end);
                shard.is_leader && begins && ends
            };
            if !shards(&process, kind).iter().any(leads) {
                continue;
            }
            let split = async {
                match kind {
                    0 => process.dist.split_before(at).await,
                    1 => process.inbox.split_before(at).await,
                    _ => process.retain.split_before(at).await,
                }
            };
            let done = timeout(SPLIT_WITHIN, split).await;
            world
                .journal
                .say(|| format!("split of store {kind}: {done:?}"));
            if let Ok(Ok(child)) = done {
                world.journal.note("split", &[kind, child.as_u64()]);
                world.journal.count_split();
            }
            return;
        }
    });
}

fn shards(process: &Process, kind: u64) -> Vec<ShardStatus> {
    match kind {
        0 => process.dist.shards(),
        1 => process.inbox.shards(),
        _ => process.retain.shards(),
    }
}

/// Mostly short: often others still wait for the node when it comes back.
fn down_for(rng: &mut Rng) -> Duration {
    if rng.chance(700) {
        rng.millis(0, 300)
    } else {
        rng.millis(300, 4_000)
    }
}

fn later(after: Duration, work: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(after).await;
        work();
    });
}
