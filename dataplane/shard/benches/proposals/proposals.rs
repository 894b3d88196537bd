//! Proposals by writers, groups, replicas and machines.

use tessera_shard::StoreKind;

use crate::arguments::Pace;
use crate::bare::{BareFile, BareRedb, Rows};
use crate::load;
use crate::machine::Machine;
use crate::measured::{Measured, Spread};
use crate::nodes::Nodes;

const HEAD: &str = "
proposals: medians of the rounds (lowest to highest); µs are of CPU per record; ÷ is CPU per record of the engine by that of
(a) redb with a row per record, (a1) redb with a row per commit, (b) a file, with the same records per commit

| applying does | replicas | groups | writers | per second | µs | a µs | ÷ a | a1 µs | ÷ a1 | b µs | ÷ b | records per entry | records per fsync | p50 ms | p99 ms | file: p50 ms | bytes per record | a1: bytes |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// A round of the engine and of what it is compared with.
struct Round {
    engine: Measured,
    row_per_record: Measured,
    row_per_commit: Measured,
    file: Measured,
}

pub(crate) async fn measure(pace: &Pace) {
    println!("{HEAD}");
    for machine in [Machine::Nothing, Machine::Writes] {
        for replicas in &pace.replicas {
            for groups in &pace.groups {
                measure_groups(pace, machine, *replicas, *groups).await;
            }
        }
    }
}

async fn measure_groups(pace: &Pace, machine: Machine, replicas: u64, groups: usize) {
    let nodes = Nodes::open(replicas, &[(StoreKind::Inbox, groups)], machine).await;
    let mut redb = BareRedb::open(&nodes.path("rows.redb"));
    let mut redb_batches = BareRedb::open(&nodes.path("batches.redb"));
    let mut file = BareFile::open(&nodes.path("records"));
    let mut rounds: Vec<_> = pace.writers.iter().map(|_| Vec::new()).collect();
    for _ in 0..pace.rounds {
        for (writers, rounds) in pace.writers.iter().zip(&mut rounds) {
            let engine = load::round(&nodes, *writers, pace.round).await;
            let batch = rounded(engine.records_per_sync(nodes.copies()));
            let length = pace.bare_round;
            rounds.push(Round {
                engine,
                row_per_record: redb.round(Rows::PerRecord, batch, length),
                row_per_commit: redb_batches.round(Rows::PerCommit, batch, length),
                file: file.round(batch, length),
            });
        }
    }
    for (writers, rounds) in pace.writers.iter().zip(&rounds) {
        let machine = machine.name();
        println!(
            "| {machine} | {replicas} | {groups} | {writers} {}",
            columns(rounds, replicas)
        );
    }
    nodes.close().await;
}

fn columns(rounds: &[Round], copies: u64) -> String {
    let spread = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let by = |other: fn(&Round) -> &Measured| {
        let cpu = spread(&|round| other(round).cpu_us());
        let ratio = spread(&|round| round.engine.cpu_us() / other(round).cpu_us());
        format!("| {cpu} | {ratio} ")
    };
    [
        format!("| {} ", spread(&|round| round.engine.per_second())),
        format!("| {} ", spread(&|round| round.engine.cpu_us())),
        by(|round| &round.row_per_record),
        by(|round| &round.row_per_commit),
        by(|round| &round.file),
        format!(
            "| {} ",
            spread(&|round| round.engine.records_per_entry(copies))
        ),
        format!(
            "| {} ",
            spread(&|round| round.engine.records_per_sync(copies))
        ),
        format!("| {} ", spread(&|round| round.engine.latency_us(50) / 1e3)),
        format!("| {} ", spread(&|round| round.engine.latency_us(99) / 1e3)),
        format!("| {} ", spread(&|round| round.file.latency_us(50) / 1e3)),
        format!("| {} ", spread(&|round| round.engine.bytes_per_record())),
        format!(
            "| {} |",
            spread(&|round| round.row_per_commit.bytes_per_record())
        ),
    ]
    .concat()
}

/// Records per commit of what is compared: at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of at most some thousands"
)]
fn rounded(records: f64) -> usize {
    (records.round() as usize).max(1)
}
