//! Every acknowledged proposal is there after a crash: a killed process, and a power cut that loses
//! what was not synced.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::disk::TestDisk;
use super::kit::{Counters, add, count, open, open_on, open_store, options, tenant};
use crate::{Engine, IDENTITY_RANDOM_LEN, NodeIdentity, OpenError, Scope, Store};

/// Names the folder of the process that is to be killed.
const CHILD_FOLDER: &str = "TESSERA_SHARD_CRASH_CHILD";
const ROUNDS: u64 = 5;
const ADDERS: u64 = 32;

/// Adds to counters that were never added to, `ADDERS` at a time, and tells each that is
/// acknowledged; never ends by itself.
async fn add_forever(store: Store<Counters>, life: u64, mut acknowledged: impl FnMut(String)) {
    let mut adders = JoinSet::new();
    let mut next = 0;
    loop {
        while (adders.len() as u64) < ADDERS {
            let (store, name) = (store.clone(), format!("{life}/{next}"));
            next += 1;
            adders.spawn(async move {
                let tenant = tenant(tenant_of(&name));
                let shard = store.shard_for(tenant, name.as_bytes());
                let command = Bytes::from(name.clone().into_bytes());
                shard
                    .propose(Scope::Tenant(tenant), command)
                    .await
                    .map(|_| name)
            });
        }
        match adders.join_next().await.unwrap().unwrap() {
            Ok(name) => acknowledged(name),
            Err(_closed) => return,
        }
    }
}

/// Spreads names over all ranges.
fn tenant_of(name: &str) -> u8 {
    name.bytes()
        .fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

fn assert_all_there(store: &Store<Counters>, acknowledged: &[String]) {
    for name in acknowledged {
        let found = count(store, tenant(tenant_of(name)), name.as_bytes());
        assert_eq!(found, 1, "{name} of {} acknowledged", acknowledged.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let temp = tempfile::tempdir().unwrap();
    NodeIdentity::create(temp.path(), [5; IDENTITY_RANDOM_LEN]).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let folder = temp.path().to_owned();
        let read = tokio::task::spawn_blocking(move || run_and_kill(&folder, 300 + 211 * round));
        acknowledged.extend(read.await.unwrap());
        let engine = Engine::open(child_options(temp.path())).unwrap();
        let store = open_store(&engine).await;
        assert_all_there(&store, &acknowledged);
        engine.shutdown().await;
    }
}

/// Runs the child until it acknowledged `count`, kills it, and returns all it acknowledged.
fn run_and_kill(folder: &Path, count: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::crash::is_killed_as_a_child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut acknowledged = Vec::new();
    let name = |line: String| line.split_once("ack ").map(|(_, name)| name.to_owned());
    while (acknowledged.len() as u64) < count {
        acknowledged.extend(lines.next().and_then(name));
    }
    let second = Engine::open(options(folder, u64::MAX));
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "the child has it"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // What was on its way through the pipe; a last line that was cut has no line feed.
    let rest: Vec<String> = lines.filter_map(name).collect();
    acknowledged.extend(rest.into_iter().filter(|name| name.ends_with('.')));
    acknowledged.iter_mut().for_each(|name| {
        name.pop();
    });
    acknowledged
}

fn child_options(folder: &Path) -> crate::EngineOptions {
    let identity = NodeIdentity::open(folder).unwrap();
    let mut options = options(folder, identity.incarnation.0);
    (options.node, options.cluster) = (identity.node, identity.cluster);
    // Short, so that kills fall into checkpoints and purges too.
    options.checkpoint_interval = Duration::from_millis(20);
    options
}

/// Not a test of its own: the process that the test above kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_killed_as_a_child() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER).map(PathBuf::from) else {
        return;
    };
    let options = child_options(&folder);
    let life = options.incarnation.0;
    let engine = Engine::open(options).unwrap();
    let store = open_store(&engine).await;
    let mut out = std::io::stdout();
    add_forever(store, life, |name| {
        out.write_all(format!("ack {name}.\n").as_bytes()).unwrap();
        out.flush().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_power_cut() {
    for seed in 1..=8u64 {
        let temp = tempfile::tempdir().unwrap();
        let disk = TestDisk::new();
        let mut options = options(temp.path(), 1);
        options.checkpoint_interval = Duration::from_millis(3 * seed);
        let engine = open_on(options, &disk).unwrap();
        let store = open_store(&engine).await;
        let acknowledged = run_and_cut(&disk, store, temp.path(), seed).await;
        engine.shutdown().await;

        let (engine, store) = open(&temp.path().join("after"), 2).await;
        assert_all_there(&store, &acknowledged);
        assert_eq!(add(&store, tenant(1), b"goes on").await, 1, "seed {seed}");
        engine.shutdown().await;
    }
}

/// Adds until a number that depends on the seed is acknowledged, and cuts the power right there,
/// while the others are on their way.
async fn run_and_cut(
    disk: &TestDisk,
    store: Store<Counters>,
    folder: &Path,
    seed: u64,
) -> Vec<String> {
    let after = folder.join("after");
    std::fs::create_dir_all(&after).unwrap();
    let (enough, mut is_enough) = tokio::sync::watch::channel(false);
    let (mut acknowledged, mut random) = (Vec::new(), seed);
    let adding = add_forever(store, seed, |name| {
        acknowledged.push(name);
        if acknowledged.len() as u64 == 100 + 97 * seed {
            disk.cut(&after, || next_bool(&mut random));
            enough.send(true).unwrap();
        }
    });
    tokio::select! {
        biased;
        _ = is_enough.wait_for(|enough| *enough) => {}
        () = adding => unreachable!("the engine is open"),
    }
    acknowledged.truncate(usize::try_from(100 + 97 * seed).unwrap());
    acknowledged
}

fn next_bool(state: &mut u64) -> bool {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 63 == 1
}
