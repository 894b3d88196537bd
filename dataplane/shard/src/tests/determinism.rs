//! On one thread, with what a simulation replaces, a seed decides everything.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tessera_tenancy::NodeId;
use tokio::time::Instant;

use super::cluster::{Cluster, seeded};
use super::kit::tenant;
use crate::{Faults, Scope};

const NODES: [u64; 3] = [1, 2, 3];

/// Runs on one thread; time passes only when everybody waits.
pub(super) fn simulate<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

/// What happened in a run, with the times of it, and what every disk was asked to do.
async fn run(seed: u64) -> Vec<String> {
    let random = seeded(!seed);
    let mut cluster = Cluster::simulated(seed);
    cluster.begin(&NODES, 2).await;
    cluster.board.set_faults(Faults {
        lost_per_mille: 20,
        doubled_per_mille: 100,
        delay_max: Duration::from_millis(10),
    });
    let begun = Instant::now();
    let mut trace = Vec::new();
    for round in 0..12u64 {
        if round == 4 {
            cluster.board.isolate(NodeId(random() % 3 + 1));
        }
        if round == 8 {
            cluster.board.heal();
        }
        let proposals = cluster.nodes.values().map(async |node| {
            let name = Bytes::copy_from_slice(&round.to_le_bytes());
            match node.store.find_shard(tenant(7), b"") {
                None => "no replica yet".to_owned(),
                Some(shard) => {
                    let answer = shard.propose(Scope::Tenant(tenant(7)), name).await;
                    format!("{answer:?} at {:?}", begun.elapsed())
                }
            }
        });
        trace.extend(join_all(proposals).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for node in NODES {
        let history = cluster.disk(node).history();
        trace.extend(history.into_iter().map(|op| format!("node {node}: {op}")));
    }
    cluster.end().await;
    trace
}

#[test]
fn a_run_on_one_thread_follows_from_its_seed() {
    let first = simulate(run(1));
    assert!(first.iter().any(|line| line.starts_with("Ok")), "{first:?}");
    for (first, again) in first.iter().zip(simulate(run(1))) {
        assert_eq!(*first, again);
    }
    assert_ne!(first, simulate(run(2)));
}
