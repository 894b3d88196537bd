//! Looks now and then at what every replica says of itself, and tells the observer.

use std::sync::Arc;
use std::time::Duration;

use tessera_shard::{ReadError, Shard, ShardStatus};
use tokio::time::sleep;

use crate::client::noticed;
use crate::cluster::{Node, Process, World};
use crate::invariants::one_owner_per_epoch::Owned;
use crate::machine::{Digest, Registers};

/// Simulated time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// At every so many of them whole logs and ranges are read.
const READ_EVERY: u64 = 5;

/// Looks until it is aborted.
pub(crate) async fn run(world: Arc<World>) {
    for look in 1u64.. {
        sleep(LOOK_EVERY).await;
        for node in &world.nodes {
            if let Some(process) = node.process() {
                look_at(&world, node, &process, look % READ_EVERY == 0).await;
            }
        }
    }
}

/// Looks at every replica of a node; with `is_thorough` reads their logs and ranges.
pub(crate) async fn look_at(world: &World, node: &Node, process: &Process, is_thorough: bool) {
    let observer = world.observer();
    for shard in process.shards() {
        let (number, status) = (shard.id().as_u64(), shard.status());
        observer.says(node.id.0, number, &status);
        if let Ok(digest) = shard.read(|rows| Digest::read(rows)) {
            observer.stands(node.id.0, number, &digest);
        }
        if is_thorough {
            read_log(world, node, &shard, &status).await;
            if let Ok(Some(digest)) = shard.digest().await {
                observer.digested(node.id.0, number, &digest);
            }
        }
    }
}

async fn read_log(world: &World, node: &Node, shard: &Shard<Registers>, status: &ShardStatus) {
    match shard.log_checksums(0, u64::MAX).await {
        Ok(entries) => {
            let (number, committed) = (shard.id().as_u64(), status.committed);
            let observer = world.observer();
            observer.logged(node.id.0, number, committed, &entries);
        }
        Err(error @ ReadError::Rows(_)) => noticed(world, node, Some(error)),
        Err(
            ReadError::Installing
            | ReadError::NotLeader { .. }
            | ReadError::Fenced
            | ReadError::Closed,
        ) => {}
    }
}

/// The ranges of all shards of a node.
pub(crate) fn owned(process: &Process) -> Vec<Owned> {
    let shards = process.shards().into_iter();
    shards.map(|shard| owned_by(&shard.status())).collect()
}

pub(crate) fn owned_by(status: &ShardStatus) -> Owned {
    Owned {
        start: status.start.to_vec(),
        end: status.end.as_ref().map(|end| end.to_vec()),
    }
}
