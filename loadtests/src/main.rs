//! Load scenarios: what a broker does per CPU-second, and how long its messages take.
//!
//! # Contents
//! - `pairs`: pairs of clients, a publisher and a subscriber each, at QoS 0 or 1.
//! - `kill_rounds`: kills the node under load and looks for what was acknowledged and is missing.
//! - `contract_rounds`: kills the node under clients that do whatever the standard allows, and judges
//!   all that they saw.
//! - `engine_rounds`: kills a host of shard engines under load, and looks for the same.
//! - `read_your_subscribe`: publishes right after SUBACKs, and looks for what does not arrive.
//! - `fan_out`: bytes written for a message to many inboxes.
//! - `engine_host`: that host. `engine_wire`: what the two say to each other.
//! - `client`: the smallest MQTT client that can generate load. `target`: which broker, which process.
//! - `cpu`: CPU time of the broker's processes. `report`: one run's figures, as a table and as JSON.
//!
//! Every scenario with MQTT runs against any broker, so that two can be measured side by side in one
//! session.
//! Loops are closed and bounded in count and time; a run ends by itself.

mod client;
mod contract_rounds;
mod cpu;
mod engine_host;
mod engine_rounds;
mod engine_wire;
mod fan_out;
mod kill_rounds;
mod pairs;
mod read_your_subscribe;
mod report;
mod target;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};

use crate::target::TargetOptions;

/// Measures an MQTT broker.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    target: TargetOptions,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Pairs of clients: each publisher's messages go to one subscriber.
    Pairs(pairs::PairsOptions),
    /// Kills the node of a `tessera dev` under load, and looks for what is missing.
    KillRounds(kill_rounds::KillOptions),
    /// Kills the node of a `tessera dev` under clients of every kind, and judges what they saw by the
    /// contract's clauses.
    ContractRounds(contract_rounds::ContractOptions),
    /// Kills a host of shard engines under load, and looks for what is missing, doubled or made up
    EngineRounds(engine_rounds::RoundsOptions),
    /// Publishes right after a SUBACK, and looks for what does not arrive
    ReadYourSubscribe(read_your_subscribe::TryOptions),
    /// Measures what a message to many inboxes costs on disk; needs no broker
    FanOut(fan_out::FanOutOptions),
    /// Hosts shard engines until standard input ends; started by engine-rounds
    EngineHost(engine_host::HostOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.scenario {
        Scenario::Pairs(options) => {
            let target = arguments.target.resolve()?;
            pairs::run(&target, &options).await?.print();
            Ok(())
        }
        Scenario::KillRounds(options) => {
            let ready = arguments
                .target
                .ready_file()
                .context("kill-rounds needs --ready-file")?;
            let report = kill_rounds::run(&ready, &options).await?;
            report::print_json(&report);
            ensure!(
                report.is_clean(),
                "something acknowledged was lost, or something was made up"
            );
            Ok(())
        }
        Scenario::ContractRounds(options) => {
            let ready = arguments
                .target
                .ready_file()
                .context("contract-rounds needs --ready-file")?;
            let report = contract_rounds::run(&ready, &options).await?;
            report::print_json(&report);
            ensure!(
                report.is_clean(),
                "the contract was broken, or nothing was proven"
            );
            Ok(())
        }
        Scenario::EngineRounds(options) => {
            let report = engine_rounds::run(&options).await?;
            report::print_json(&report);
            ensure!(report.is_clean(), "a round found what must not be");
            Ok(())
        }
        Scenario::ReadYourSubscribe(options) => {
            let target = arguments.target.resolve()?;
            let tried = read_your_subscribe::run(&target, &options).await?;
            report::print_json(&tried);
            ensure!(tried.is_clean(), "a message did not reach its subscriber");
            Ok(())
        }
        Scenario::FanOut(options) => {
            report::print_json(&fan_out::run(&options).await?);
            Ok(())
        }
        Scenario::EngineHost(options) => engine_host::run(&options).await,
    }
}
