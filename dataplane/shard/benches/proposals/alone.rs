//! One writer: what a proposal takes beside an fdatasync, one after the other.

use std::time::{Duration, Instant};

use tessera_shard::{Scope, StoreKind};

use crate::arguments::Pace;
use crate::bare::{BareFile, BareRedb};
use crate::load::command;
use crate::machine::Machine;
use crate::measured::Spread;
use crate::nodes::{Nodes, tenant};

/// Proposals of a round at least, however long they take.
const PROPOSALS_MIN: usize = 20;

/// Medians of a round, in milliseconds.
struct Round {
    engine: f64,
    redb: f64,
    file: f64,
}

pub(crate) async fn measure(pace: &Pace) {
    println!(
        "\none writer, one group, one replica; each proposal is followed by a commit of redb and an"
    );
    println!("append and fdatasync of a file; p50 in ms\n");
    println!("| applying does | engine | redb | file | engine ÷ redb | engine ÷ file |");
    println!("|---|---|---|---|---|---|");
    for machine in [Machine::Nothing, Machine::Writes] {
        let nodes = Nodes::open(1, &[(StoreKind::Inbox, 1)], machine).await;
        let mut redb = BareRedb::open(&nodes.path("rows.redb"));
        let mut file = BareFile::open(&nodes.path("records"));
        let mut rounds = Vec::new();
        for _ in 0..pace.rounds {
            rounds.push(round(&nodes, &mut redb, &mut file, 2 * pace.round).await);
        }
        let spread = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
        println!(
            "| {} | {} | {} | {} | {} | {} |",
            machine.name(),
            spread(|round| round.engine),
            spread(|round| round.redb),
            spread(|round| round.file),
            spread(|round| round.engine / round.redb),
            spread(|round| round.engine / round.file),
        );
        nodes.close().await;
    }
}

async fn round(nodes: &Nodes, redb: &mut BareRedb, file: &mut BareFile, length: Duration) -> Round {
    let scope = Scope::Tenant(tenant(0, 0, 1));
    let until = Instant::now() + length;
    let mut took: [Vec<f64>; 3] = Default::default();
    while took[0].len() < PROPOSALS_MIN || Instant::now() < until {
        let started = Instant::now();
        nodes.shards[0].propose(scope, command(0)).await.unwrap();
        took[0].push(started.elapsed().as_secs_f64() * 1e3);
        for (at, measured) in [(1, redb.once()), (2, file.once())] {
            took[at].push(measured.as_secs_f64() * 1e3);
        }
    }
    let [engine, redb, file] = took.map(|took| Spread::of(took.into_iter()).median);
    Round { engine, redb, file }
}
