//! A disk that fills up, and has room again.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::determinism::simulate;
use super::kit::{Counters, ERASE, FILL, key_of, tenant};
use crate::{Capacity, DiskState, ProposeError, Scope, Shard};

const MIB: usize = 1024 * 1024;
const SCOPE: fn() -> Scope = || Scope::Tenant(tenant(7));

fn fill(name: u64) -> Bytes {
    Bytes::from([FILL, &name.to_le_bytes(), &vec![0xa5; 64 * 1024]].concat())
}

async fn led(cluster: &Cluster) -> Shard<Counters> {
    cluster.leader(1, 7).await;
    cluster.shard(1, 7).await
}

#[test]
fn a_full_disk_takes_only_what_frees_serves_reads_and_resumes_by_itself() {
    simulate(async {
        let mut cluster = Cluster::simulated(31);
        cluster.capacity = Capacity::Bytes(12 * MIB as u64);
        cluster.begin(&[1], 1).await;
        let mut state = cluster.nodes[&1].engine.disk_state();
        let shard = led(&cluster).await;
        assert_eq!(*state.borrow(), DiskState::Roomy);
        let (mut filled, mut is_high) = (0, false);
        let refused = loop {
            is_high |= *state.borrow() == DiskState::High;
            match shard.propose(SCOPE(), fill(filled)).await {
                Ok(_) => filled += 1,
                Err(error) => break error,
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        assert_eq!(refused, ProposeError::DiskFull);
        assert_eq!(*state.borrow_and_update(), DiskState::Full);
        assert!(is_high, "told before it was full");
        let key = key_of(tenant(7), &0u64.to_le_bytes());
        let read = shard.read_linearizable(|rows| rows.get(&key)).await;
        assert_eq!(read.unwrap().unwrap().len(), 64 * 1024);
        for name in 0..filled / 2 {
            let erase = Bytes::from([ERASE, &name.to_le_bytes()].concat());
            shard.submit_freeing(SCOPE(), erase).unwrap().await.unwrap();
        }
        let erased_at = Instant::now();
        state
            .wait_for(|state| *state == DiskState::Roomy)
            .await
            .unwrap();
        assert!(erased_at.elapsed() < Duration::from_secs(10));
        shard.propose(SCOPE(), fill(filled)).await.unwrap();
        cluster.end().await;
    });
}

#[test]
fn a_disk_without_a_byte_left_fences_and_what_was_acknowledged_is_there_afterwards() {
    simulate(async {
        let mut cluster = Cluster::simulated(32);
        cluster.begin(&[1], 1).await;
        let shard = led(&cluster).await;
        let disk = cluster.disk(1);
        disk.set_limit(Some(disk.used() + 2 * MIB));
        let mut acknowledged = 0;
        let refused = loop {
            match shard.propose(SCOPE(), fill(acknowledged)).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, ProposeError::Fenced);
        assert!(acknowledged > 2);
        let cause = cluster.nodes[&1].engine.fenced().borrow().clone();
        assert!(cause.is_some());
        drop(shard);
        cluster.stop(1).await;
        disk.set_limit(None);
        cluster.start(1).await;
        let shard = led(&cluster).await;
        for name in 0..acknowledged {
            let key = key_of(tenant(7), &u64::to_le_bytes(name));
            let read = shard.read_linearizable(|rows| rows.get(&key)).await;
            assert!(read.unwrap().is_some(), "{name} of {acknowledged}");
        }
        shard.propose(SCOPE(), fill(acknowledged)).await.unwrap();
        cluster.end().await;
    });
}
