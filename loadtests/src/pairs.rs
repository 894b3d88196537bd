//! Pairs of clients: publisher *i* sends to topic *i*, subscriber *i* receives it.
//!
//! Each pair keeps `window` messages on their way: a closed loop, which a broker cannot be flooded
//! with. The first eight bytes of a payload are the time of sending, so that the subscriber, in the
//! same process, knows how long the message took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use hdrhistogram::Histogram;
use tessera_mqtt::{
    Ack, Message, Packet, PacketId, PublishHeader, Qos, TopicName, encode, encode_publish,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::client::{Client, Receiver, VERSION};
use crate::cpu;
use crate::report::Report;
use crate::target::Target;

/// Most pairs of one run.
const PAIRS_MAX: usize = 10_000;
/// Largest latency that the histogram tells apart.
const LATENCY_MAX_US: u64 = 60_000_000;

/// How the scenario runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct PairsOptions {
    /// Pairs of clients
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// QoS of messages and subscriptions: 0 or 1
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Bytes of a payload, at least 8
    #[arg(long, default_value_t = 64)]
    payload_bytes: usize,
    /// Messages of each pair on their way at once
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Seconds before the measurement begins
    #[arg(long, default_value_t = 2)]
    warm_up_seconds: u64,
    /// Seconds of the measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// What all pairs of a run share.
#[derive(Debug)]
struct Run {
    begin: Instant,
    measure_after: Duration,
    end_after: Duration,
    received: AtomicU64,
    end: Notify,
}

impl Run {
    fn is_over(&self) -> bool {
        self.begin.elapsed() >= self.end_after
    }
}

/// Runs the scenario once.
pub(crate) async fn run(target: &Target, options: &PairsOptions) -> anyhow::Result<Report> {
    ensure!(options.pairs <= PAIRS_MAX, "at most {PAIRS_MAX} pairs");
    ensure!(options.payload_bytes >= 8, "a payload has at least 8 bytes");
    let qos = Qos::try_from(options.qos)?;
    let mut clients = Vec::with_capacity(options.pairs);
    for pair in 0..options.pairs {
        clients.push(connect_pair(target, pair, qos).await?);
    }
    let warm_up = Duration::from_secs(options.warm_up_seconds);
    let run = Arc::new(Run {
        begin: Instant::now(),
        measure_after: warm_up,
        end_after: warm_up + Duration::from_secs(options.seconds),
        received: AtomicU64::new(0),
        end: Notify::new(),
    });
    let mut tasks = JoinSet::new();
    for (pair, (publisher, subscriber)) in clients.into_iter().enumerate() {
        start_pair(&mut tasks, &run, options, qos, pair, publisher, subscriber)?;
    }
    measure(&run, target, options, tasks).await
}

async fn measure(
    run: &Arc<Run>,
    target: &Target,
    options: &PairsOptions,
    mut tasks: JoinSet<anyhow::Result<Histogram<u64>>>,
) -> anyhow::Result<Report> {
    tokio::time::sleep_until((run.begin + run.measure_after).into()).await;
    let (cpu_before, begin) = (cpu::used(&target.pids)?, Instant::now());
    let received_before = run.received.load(Ordering::Relaxed);
    tokio::time::sleep_until((run.begin + run.end_after).into()).await;
    let messages = run.received.load(Ordering::Relaxed) - received_before;
    let (cpu_after, elapsed) = (cpu::used(&target.pids)?, begin.elapsed());
    run.end.notify_waiters();
    let mut latency = new_histogram()?;
    while let Some(joined) = tasks.join_next().await {
        latency.add(joined??)?;
    }
    let cpu = (!target.pids.is_empty()).then(|| cpu_after.saturating_sub(cpu_before));
    let name = format!(
        "pairs: {} pairs, QoS {}, {} B, window {}",
        options.pairs, options.qos, options.payload_bytes, options.window
    );
    Ok(Report::new(name, messages, elapsed, cpu, &latency))
}

async fn connect_pair(target: &Target, pair: usize, qos: Qos) -> anyhow::Result<(Client, Client)> {
    let run = std::process::id();
    let publisher = Client::connect(target, &format!("load-{run}-pub-{pair}")).await?;
    let mut subscriber = Client::connect(target, &format!("load-{run}-sub-{pair}")).await?;
    subscriber.subscribe(&topic_of(pair), qos).await?;
    Ok((publisher, subscriber))
}

fn topic_of(pair: usize) -> String {
    format!("load/pairs/{pair}/data")
}

fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?)
}

fn start_pair(
    tasks: &mut JoinSet<anyhow::Result<Histogram<u64>>>,
    run: &Arc<Run>,
    options: &PairsOptions,
    qos: Qos,
    pair: usize,
    publisher: Client,
    subscriber: Client,
) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(options.window));
    let topic = TopicName::try_from(topic_of(pair).as_str())?;
    let Client {
        receiver: answers,
        sender,
    } = publisher;
    let publish = Publish {
        run: Arc::clone(run),
        room: Arc::clone(&room),
        sender,
        topic,
        qos,
        payload_bytes: options.payload_bytes,
    };
    tasks.spawn(publish.run());
    tasks.spawn(drain(Arc::clone(run), answers));
    let subscribe = Subscribe {
        run: Arc::clone(run),
        room,
        client: subscriber,
    };
    tasks.spawn(subscribe.run());
    Ok(())
}

/// The publisher's answers: read and thrown away.
async fn drain(run: Arc<Run>, mut answers: Receiver) -> anyhow::Result<Histogram<u64>> {
    loop {
        while answers.buffered()?.is_some() {}
        tokio::select! {
            () = run.end.notified() => return new_histogram(),
            more = answers.fill() => if !more? { return new_histogram() },
        }
        if run.is_over() {
            return new_histogram();
        }
    }
}

struct Publish {
    run: Arc<Run>,
    room: Arc<Semaphore>,
    sender: OwnedWriteHalf,
    topic: TopicName,
    qos: Qos,
    payload_bytes: usize,
}

impl Publish {
    async fn run(mut self) -> anyhow::Result<Histogram<u64>> {
        let mut out = BytesMut::with_capacity(65_536);
        let mut next_id: u16 = 0;
        while !self.run.is_over() {
            let mut batch = tokio::select! {
                permit = self.room.acquire() => { permit?.forget(); 1 }
                () = self.run.end.notified() => break,
            };
            while let Ok(permit) = self.room.try_acquire() {
                permit.forget();
                batch += 1;
            }
            for _ in 0..batch {
                next_id = next_id.checked_add(1).unwrap_or(1);
                self.write(&mut out, next_id)?;
            }
            self.sender.write_all_buf(&mut out).await?;
        }
        new_histogram()
    }

    fn write(&self, out: &mut BytesMut, id: u16) -> anyhow::Result<()> {
        let mut payload = vec![b'x'; self.payload_bytes];
        let sent = u64::try_from(self.run.begin.elapsed().as_nanos())?;
        payload[..8].copy_from_slice(&sent.to_be_bytes());
        let message = Message::new(self.topic.clone(), Bytes::from(payload));
        let header = PublishHeader {
            qos: self.qos,
            packet_id: (self.qos > Qos::AtMostOnce)
                .then_some(PacketId::new(id))
                .flatten(),
            ..PublishHeader::default()
        };
        encode_publish(out, VERSION, &message, &header)?;
        Ok(())
    }
}

struct Subscribe {
    run: Arc<Run>,
    room: Arc<Semaphore>,
    client: Client,
}

impl Subscribe {
    async fn run(mut self) -> anyhow::Result<Histogram<u64>> {
        let mut latency = new_histogram()?;
        let mut acks = BytesMut::new();
        while !self.run.is_over() {
            let mut received = 0;
            while let Some(packet) = self.client.receiver.buffered()? {
                received += self.take(&packet, &mut latency, &mut acks)?;
            }
            if received > 0 {
                self.run
                    .received
                    .fetch_add(received as u64, Ordering::Relaxed);
                self.room.add_permits(received);
            }
            if !acks.is_empty() {
                self.client.sender.write_all_buf(&mut acks).await?;
            }
            tokio::select! {
                more = self.client.receiver.fill() => ensure!(more?, "the broker closed"),
                () = self.run.end.notified() => break,
            }
        }
        Ok(latency)
    }

    fn take(
        &self,
        packet: &Packet,
        latency: &mut Histogram<u64>,
        acks: &mut BytesMut,
    ) -> anyhow::Result<usize> {
        let Packet::Publish(publish) = packet else {
            return Ok(0);
        };
        let now = self.run.begin.elapsed();
        let sent = publish
            .payload
            .first_chunk()
            .context("a payload of less than 8 bytes")?;
        let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
        if sent >= self.run.measure_after {
            let took = now.saturating_sub(sent).as_micros();
            latency.saturating_record(u64::try_from(took)?.max(1));
        }
        if let Some(id) = publish.packet_id {
            encode(&Packet::PubAck(Ack::new(id)), VERSION, acks)?;
        }
        Ok(1)
    }
}
