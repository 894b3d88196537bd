//! Writers in closed loops.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tessera_shard::{Scope, Shard};

use crate::COMMAND_BYTES;
use crate::machine::{Machine, entries_applied};
use crate::measured::{Measured, Stopwatch};
use crate::nodes::{Nodes, tenant};

/// Rows that a writer has in a group; it writes them again and again.
const ROWS_PER_WRITER: u64 = 64;

/// Writers propose one command after the other for so long.
pub(crate) async fn round(nodes: &Nodes, writers: usize, length: Duration) -> Measured {
    measure(nodes, length, writers, |writer, until| {
        write(nodes.shards.clone(), writer, until)
    })
    .await
}

/// One writer submits `count` commands at once, again when all are answered.
pub(crate) async fn batches(
    nodes: &Nodes,
    submitters: usize,
    count: usize,
    length: Duration,
) -> Measured {
    measure(nodes, length, submitters, |submitter, until| {
        write_batches(nodes.shards[0].clone(), submitter, count, until)
    })
    .await
}

async fn measure<F>(
    nodes: &Nodes,
    length: Duration,
    writers: usize,
    writer: impl Fn(usize, Instant) -> F,
) -> Measured
where
    F: Future<Output = Vec<u32>> + Send + 'static,
{
    let (log, state) = (nodes.disk.log.asked(), nodes.disk.state.asked());
    let entries = entries_applied();
    let watch = Stopwatch::start();
    let until = Instant::now() + length;
    let tasks = (0..writers).map(|number| tokio::spawn(writer(number, until)));
    let tasks: Vec<_> = tasks.collect();
    let written = join_all(tasks).await;
    let (seconds, cpu_seconds) = watch.read();
    let mut latencies_us: Vec<_> = written.into_iter().flat_map(Result::unwrap).collect();
    latencies_us.sort_unstable();
    Measured {
        records: u64::try_from(latencies_us.len()).unwrap(),
        entries: entries_applied() - entries,
        seconds,
        cpu_seconds,
        log: nodes.disk.log.asked().since(log),
        state: nodes.disk.state.asked().since(state),
        latencies_us,
    }
}

async fn write(shards: Vec<Shard<Machine>>, writer: usize, until: Instant) -> Vec<u32> {
    let groups = shards.len();
    let tenants: Vec<_> = (0..groups)
        .map(|group| tenant(writer, group, groups))
        .collect();
    let mut latencies_us = Vec::new();
    let mut number = 0;
    let mut group = writer % groups;
    loop {
        let started = Instant::now();
        if started >= until {
            return latencies_us;
        }
        let scope = Scope::Tenant(tenants[group]);
        shards[group].propose(scope, command(number)).await.unwrap();
        latencies_us.push(u32::try_from(started.elapsed().as_micros()).unwrap());
        number += 1;
        group = (group + 1) % groups;
    }
}

async fn write_batches(
    shard: Shard<Machine>,
    submitter: usize,
    count: usize,
    until: Instant,
) -> Vec<u32> {
    let scope = Scope::Tenant(tenant(submitter, 0, 1));
    let mut latencies_us = Vec::new();
    loop {
        let started = Instant::now();
        if started >= until {
            return latencies_us;
        }
        let proposals: Vec<_> = (0..count)
            .map(|number| {
                shard
                    .submit(scope, command(u64::try_from(number).unwrap()))
                    .unwrap()
            })
            .collect();
        for proposal in proposals {
            proposal.await.unwrap();
            latencies_us.push(u32::try_from(started.elapsed().as_micros()).unwrap());
        }
    }
}

/// A command as writers send it.
pub(crate) fn command(number: u64) -> Bytes {
    let mut command = vec![0xa5; COMMAND_BYTES];
    command[..8].copy_from_slice(&(number % ROWS_PER_WRITER).to_be_bytes());
    command.into()
}
