//! Readers keep pages from reuse, so they may not take for ever.

use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::cluster::Cluster;
use super::determinism::simulate;
use crate::{ReadError, RowError};

/// Lets time pass in the middle of something that does not wait.
fn pass(time: Duration) {
    let mut advance = Box::pin(tokio::time::advance(time));
    let mut cx = Context::from_waker(Waker::noop());
    // It has advanced once it was polled; the rest is a yield.
    let _yielding: Poll<()> = advance.as_mut().poll(&mut cx);
}

#[test]
fn a_scan_that_takes_too_long_is_ended_and_one_that_does_not_is_not() {
    simulate(async {
        let mut cluster = Cluster::simulated(41);
        cluster.begin(&[1], 1).await;
        for name in 0..600u64 {
            cluster.add(1, 7, &name.to_be_bytes()).await;
        }
        let shard = cluster.shard(1, 7).await;
        for (per_row, expected) in [
            (Duration::from_millis(1), Ok(600)),
            (
                Duration::from_secs(1),
                Err(ReadError::Rows(RowError::TooSlow)),
            ),
        ] {
            let mut seen = 0;
            let read = shard.read(|rows| {
                rows.scan(&[], &[], &mut |_, _| {
                    pass(per_row);
                    seen += 1;
                    ControlFlow::Continue(())
                })
            });
            assert_eq!(read.map(|()| seen), expected);
            assert!(seen == 600 || seen < 300, "{seen} rows were read");
        }
        cluster.end().await;
    });
}
