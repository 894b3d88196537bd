//! Kills the node again and again while messages for offline sessions are on their way, and looks
//! for what was acknowledged and is missing.
//!
//! A round: publishers send QoS 1 messages with unique numbers to offline persistent sessions; after a
//! random number of acknowledgements the node is killed with SIGKILL; once the supervisor has it back,
//! every session is resumed and drained. A number that was acknowledged must come; one that was not
//! may; one that was never sent must not. Retained messages of all rounds must be there at the end.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use serde::Serialize;
use tessera_mqtt::{
    Ack, Message, Packet, PacketId, PublishHeader, Qos, TopicName, encode, encode_publish,
};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::client::{Client, VERSION};
use crate::target::{Target, TargetOptions};

/// Longest wait for the supervisor to bring the node back.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// A drained session is quiet for this long.
const QUIET: Duration = Duration::from_secs(3);

/// How the scenario runs. Needs a ready file: it kills the process that is named there.
#[derive(Debug, Clone, Args)]
pub(crate) struct KillOptions {
    /// Rounds, each with one kill
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Messages of one round
    #[arg(long, default_value_t = 1_000)]
    publishes: u32,
    /// Publishers of one round, each with an offline session of its own
    #[arg(long, default_value_t = 4)]
    publishers: u32,
    /// Decides the moments of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What all rounds came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct KillReport {
    rounds: u32,
    kills_before_the_last_acknowledgement: u32,
    sent: u64,
    acknowledged: u64,
    received: u64,
    acknowledged_and_missing: u64,
    phantoms: u64,
    /// Received again in the same round.
    duplicates: u64,
    /// Received in a later round than they were sent in, for the first time.
    late: u64,
    /// Received in a later round though they had been received and acknowledged before.
    repeated: u64,
    sessions_lost: u64,
    retained: u64,
    retained_missing: u64,
}

impl KillReport {
    /// Whether nothing was lost and nothing was made up.
    pub(crate) const fn is_clean(&self) -> bool {
        self.acknowledged_and_missing == 0
            && self.phantoms == 0
            && self.sessions_lost == 0
            && self.retained_missing == 0
    }
}

/// Runs all rounds.
pub(crate) async fn run(ready: &Path, options: &KillOptions) -> anyhow::Result<KillReport> {
    let mut rounds = Rounds {
        ready: ready.to_owned(),
        options: options.clone(),
        run: std::process::id(),
        random: options.seed,
        report: KillReport::default(),
        retained: HashMap::new(),
        all_sent: HashSet::new(),
        all_received: HashSet::new(),
    };
    rounds.open_sessions().await?;
    for round in 0..options.rounds {
        rounds
            .round(round)
            .await
            .with_context(|| format!("round {round}"))?;
    }
    rounds.check_retained().await?;
    Ok(rounds.report)
}

struct Rounds {
    ready: PathBuf,
    options: KillOptions,
    run: u32,
    random: u64,
    report: KillReport,
    retained: HashMap<String, String>,
    all_sent: HashSet<u64>,
    all_received: HashSet<u64>,
}

impl Rounds {
    async fn open_sessions(&self) -> anyhow::Result<()> {
        let target = self.target()?;
        for lane in 0..self.options.publishers {
            let (mut client, _) = Client::resume(&target, &self.session(lane)).await?;
            client
                .subscribe(&format!("kill/{}/{lane}/#", self.run), Qos::AtLeastOnce)
                .await?;
        }
        Ok(())
    }

    async fn round(&mut self, round: u32) -> anyhow::Result<()> {
        let target = self.target()?;
        let pid = *target
            .pids
            .first()
            .context("the ready file names no node")?;
        self.retain(&target, round).await?;
        let (sender, acknowledged) = mpsc::channel(self.options.publishes as usize);
        let mut sent = HashSet::new();
        for lane in 0..self.options.publishers {
            let numbers = self.numbers(round, lane);
            sent.extend(numbers.clone());
            let client = Client::connect(&target, &format!("kill-{}-p{lane}", self.run)).await?;
            let topic = format!("kill/{}/{lane}/x", self.run);
            tokio::spawn(publish(client, topic, numbers, sender.clone()));
        }
        drop(sender);
        let acknowledged = self.kill_under_way(pid, acknowledged).await?;
        self.wait_for_restart(pid).await?;
        self.drain(&sent, &acknowledged).await
    }

    fn numbers(&self, round: u32, lane: u32) -> std::ops::Range<u64> {
        let each = u64::from(self.options.publishes / self.options.publishers);
        let first =
            (u64::from(round) * u64::from(self.options.publishers) + u64::from(lane)) * each;
        first..first + each
    }

    /// Counts acknowledgements, kills at a random one, and takes those that were on their way.
    async fn kill_under_way(
        &mut self,
        pid: u32,
        mut acknowledged: mpsc::Receiver<u64>,
    ) -> anyhow::Result<HashSet<u64>> {
        let kill_at = usize::try_from(self.next_random() % u64::from(self.options.publishes))?;
        let mut seen = HashSet::new();
        while seen.len() < kill_at {
            let Some(number) = acknowledged.recv().await else {
                break;
            };
            seen.insert(number);
        }
        let killed = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()?;
        ensure!(killed.success(), "process {pid} could not be killed");
        while let Some(number) = acknowledged.recv().await {
            seen.insert(number);
        }
        self.report.rounds += 1;
        if seen.len() < self.options.publishes as usize {
            self.report.kills_before_the_last_acknowledgement += 1;
        }
        Ok(seen)
    }

    async fn wait_for_restart(&self, killed: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + RESTART_MAX;
        while Instant::now() < deadline {
            if self
                .target()
                .is_ok_and(|target| !target.pids.contains(&killed))
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the node was not back within {RESTART_MAX:?}")
    }

    async fn drain(&mut self, sent: &HashSet<u64>, acked: &HashSet<u64>) -> anyhow::Result<()> {
        let target = self.target()?;
        let mut received = HashSet::new();
        let mut duplicates = 0;
        for lane in 0..self.options.publishers {
            let (mut client, present) = Client::resume(&target, &self.session(lane)).await?;
            self.report.sessions_lost += u64::from(!present);
            while let Ok(number) = tokio::time::timeout(QUIET, next_number(&mut client)).await {
                duplicates += u64::from(!received.insert(number?));
                if acked.len() == sent.len() && received.len() == self.due_after(lane) {
                    break;
                }
            }
        }
        self.report.sent += sent.len() as u64;
        self.report.acknowledged += acked.len() as u64;
        self.report.received += received.len() as u64;
        self.report.duplicates += duplicates;
        self.report.acknowledged_and_missing += acked.difference(&received).count() as u64;
        self.all_sent.extend(sent);
        for number in received.difference(sent) {
            let count = if !self.all_sent.contains(number) {
                &mut self.report.phantoms
            } else if self.all_received.contains(number) {
                &mut self.report.repeated
            } else {
                &mut self.report.late
            };
            *count += 1;
        }
        self.all_received.extend(received);
        Ok(())
    }

    /// Numbers that have come once this lane is drained, if every one was acknowledged. Otherwise
    /// those on their way may come too, and only the quiet tells the end.
    const fn due_after(&self, lane: u32) -> usize {
        (self.options.publishes / self.options.publishers * (lane + 1)) as usize
    }

    async fn retain(&mut self, target: &Target, round: u32) -> anyhow::Result<()> {
        let mut client = Client::connect(target, &format!("kill-{}-retain", self.run)).await?;
        let topic = format!("kill/{}/retained/{}", self.run, round % 7);
        let value = format!("round {round}");
        client.retain(&topic, &value).await?;
        self.retained.insert(topic, value);
        Ok(())
    }

    async fn check_retained(&mut self) -> anyhow::Result<()> {
        let target = self.target()?;
        let mut client = Client::connect(&target, &format!("kill-{}-check", self.run)).await?;
        client
            .subscribe(&format!("kill/{}/retained/+", self.run), Qos::AtMostOnce)
            .await?;
        let mut found = HashMap::new();
        while found.len() < self.retained.len() {
            let Ok(publish) = tokio::time::timeout(QUIET, client.next_publish()).await else {
                break;
            };
            let publish = publish?;
            let topic = publish.topic.name().context("an alias was not allowed")?;
            let payload = String::from_utf8_lossy(&publish.payload).into_owned();
            found.insert(topic.as_str().to_owned(), payload);
        }
        self.report.retained = self.retained.len() as u64;
        let missing = self
            .retained
            .iter()
            .filter(|(topic, value)| found.get(*topic) != Some(value));
        self.report.retained_missing = missing.count() as u64;
        Ok(())
    }

    fn session(&self, lane: u32) -> String {
        format!("kill-{}-s{lane}", self.run)
    }

    fn target(&self) -> anyhow::Result<Target> {
        TargetOptions::from_ready_file(&self.ready)
    }

    /// xorshift: the seed reproduces the moments of the kills.
    const fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Sends all numbers at once and reports each acknowledgement, until the connection dies.
async fn publish(
    mut client: Client,
    topic: String,
    numbers: std::ops::Range<u64>,
    acknowledged: mpsc::Sender<u64>,
) -> anyhow::Result<()> {
    let topic = TopicName::try_from(topic.as_str())?;
    let mut out = BytesMut::new();
    let first = numbers.start;
    for number in numbers {
        let message = Message::new(topic.clone(), Bytes::from(number.to_be_bytes().to_vec()));
        let id = PacketId::new(u16::try_from(number - first + 1)?);
        let header = PublishHeader {
            qos: Qos::AtLeastOnce,
            packet_id: id,
            ..PublishHeader::default()
        };
        encode_publish(&mut out, VERSION, &message, &header)?;
    }
    client.sender.write_all_buf(&mut out).await?;
    loop {
        while let Some(packet) = client.receiver.buffered()? {
            if let Packet::PubAck(ack) = packet {
                acknowledged
                    .send(first + u64::from(ack.packet_id.get()) - 1)
                    .await?;
            }
        }
        if !client.receiver.fill().await? {
            return Ok(());
        }
    }
}

/// The next message's number; it is acknowledged.
async fn next_number(client: &mut Client) -> anyhow::Result<u64> {
    let publish = client.next_publish().await?;
    if let Some(id) = publish.packet_id {
        let mut out = BytesMut::new();
        encode(&Packet::PubAck(Ack::new(id)), VERSION, &mut out)?;
        client.sender.write_all_buf(&mut out).await?;
    }
    let number = publish
        .payload
        .first_chunk()
        .context("a payload of less than 8 bytes")?;
    Ok(u64::from_be_bytes(*number))
}
