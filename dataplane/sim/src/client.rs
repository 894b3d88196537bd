//! Clients: one operation after the other, each through some node, until their work is done.

use std::sync::Arc;
use std::time::Duration;

use tessera_shard::{ProposeError, ReadError, RowError, Scope, Shard};
use tokio::time::{sleep, timeout};

use crate::cluster::{Node, Process, Stop, World};
use crate::history::{Ask, Outcome};
use crate::invariants::{every_operation_ends, fenced_for_a_reason};
use crate::journal::FaultKind;
use crate::machine::{Change, Digest, Key, OpId, Register, Registers, command};
use crate::rng::Rng;

/// How long a client that found no shard waits.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a client does next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Change(Change, usize),
    Read,
    /// Of what a node has, however old.
    StaleRead,
}

/// Runs the operations of client `number`.
pub(crate) async fn run(world: Arc<World>, number: usize) {
    let part = u64::try_from(number).unwrap_or(0);
    let mut rng = Rng::of_part(world.plan.seed, 1_000 + part);
    let load = world.plan.load;
    let think_ms = u64::try_from(load.think.as_millis()).unwrap_or(1);
    let mut node = rng.index(world.nodes.len());
    for _ in 0..load.ops_per_client {
        if rng.chance(700) {
            sleep(rng.millis(0, think_ms * 20 / 7)).await;
        }
        if rng.chance(200) {
            node = rng.index(world.nodes.len());
        }
        let key = Key {
            tenant: u8::try_from(rng.below(u64::from(load.tenants))).unwrap_or(0),
            register: u16::try_from(rng.below(u64::from(load.registers))).unwrap_or(0),
        };
        let next = choose(&mut rng, load.reads_per_mille, load.padding_max);
        let is_done = one(&world, &world.nodes[node], key, next).await;
        if !is_done {
            node = rng.index(world.nodes.len());
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// A write through `node`. Whether it was acknowledged.
pub(crate) async fn probe(world: &World, node: &Node, key: Key) -> bool {
    one(world, node, key, Next::Change(Change::Append, 8)).await
}

/// What a node has of a register now.
pub(crate) fn look(shard: &Shard<Registers>, key: Key) -> Result<Register, ReadError> {
    shard.read(|rows| {
        let row = rows.get(&key.row())?;
        Register::decode(row.as_deref()).ok_or(RowError::undecodable("a register"))
    })
}

fn choose(rng: &mut Rng, reads_per_mille: u64, padding_max: u64) -> Next {
    if rng.chance(reads_per_mille) {
        return if rng.chance(200) {
            Next::StaleRead
        } else {
            Next::Read
        };
    }
    let padding = usize::try_from(rng.between(8, padding_max)).unwrap_or(8);
    let change = rng.pick(&[Change::Write, Change::Append, Change::Append]);
    Next::Change(change, padding)
}

/// One operation. Whether it was answered.
async fn one(world: &World, node: &Node, key: Key, next: Next) -> bool {
    let Some(process) = node.process() else {
        return false;
    };
    let Some(shard) = process.shard(key) else {
        return false;
    };
    let ask = match next {
        Next::StaleRead => {
            let seen = look(&shard, key).map(|seen| world.history.saw(key, seen));
            noticed(world, node, seen.err());
            return true;
        }
        Next::Read => Ask::Read,
        Next::Change(change, _) => Ask::Change(change),
    };
    let id = world.history.begin(key, ask);
    world.journal.note("ask", &[id.0, node.id.0]);
    let doing = until_answered(world, node, &process, &shard, key, next, id);
    let outcome = doing.await;
    let chain = match outcome {
        Outcome::Done { chain } => chain,
        Outcome::Open => 1,
        Outcome::Unknown => 2,
        Outcome::Refused => 3,
    };
    world.journal.note("told", &[id.0, chain]);
    world.history.end(id, outcome);
    matches!(outcome, Outcome::Done { .. })
}

/// Until it is answered, its process has ended, or it takes too long.
async fn until_answered(
    world: &World,
    node: &Node,
    process: &Process,
    shard: &Shard<Registers>,
    key: Key,
    next: Next,
    id: OpId,
) -> Outcome {
    let doing = async {
        match next {
            Next::Change(change, padding) => propose(world, shard, key, change, id, padding).await,
            Next::Read | Next::StaleRead => read(world, node, shard, key).await,
        }
    };
    let answered = tokio::select! {
        biased;
        answered = timeout(every_operation_ends::WITHIN, doing) => answered,
        () = process.ended() => return Outcome::Unknown,
    };
    answered.unwrap_or_else(|_late| {
        let detail = format!("{id:?} ({next:?}) through node {}", node.id);
        world.journal.violated(every_operation_ends::NAME, detail);
        Outcome::Unknown
    })
}

async fn propose(
    world: &World,
    shard: &Shard<Registers>,
    key: Key,
    change: Change,
    id: OpId,
    padding: usize,
) -> Outcome {
    let scope = Scope::Tenant(key.tenant_id());
    let proposal = match shard.submit(scope, command(change, id, key, padding)) {
        Ok(proposal) => proposal,
        Err(refused) => {
            if refused == ProposeError::DiskFull {
                world.journal.count(FaultKind::RefusedForSpace);
            }
            return Outcome::Refused;
        }
    };
    match proposal.await {
        Ok(answer) => {
            let chain = answer
                .first_chunk()
                .map_or(0, |chain| u64::from_be_bytes(*chain));
            world.observer().acknowledged(id);
            Outcome::Done { chain }
        }
        Err(
            ProposeError::Busy { .. }
            | ProposeError::DiskFull
            | ProposeError::TooLarge { .. }
            | ProposeError::OutsideRange { .. }
            | ProposeError::RangeMoved { .. },
        ) => Outcome::Refused,
        Err(
            ProposeError::Unavailable
            | ProposeError::AnswerForgotten
            | ProposeError::Fenced
            | ProposeError::Closed,
        ) => Outcome::Unknown,
    }
}

async fn read(world: &World, node: &Node, shard: &Shard<Registers>, key: Key) -> Outcome {
    let number = shard.id().as_u64();
    let before = world.observer().furthest(number);
    let seen = shard.read_linearizable(|rows| {
        let row = rows.get(&key.row())?;
        let seen = Register::decode(row.as_deref());
        let seen = seen.ok_or(RowError::undecodable("a register"))?;
        Ok((seen, Digest::read(rows)?))
    });
    match seen.await {
        Ok((seen, digest)) => {
            world.observer().confirmed(number, before, &digest);
            let chain = seen.chain;
            world.history.saw(key, seen);
            Outcome::Done { chain }
        }
        Err(error) => {
            noticed(world, node, Some(error));
            Outcome::Unknown
        }
    }
}

/// A read that finds damage has noticed a flipped bit: the node is repaired.
pub(crate) fn noticed(world: &World, node: &Node, error: Option<ReadError>) {
    let Some(ReadError::Rows(error)) = error else {
        return;
    };
    if !node.disk.is_on() || matches!(error, RowError::OutsideRange { .. }) {
        return;
    }
    let why = format!("a read said: {error}");
    let held = fenced_for_a_reason::check(node.id.0, node.disk.is_hurt(), &why);
    world.journal.check(fenced_for_a_reason::NAME, held);
    if node.disk.is_flipped() {
        world.journal.count(FaultKind::FlipNoticed);
        node.order(Stop::Repair, LOOK_AGAIN_AFTER);
    }
}
