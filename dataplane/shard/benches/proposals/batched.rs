//! Commands that are submitted a hundred at a time.

use tessera_shard::StoreKind;

use crate::arguments::Pace;
use crate::load;
use crate::machine::Machine;
use crate::measured::{Measured, Spread};
use crate::nodes::Nodes;

/// Commands at a time.
const COMMANDS: usize = 100;
/// Submitters at once.
const SUBMITTERS: [usize; 3] = [1, 8, 32];

pub(crate) async fn measure(pace: &Pace) {
    println!("\nbatched: {COMMANDS} commands at a time, one group, one replica\n");
    println!(
        "| applying does | submitters | commands per CPU-second | commands per second | commands per entry | commands per fsync |"
    );
    println!("|---|---|---|---|---|---|");
    for machine in [Machine::Nothing, Machine::Writes] {
        let nodes = Nodes::open(1, &[(StoreKind::Inbox, 1)], machine).await;
        for submitters in SUBMITTERS {
            let mut rounds = Vec::new();
            for _ in 0..pace.rounds {
                rounds.push(load::batches(&nodes, submitters, COMMANDS, pace.round).await);
            }
            let spread = |figure: fn(&Measured) -> f64| Spread::of(rounds.iter().map(figure));
            println!(
                "| {} | {submitters} | {} | {} | {} | {} |",
                machine.name(),
                spread(|round| 1e6 / round.cpu_us()),
                spread(Measured::per_second),
                spread(|round| round.records_per_entry(1)),
                spread(|round| round.records_per_sync(1)),
            );
        }
        nodes.close().await;
    }
}
