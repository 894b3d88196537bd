//! How long a node with much state takes to serve again, after a kill and after an orderly end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tessera_shard::{Engine, Scope, Store, StoreKind};
use tessera_tenancy::NodeId;

use crate::arguments::{Fill, Pace};
use crate::machine::{self, Machine};
use crate::measured::Spread;
use crate::nodes::{options, tenant};

const GROUPS: usize = 8;
/// Rows that one command makes.
const ROWS_PER_COMMAND: u32 = 250;
/// What is written once more before each kill.
const BYTES_BEFORE_A_KILL: u64 = 20_000_000;

pub(crate) async fn measure(pace: &Pace) {
    let folder = tempfile::tempdir().unwrap();
    fill_and_die(folder.path(), 1, pace.state_bytes);
    let (mut killed, mut orderly, mut incarnation) = (Vec::new(), Vec::new(), 1);
    for _ in 0..pace.rounds {
        fill_and_die(folder.path(), incarnation + 1, BYTES_BEFORE_A_KILL);
        killed.push(open(folder.path(), incarnation + 2).await);
        orderly.push(open(folder.path(), incarnation + 3).await);
        incarnation += 3;
    }
    println!(
        "\nreopen: {:.2} GB of rows, files {:.2} GB, warm; seconds from opening\n",
        gigabytes(pace.state_bytes),
        gigabytes(file_bytes(folder.path())),
    );
    println!("| after | log opened | led | first read | first write |\n|---|---|---|---|---|");
    report("a kill", &killed);
    report("an orderly end", &orderly);
}

/// Lets a process write so much, and aborts it once everything is acknowledged.
fn fill_and_die(folder: &Path, incarnation: u64, bytes: u64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("fill-child").arg(folder);
    command.args([incarnation.to_string(), bytes.to_string()]);
    let ended = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(String::from_utf8(ended.stdout).unwrap().contains("filled"));
}

fn report(after: &str, openings: &[[f64; 4]]) {
    let column = |at: usize| Spread::of(openings.iter().map(|opening| opening[at]));
    let [log, led, read, write] = [0, 1, 2, 3].map(column);
    println!("| {after} | {log} | {led} | {read} | {write} |");
}

/// Seconds until the log was open, all groups were led, the first read and the first write served.
async fn open(folder: &Path, incarnation: u64) -> [f64; 4] {
    let started = Instant::now();
    let passed = || started.elapsed().as_secs_f64();
    let engine = open_engine(folder, incarnation);
    let log = passed();
    let store = open_store(&engine).await;
    let led = passed();
    let (writer, key) = (tenant(0, 0, GROUPS), 1u32.to_be_bytes());
    let shard = store.shard_for(writer, &key);
    let key = [&writer.as_bytes()[..], &key].concat();
    let row = shard.read_linearizable(|rows| rows.get(&key)).await;
    assert!(row.unwrap().is_some());
    let read = passed();
    let (command, _) = machine::fill(0, 1);
    shard.propose(Scope::Tenant(writer), command).await.unwrap();
    let written = passed();
    engine.shutdown().await;
    [log, led, read, written]
}

/// Fills a folder and ends without a word to the engine.
pub(crate) async fn child(fill: &Fill) {
    let engine = open_engine(&fill.folder, fill.incarnation);
    let store = open_store(&engine).await;
    let (mut filled, mut first) = (0, 0);
    while filled < fill.bytes {
        for group in 0..GROUPS {
            let tenant = tenant(0, group, GROUPS);
            let (command, bytes) = machine::fill(first, ROWS_PER_COMMAND);
            store.propose(tenant, b"", command).await.unwrap();
            filled += bytes;
        }
        first += ROWS_PER_COMMAND;
    }
    println!("filled");
    std::process::abort();
}

fn open_engine(folder: &Path, incarnation: u64) -> Engine {
    Engine::open(options(folder, NodeId(1), incarnation)).unwrap()
}

async fn open_store(engine: &Engine) -> Store<Machine> {
    let make = |_| Machine::Writes;
    let opened = engine.open_store(StoreKind::Inbox, GROUPS, make).await;
    opened.unwrap()
}

fn file_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

fn gigabytes(bytes: u64) -> f64 {
    crate::measured::float(bytes) / 1e9
}
