//! Kills the node again and again under clients that do whatever the standard allows, and has the
//! contract checker judge all that they saw.
//!
//! A round: the clients of two tenants, which have the same names, work; at a random moment the node
//! is killed with SIGKILL; clients come back, send again what was not acknowledged, and go on; then
//! they come to rest. At the end the whole history is judged.

mod chance;
mod device;
mod link;
mod names;
mod reader;
mod recorder;
mod session;
mod tenants;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use serde::Serialize;
use tessera_mqtt::{ClientId, Connect, Packet, ProtocolVersion, Qos};
use tessera_sim::contract::{
    self as contract, Act, Clause, Client, End, Event, History, Micros, Rules, Verdict, check,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use chance::Chance;
use device::{DEVICES, Device, Rest};
use link::Link;
use names::Names;
use reader::Reader;
use recorder::Recorder;
use session::Session;
use tenants::Access;

use crate::target::TargetOptions;

/// Longest wait for the supervisor to bring the node back.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// Longest wait for all clients to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Nothing happens for this long: all that was due has come.
const QUIET: Duration = Duration::from_millis(1_000);
/// A life of a node this long is a good one to its supervisor, which then starts it again at once.
const GOOD_LIFE: Duration = Duration::from_millis(5_100);
/// Client number of who sets the sentinels.
const KEEPER: u32 = 100;
/// What the service does, with its known weaknesses, and what a busy machine adds.
const RULES: Rules = Rules {
    clock_slack: Micros(750_000),
    session_expiry_late: Micros::from_seconds(60),
    will_grace: Micros::from_seconds(6),
    will_late: Micros::from_seconds(5),
    resent_may_repeat: false,
    resent_may_retain_again: true,
    takeover_flush: Micros(1_000_000),
    overtaken_may_subscribe: false,
};

/// What the contract asks for.
const STRICT: Rules = Rules {
    resent_may_retain_again: false,
    takeover_flush: Micros(0),
    ..RULES
};

/// How the scenario runs. Needs a ready file: it kills the process that is named there, and makes
/// tenants with the key that is in it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ContractOptions {
    /// Rounds, each with one kill
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Decides what clients do and when the node is killed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes every entry of the history to this file, a line each
    #[arg(long)]
    history: Option<PathBuf>,
}

/// What all rounds came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ContractReport {
    seed: u64,
    rounds: u32,
    kills: u64,
    connections: u64,
    published: u64,
    acknowledged: u64,
    /// Acknowledged only after they had been sent again.
    sent_again: u64,
    deliveries: u64,
    retained_reads: u64,
    verdict: String,
    /// How many things each clause judged.
    judged: Vec<(String, u64)>,
    /// Clauses that are to judge something, and had nothing.
    judged_nothing: Vec<String>,
    offences: Vec<String>,
    /// What the contract forbids and the rules excuse: known weaknesses.
    known: Vec<String>,
    check_seconds: f64,
}

impl ContractReport {
    /// Whether the contract held, and that says something.
    pub(crate) const fn is_clean(&self) -> bool {
        self.offences.is_empty() && self.judged_nothing.is_empty()
    }
}

/// What clients do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Work,
    /// Nothing new: what is on its way is brought to its end.
    Settle,
    Over,
}

/// What all clients of the run share.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    names: Names,
    recorder: Recorder,
}

/// Runs all rounds.
pub(crate) async fn run(ready: &Path, options: &ContractOptions) -> anyhow::Result<ContractReport> {
    let run = std::process::id();
    let world = Arc::new(World {
        seed: options.seed,
        names: Names::new(run),
        recorder: Recorder::new(run),
    });
    let tenants = tenants::make(ready, run).await?;
    for access in &tenants {
        set_sentinel(&world, access).await?;
    }
    let (phase, watched) = watch::channel(Phase::Settle);
    let mut clients = JoinSet::new();
    let mut rests = Vec::new();
    for access in &tenants {
        for number in 0..DEVICES {
            let device = Device::new(&world, access, number);
            rests.push(device.rest());
            clients.spawn(device.run(watched.clone()));
        }
        clients.spawn(Reader::new(&world, access).run(watched.clone()));
    }
    let rounds = Rounds {
        world: Arc::clone(&world),
        ready: ready.to_owned(),
        chance: Chance::new(options.seed, 0),
        phase,
        rests,
        started: Instant::now(),
    };
    let done = tokio::select! {
        done = rounds.run(options.rounds) => done,
        ended = clients.join_next() => Err(anyhow!("a client ended: {ended:?}")),
    };
    let history = world.recorder.take();
    if let Some(path) = &options.history {
        write_history(path, &history)?;
    }
    done?;
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(judge(&history, options))
}

struct Rounds {
    world: Arc<World>,
    ready: PathBuf,
    chance: Chance,
    phase: watch::Sender<Phase>,
    rests: Vec<Arc<Rest>>,
    /// When the node started, as far as it is known.
    started: Instant,
}

impl Rounds {
    /// Ends with all clients told that it is over.
    async fn run(mut self, rounds: u32) -> anyhow::Result<()> {
        for round in 0..rounds {
            let done = self.round().await;
            done.with_context(|| format!("round {round}"))?;
        }
        self.last_quiet().await?;
        self.phase.send_replace(Phase::Over);
        Ok(())
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Work);
        let work = self.chance.millis(300, 2_000);
        tokio::time::sleep(work).await;
        // Some are killed while clients come to rest, and have only deliveries on their way.
        if self.chance.percent(25) {
            self.phase.send_replace(Phase::Settle);
            let work = self.chance.millis(0, 100);
            tokio::time::sleep(work).await;
        }
        let life = self.started.elapsed();
        if life < GOOD_LIFE {
            tokio::time::sleep(GOOD_LIFE.saturating_sub(life)).await;
        }
        self.kill().await?;
        self.phase.send_replace(Phase::Work);
        let work = self.chance.millis(100, 1_000);
        tokio::time::sleep(work).await;
        self.settle().await
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        let pids = TargetOptions::from_ready_file(&self.ready)?.pids;
        let pid = *pids.first().context("the ready file names no node")?;
        self.world.recorder.kill();
        let killed = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()?;
        ensure!(killed.success(), "process {pid} could not be killed");
        let deadline = Instant::now() + RESTART_MAX;
        while Instant::now() < deadline {
            if TargetOptions::from_ready_file(&self.ready)
                .is_ok_and(|target| !target.pids.contains(&pid))
            {
                self.started = Instant::now();
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the node was not back within {RESTART_MAX:?}")
    }

    /// Waits until every client is connected and nothing happens any more.
    async fn settle(&self) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Settle);
        let deadline = Instant::now() + SETTLE_MAX;
        loop {
            let unrest: Vec<String> = self.rests.iter().filter_map(|rest| rest.unrest()).collect();
            if unrest.is_empty() && self.world.recorder.quiet_for() >= QUIET {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "not every client came to rest within {SETTLE_MAX:?}: {}",
                unrest.join(", ")
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.world.recorder.event(Event::Quiet);
        Ok(())
    }

    /// Waits for the last wills too.
    async fn last_quiet(&self) -> anyhow::Result<()> {
        self.settle().await?;
        let wills = RULES.will_grace.0 + RULES.will_late.0 + 2_000_000;
        tokio::time::sleep(Duration::from_micros(wills)).await;
        self.settle().await
    }
}

/// Sets the message that readers wait for.
async fn set_sentinel(world: &World, access: &Access) -> anyhow::Result<()> {
    let who = world.recorder.who(access.tenant, Client(KEEPER));
    let version = ProtocolVersion::V311;
    let mut link = Link::open(&access.target, who, version).await?;
    let ask = contract::Connect {
        clean_start: true,
        expiry_seconds: 0,
        will: None,
    };
    world.recorder.act(who, Act::Connect(ask));
    let id = ClientId::try_from(world.names.client(KEEPER).as_str())?;
    link.connect(&access.target, Connect::new(version, Some(id)))
        .await?;
    let connack = link.first().await?.context("CONNECT was not answered")?;
    ensure!(matches!(connack, Packet::ConnAck(_)), "{connack:?}");
    let connected = Act::Connected {
        session_present: Some(false),
        epoch: None,
    };
    world.recorder.act(who, connected);
    let publish = contract::Publish {
        message: world.recorder.message(),
        topic: world.names.sentinel(),
        qos: Qos::AtLeastOnce,
        retain: true,
        is_empty: false,
        expiry_seconds: None,
        packet: None,
        dup: false,
    };
    let mut session = Session::default();
    let packet = session.publish(&world.recorder, who, publish)?;
    link.send(&packet).await?;
    let puback = link.next().await?.context("PUBLISH was not answered")?;
    session.handle_packet(&world.recorder, who, puback)?;
    ensure!(session.inflight() == 0, "the sentinel is not retained");
    let end = End::Abrupt;
    world.recorder.act(who, Act::Closed { end });
    Ok(())
}

fn judge(history: &History, options: &ContractOptions) -> ContractReport {
    let begun = Instant::now();
    let found = check(history, &RULES);
    let strict = check(history, &STRICT)
        .offences()
        .map(ToString::to_string)
        .collect();
    let mut report = ContractReport {
        seed: options.seed,
        rounds: options.rounds,
        check_seconds: begun.elapsed().as_secs_f64(),
        known: strict,
        verdict: match found.verdict() {
            Verdict::Holds => "holds".to_owned(),
            Verdict::Broken => "broken".to_owned(),
            Verdict::Inconclusive => format!("inconclusive: {found}"),
        },
        ..ContractReport::default()
    };
    for judged in &found.clauses {
        let name = judged.clause.name().to_owned();
        // No figures of the server are read yet.
        let is_owed = judged.clause != Clause::CountersAgree;
        if is_owed && (judged.judged == 0 || judged.undecided.is_some()) {
            report.judged_nothing.push(name.clone());
        }
        report.judged.push((name, judged.judged));
    }
    report.judged_nothing.extend(found.inconclusive.clone());
    report.offences = found.offences().map(ToString::to_string).collect();
    report
        .known
        .retain(|offence| !report.offences.contains(offence));
    for entry in history.entries() {
        match &entry.event {
            Event::Act { who: _, act } => report.count(act),
            Event::NodeEnded { .. } => report.kills += 1,
            Event::Quiet | Event::Counted(_) => {}
        }
    }
    report
}

impl ContractReport {
    fn count(&mut self, act: &Act) {
        match act {
            Act::Connected { .. } => self.connections += 1,
            Act::Publish(publish) if publish.dup => self.sent_again += 1,
            Act::Publish(_) => self.published += 1,
            Act::Published { .. } => self.acknowledged += 1,
            Act::Deliver(_) => self.deliveries += 1,
            Act::Retained { .. } => self.retained_reads += 1,
            Act::Connect(_)
            | Act::Disconnect { .. }
            | Act::Closed { .. }
            | Act::Subscribe { .. }
            | Act::SubAck { .. }
            | Act::Unsubscribe { .. }
            | Act::UnsubAck { .. }
            | Act::Refused { .. }
            | Act::Dropped { .. }
            | Act::WillFired { .. }
            | Act::SessionExpired
            | Act::ReadRetained { .. } => {}
        }
    }
}

fn write_history(path: &Path, history: &History) -> anyhow::Result<()> {
    use std::io::Write as _;
    let file =
        std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for (at, entry) in history.entries().iter().enumerate() {
        writeln!(file, "#{at} {entry}")?;
    }
    file.flush()?;
    Ok(())
}
