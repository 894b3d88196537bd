//! Kills a host of shard engines again and again under load, and looks for what was acknowledged and
//! is missing, for what is there twice, and for what nobody sent.
//!
//! - `plan`: what a round does, from the seed. `host`: the process, and what it is asked.
//! - `load`: writes, splits, the kill. `ledger`: what must be there, and what must not.
//!
//! A kill loses nothing that was handed to the file system, synced or not: this proves the order of
//! acknowledging and the recovery, not the fsync. That a power cut loses nothing is the business of the
//! simulation (`dataplane/sim`), whose disk forgets what was not synced.

mod host;
mod ledger;
mod load;
mod plan;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use crate::engine_rounds::host::{Connection, Host, RECOVERY_MAX, log_of};
use crate::engine_rounds::ledger::{Ledger, Unknown, Violation, differing, panicked, uneven};
use crate::engine_rounds::load::Counts;
use crate::engine_rounds::plan::{Kill, Plan, Strike};
use crate::engine_wire::{Replica, Row, WriteId};

/// How long nodes that are not at one index yet are left alone.
const UNEVEN_WAIT: Duration = Duration::from_millis(20);
/// Of a node's missing ids so many are asked for by name.
const OWNERS_ASKED_MAX: usize = 16;
/// Violations of a round that are printed.
const VIOLATIONS_PRINTED_MAX: usize = 20;

/// How the scenario runs. It starts its own host.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoundsOptions {
    /// Nodes of the host: 1, or 3 that are joined
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3))]
    nodes: u64,
    /// Rounds, each with one kill or several
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Decides loads, splits and the moments of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the nodes store; must not be there yet [default: in the temporary folder]
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What all rounds came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RoundsReport {
    nodes: u64,
    seed: u64,
    rounds: u32,
    kills: u64,
    kills_while_opening: u64,
    sent: u64,
    acknowledged: u64,
    refused: u64,
    /// Not acknowledged and not refused, most of them because of the kill.
    outcome_unknown: u64,
    outcome_unknown_and_found: u64,
    missing: u64,
    doubled: u64,
    phantoms: u64,
    altered: u64,
    digests_that_differ: u64,
    splits_done: u64,
    splits_lost: u64,
    /// The host ended by itself, panicked, stood still or did not come back.
    host_failures: u64,
    longest_recovery_ms: u64,
}

impl RoundsReport {
    /// Whether nothing was lost, doubled or made up, and the host came back each time.
    pub(crate) const fn is_clean(&self) -> bool {
        self.missing == 0
            && self.doubled == 0
            && self.phantoms == 0
            && self.altered == 0
            && self.digests_that_differ == 0
            && self.splits_lost == 0
            && self.host_failures == 0
    }

    const fn add(&mut self, violation: &Violation) {
        let count = match violation {
            Violation::Missing { .. } => &mut self.missing,
            Violation::Doubled { .. } => &mut self.doubled,
            Violation::Phantom { .. } => &mut self.phantoms,
            Violation::Altered { .. } => &mut self.altered,
            Violation::Differs { .. } => &mut self.digests_that_differ,
            Violation::SplitLost { .. } => &mut self.splits_lost,
            Violation::Ended { .. }
            | Violation::Panicked { .. }
            | Violation::Stalled { .. }
            | Violation::NotBack { .. } => &mut self.host_failures,
        };
        *count += 1;
    }
}

/// Runs all rounds, or those up to the first that finds something: then the folder is kept.
pub(crate) async fn run(options: &RoundsOptions) -> anyhow::Result<RoundsReport> {
    let name = format!("tessera-engine-rounds-{}", std::process::id());
    let folder = options.folder.clone();
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join(name));
    fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut rounds = Rounds {
        options: options.clone(),
        folder: folder.clone(),
        next_id: 1,
        shards: 0,
        host: None,
        ledger: Ledger::default(),
        report: RoundsReport {
            nodes: options.nodes,
            seed: options.seed,
            ..RoundsReport::default()
        },
    };
    let ran = rounds.run().await;
    let kept = || format!("{} is kept", folder.display());
    // Before the folder goes.
    if let Some(host) = rounds.host.take() {
        host.kill().await?;
    }
    ran.with_context(kept)?;
    if rounds.report.is_clean() {
        fs::remove_dir_all(&folder)?;
    } else {
        print(&kept());
    }
    Ok(rounds.report)
}

struct Rounds {
    options: RoundsOptions,
    folder: PathBuf,
    next_id: u64,
    /// At the last check.
    shards: usize,
    /// Has been checked, unless a round is under way.
    host: Option<Host>,
    ledger: Ledger,
    report: RoundsReport,
}

/// What the nodes have once they are quiet.
struct Settled {
    replicas: Vec<Replica>,
    rows: BTreeMap<u64, Vec<Row>>,
    recovery: Duration,
}

impl Rounds {
    async fn run(&mut self) -> anyhow::Result<()> {
        for round in 0..self.options.rounds {
            let plan = Plan::draw(self.options.seed, round);
            let mut line = format!("round {round}:");
            let violations = self.round(&plan, &mut line).await;
            let violations = violations.with_context(|| line.clone())?;
            let verdict = if violations.is_empty() {
                "ok"
            } else {
                "FAILED"
            };
            print(&format!("{line} {verdict}"));
            for violation in violations.iter().take(VIOLATIONS_PRINTED_MAX) {
                print(&format!("  {violation}"));
            }
            violations
                .iter()
                .for_each(|violation| self.report.add(violation));
            self.report.rounds += 1;
            if !violations.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn round(&mut self, plan: &Plan, line: &mut String) -> anyhow::Result<Vec<Violation>> {
        if let Some(openings) = &plan.begins_anew {
            let violations = self.begin_anew(openings).await?;
            if !violations.is_empty() {
                return Ok(violations);
            }
            write!(line, " anew,")?;
        }
        let mut counts = Counts::default();
        for strike in &plan.strikes {
            let violations = self.strike(strike, &mut counts).await?;
            self.report.kills += 1;
            write!(line, " {}", described(strike))?;
            if !violations.is_empty() {
                return Ok(violations);
            }
        }
        self.report.sent += counts.sent;
        self.report.acknowledged += counts.acknowledged;
        self.report.refused += counts.refused;
        let Counts {
            sent,
            acknowledged,
            refused,
            answered_unknown,
        } = counts;
        write!(line, " sent {sent} acknowledged {acknowledged}")?;
        if refused + answered_unknown > 0 {
            write!(line, " refused {refused} unanswerable {answered_unknown}")?;
        }
        self.check(line).await
    }

    /// New folders; the first lives on them end while they are made.
    async fn begin_anew(&mut self, openings: &[Duration]) -> anyhow::Result<Vec<Violation>> {
        if let Some(host) = self.host.take() {
            host.kill().await?;
        }
        fs::remove_dir_all(&self.folder)?;
        fs::create_dir(&self.folder)?;
        self.ledger = Ledger::default();
        self.shards = 0;
        for after in openings {
            self.report.kills += 1;
            let violations = self
                .strike(&Strike::Opening(*after), &mut Counts::default())
                .await?;
            if !violations.is_empty() {
                return Ok(violations);
            }
        }
        self.check(&mut String::new()).await
    }

    async fn strike(
        &mut self,
        strike: &Strike,
        counts: &mut Counts,
    ) -> anyhow::Result<Vec<Violation>> {
        let host = match self.host.take() {
            Some(host) => host,
            None => self.start()?,
        };
        match strike {
            Strike::Opening(after) => {
                self.report.kills_while_opening += 1;
                Ok(host.kill_after(*after).await?.into_iter().collect())
            }
            Strike::Load(load) => {
                let first = WriteId(self.next_id);
                self.next_id += load.writes;
                let host = (host, self.options.nodes);
                load::run(load, host, first, &mut self.ledger, counts).await
            }
        }
    }

    /// Starts the host and compares what it has with what it should have.
    async fn check(&mut self, line: &mut String) -> anyhow::Result<Vec<Violation>> {
        let mut host = self.start()?;
        let settled = self.settle(&mut host).await;
        self.host = Some(host);
        let settled = match settled {
            Ok(settled) => settled,
            Err(violations) => return Ok(violations),
        };
        let (mut violations, unknown) = self.ledger.check(&settled.rows, &settled.replicas);
        violations.extend(panicked(&log_of(&self.folder)?));
        let Unknown { writes, found } = unknown;
        self.report.outcome_unknown += writes;
        self.report.outcome_unknown_and_found += found;
        let nodes = usize::try_from(self.options.nodes)?;
        let shards = settled.replicas.len() / nodes;
        if self.shards > 0 {
            let more = shards.saturating_sub(self.shards);
            self.report.splits_done += u64::try_from(more)?;
        }
        self.shards = shards;
        let recovery_ms = u64::try_from(settled.recovery.as_millis())?;
        let longest = &mut self.report.longest_recovery_ms;
        *longest = recovery_ms.max(*longest);
        write!(
            line,
            " unknown {writes} found {found} shards {shards} back in {recovery_ms} ms"
        )?;
        Ok(violations)
    }

    fn start(&self) -> anyhow::Result<Host> {
        Host::start(&self.folder, self.options.nodes)
    }

    /// Waits until everything is there, and nothing moves any more.
    async fn settle(&self, host: &mut Host) -> Result<Settled, Vec<Violation>> {
        let port = host.port().await.map_err(|violation| vec![violation])?;
        let deadline = Instant::from_std(host.started) + RECOVERY_MAX;
        let mut why = "it was not asked".to_owned();
        let mut settling = async || {
            let mut connection = Connection::open(port).await.map_err(gone)?;
            loop {
                match self.look(&mut connection).await {
                    Ok(Ok((replicas, rows))) => {
                        let recovery = host.started.elapsed();
                        return Ok(Settled {
                            replicas,
                            rows,
                            recovery,
                        });
                    }
                    Ok(Err(violations)) => return Err(violations),
                    Err(error) => why = format!("{error:#}"),
                }
                tokio::time::sleep(UNEVEN_WAIT).await;
            }
        };
        let settled = tokio::time::timeout_at(deadline, settling()).await;
        settled.unwrap_or_else(|_late| Err(vec![Violation::NotBack { why }]))
    }

    /// Everything, if nothing changes while it is read. An error says why it is not time yet.
    async fn look(
        &self,
        connection: &mut Connection,
    ) -> anyhow::Result<Result<(Vec<Replica>, BTreeMap<u64, Vec<Row>>), Vec<Violation>>> {
        let replicas = connection.replicas().await?;
        let differing = differing(&replicas);
        if !differing.is_empty() {
            return Ok(Err(differing));
        }
        if let Some(shard) = uneven(&replicas, self.options.nodes) {
            bail!("shard {shard:016x} is not on all nodes at one index: {replicas:?}");
        }
        let mut rows = BTreeMap::new();
        for node in 1..=self.options.nodes {
            let found = connection.rows(node).await?;
            for id in self.ledger.missing(&found).iter().take(OWNERS_ASKED_MAX) {
                if !connection.is_owned(node, *id).await? {
                    bail!("node {node} has no shard for {}", id.0);
                }
            }
            rows.insert(node, found);
        }
        if connection.replicas().await? != replicas {
            bail!("the nodes are not quiet: {replicas:?}");
        }
        Ok(Ok((replicas, rows)))
    }
}

fn gone(error: anyhow::Error) -> Vec<Violation> {
    let how = format!("{error:#}");
    vec![Violation::Ended { how }]
}

fn described(strike: &Strike) -> String {
    match strike {
        Strike::Opening(after) => format!("killed {after:?} after its start,"),
        Strike::Load(load) => {
            let kill = match load.kill {
                Kill::AfterAnswers(answers) => format!("killed after {answers} answers"),
                Kill::After(time) => format!("killed after {time:?}"),
                Kill::AfterSplit(time) => format!("killed {time:?} after the split"),
            };
            let (writes, connections, window) = (load.writes, load.connections, load.window);
            format!("{writes} writes {connections}x{window}, {kill},")
        }
    }
}

fn print(line: &str) {
    // A reader that is gone wants no lines.
    writeln!(std::io::stderr(), "{line}").unwrap_or_default();
}
