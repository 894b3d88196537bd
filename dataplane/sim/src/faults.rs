//! What is made to go wrong, and when.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{Node, Stop, World};
use crate::journal::FaultKind;
use crate::operator;
use crate::rng::Rng;

/// Writes and syncs within which a power cut in the middle of one comes.
const CUT_WITHIN_OPERATIONS: u64 = 60;
/// The same, for one that comes while a snapshot is taken in.
const CUT_IN_INSTALL_WITHIN_OPERATIONS: u64 = 200;

/// Places of one file at which a bit flips at once: one, or many, so that some are still in use.
const FLIPS: [usize; 2] = [1, 30];

/// Something that is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    CutPower,
    CutPowerMidWrite,
    CutPowerMidInstall,
    CutPowerEverywhere,
    Restart,
    FailSync,
    FailWrite,
    FillDisk,
    SlowDisk,
    FlipBit,
    CutOneWay,
    CutBothWays,
    TransferLeader,
    ChangeMembers,
    LoseNode,
    Split,
}

impl Fault {
    pub(crate) const ALL: [Self; 17] = [
        Self::Kill,
        Self::CutPower,
        Self::CutPowerMidWrite,
        Self::CutPowerMidInstall,
        Self::CutPowerEverywhere,
        Self::Restart,
        Self::FailSync,
        Self::FailWrite,
        Self::FillDisk,
        Self::SlowDisk,
        Self::FlipBit,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::TransferLeader,
        Self::ChangeMembers,
        Self::LoseNode,
        Self::Split,
    ];
}

/// Makes things go wrong for as long as the plan says.
pub(crate) async fn inject(world: Arc<World>) {
    let mut rng = Rng::of_part(world.plan.seed, 3);
    let until = Instant::now() + world.plan.faults_for;
    world.net.set_faults(world.plan.net);
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
        Fault::Kill => {
            stop(world, &node, Stop::Kill, down);
        }
        Fault::CutPower => {
            stop(world, &node, Stop::CutPower, down);
        }
        Fault::CutPowerMidWrite => node.disk.cut_power_after(rng.below(CUT_WITHIN_OPERATIONS)),
        Fault::CutPowerMidInstall => {
            for node in &world.nodes {
                let operations = rng.below(CUT_IN_INSTALL_WITHIN_OPERATIONS);
                node.disk.cut_power_in_install(operations);
            }
        }
        Fault::CutPowerEverywhere => {
            world.journal.count(FaultKind::PowerCutEverywhere);
            for node in &world.nodes {
                node.order(Stop::CutPower, down);
            }
        }
        Fault::Restart => {
            stop(world, &node, Stop::Shutdown, down);
        }
        Fault::FailSync => node.disk.fail_next_sync(),
        Fault::FailWrite => node.disk.fail_next_write(),
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
        Fault::FlipBit => flip(world, down, rng),
        Fault::TransferLeader => operator::transfer(world, rng),
        Fault::Split => operator::split(world, rng),
        Fault::ChangeMembers => {
            let (idle, wanted) = (world.idle(), world.wanted());
            if !idle.is_empty() {
                world.swap(rng.pick(&wanted), rng.pick(&idle));
            }
        }
        Fault::LoseNode => lose(world, rng),
        Fault::CutOneWay | Fault::CutBothWays => part(world, fault, rng),
    }
}

/// Bits rot, on a member that could be replaced: while it runs, or while it is down.
fn flip(world: &World, down: Duration, rng: &mut Rng) {
    let member = rng.pick(&world.wanted());
    let count = rng.pick(&FLIPS);
    let Some(node) = world.node(member) else {
        return;
    };
    if !world.can_lose_one() {
        return;
    }
    if rng.chance(500) {
        node.disk.flip(count);
    } else if stop(world, node, rng.pick(&[Stop::Kill, Stop::CutPower]), down) {
        node.disk.flip_once_off(count);
    }
}

/// A member is gone for good, with its disk.
fn lose(world: &World, rng: &mut Rng) {
    let member = rng.pick(&world.wanted());
    if let Some(node) = world.node(member)
        && world.can_lose_one()
    {
        node.order(Stop::Lose, Duration::ZERO);
    }
}

/// Whether the node was up and obeys.
fn stop(world: &World, node: &Node, stop: Stop, down: Duration) -> bool {
    let kind = match stop {
        Stop::Kill | Stop::Repair | Stop::Lose => FaultKind::ProcessKilled,
        Stop::CutPower => FaultKind::PowerCut,
        Stop::Shutdown => FaultKind::CleanRestart,
    };
    let is_obeyed = node.process().is_some() && node.order(stop, down);
    if is_obeyed {
        world.journal.count(kind);
    }
    is_obeyed
}

/// Cuts some nodes off from the others for a while.
fn part(world: &Arc<World>, fault: Fault, rng: &mut Rng) {
    let (left, right): (Vec<_>, Vec<_>) = world
        .nodes
        .iter()
        .map(|node| node.id)
        .partition(|_| rng.chance(400));
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
    pairs
        .iter()
        .for_each(|(from, to)| world.net.cut(*from, *to));
    let world = Arc::clone(world);
    later(rng.millis(300, 4_000), move || {
        pairs
            .iter()
            .for_each(|(from, to)| world.net.mend(*from, *to));
    });
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
