//! A few rounds of what `tessera-load engine-rounds` does at length: the host of shard engines is
//! killed under load, and nothing acknowledged is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for a host to end after its standard input did.
const END_MAX: Duration = Duration::from_secs(20);

fn tessera_load() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tessera-load"))
}

/// Runs three rounds and returns the report.
fn rounds(nodes: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tessera_load();
    command.args(["engine-rounds", "--rounds", "3", "--seed", "5"]);
    command.args(["--nodes", &nodes.to_string()]);
    command.arg("--folder").arg(folder.path().join("nodes"));
    let output = command.output().unwrap();
    let rounds = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{rounds}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check(nodes: u32) {
    let report = rounds(nodes);
    assert_eq!(report["rounds"], 3, "{report}");
    assert!(report["kills"].as_u64() >= Some(3), "{report}");
    assert!(report["acknowledged"].as_u64() >= Some(1), "{report}");
    for count in ["missing", "doubled", "phantoms", "digests_that_differ"] {
        assert_eq!(report[count], 0, "{count}: {report}");
    }
}

#[test]
fn one_node_loses_and_doubles_nothing_when_it_is_killed() {
    check(1);
}

#[test]
fn three_nodes_lose_and_double_nothing_when_they_are_killed() {
    check(3);
}

#[test]
fn a_host_ends_with_whoever_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tessera_load();
    command.args(["engine-host", "--nodes", "1", "--folder"]);
    command
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut host = command.spawn().unwrap();
    let mut port = String::new();
    let mut output = BufReader::new(host.stdout.take().unwrap());
    output.read_line(&mut port).unwrap();
    assert!(port.trim().parse::<u16>().is_ok(), "{port:?}");
    drop(host.stdin.take());
    // The end of its output is the end of the process.
    let began = Instant::now();
    output.read_line(&mut port).unwrap();
    assert!(host.wait().unwrap().success());
    assert!(began.elapsed() < END_MAX);
}
