//! Replicas with nothing to do: memory and CPU, each case in a process of its own.

use std::process::{Command, Stdio};
use std::time::Duration;

use tessera_shard::StoreKind;

use crate::arguments::{IdleReplicas, Pace};
use crate::machine::Machine;
use crate::measured::Stopwatch;
use crate::nodes::Nodes;

/// Groups and nodes of a process: with three of them about 100 and 500 replicas as well.
const CASES: [(usize, u64); 6] = [(3, 1), (100, 1), (500, 1), (3, 3), (33, 3), (167, 3)];

pub(crate) fn measure(pace: &Pace) {
    println!(
        "\nidle: resident memory of the whole process and CPU, single nodes and three nodes of one process\n"
    );
    println!("| replicas | nodes | memory MiB | CPU ms per s | open s |");
    println!("|---|---|---|---|---|");
    let program = std::env::current_exe().unwrap();
    for (groups, nodes) in CASES {
        let mut command = Command::new(&program);
        command.args(["idle-child", &groups.to_string(), &nodes.to_string()]);
        command.arg(pace.idle.as_secs().to_string());
        let ended = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(ended.status.success());
        print!("{}", String::from_utf8(ended.stdout).unwrap());
    }
}

pub(crate) async fn child(replicas: IdleReplicas) {
    let IdleReplicas {
        groups,
        nodes,
        seconds,
    } = replicas;
    let opening = Stopwatch::start();
    let per_kind = groups / 3;
    let kinds = [
        (StoreKind::Dist, groups - 2 * per_kind),
        (StoreKind::Inbox, per_kind),
        (StoreKind::Retain, per_kind),
    ];
    let opened = Nodes::open(nodes, &kinds, Machine::Nothing).await;
    let (open_seconds, _) = opening.read();
    // What opening left to do, and the first checkpoint.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let watch = Stopwatch::start();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (elapsed, cpu) = watch.read();
    println!(
        "| {} | {nodes} | {:.1} | {:.2} | {open_seconds:.1} |",
        groups * usize::try_from(nodes).unwrap(),
        resident_mib(),
        cpu * 1e3 / elapsed,
    );
    opened.close().await;
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}
