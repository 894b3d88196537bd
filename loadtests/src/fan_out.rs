//! What one message to many inboxes costs on disk: bytes that the process writes, log and state
//! together, for each message and receiver.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use tessera_inbox::{
    AttachRequest, Inbox, InboxOptions, InsertOutcome, InsertRequest, LiveGrant, OverflowPolicy,
    Owner, QueueBounds, SessionKind, SessionRef, Target, WillEnd,
};
use tessera_mqtt::{ClientId, Message, Qos, TopicName};
use tessera_shard::{Engine, EngineOptions};
use tessera_tenancy::{ClusterId, Incarnation, NodeId, PrincipalId, TenantId};

/// How wide, how often, how large.
#[derive(Debug, Args)]
pub(crate) struct FanOutOptions {
    /// Inboxes that each message goes to, all of one shard.
    #[arg(long, default_value_t = 1_000)]
    receivers: usize,
    /// Messages, one after another.
    #[arg(long, default_value_t = 100)]
    messages: u64,
    /// Bytes of payload.
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// Messages on their way at once.
    #[arg(long, default_value_t = 1)]
    window: u64,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(crate) struct FanOut {
    scenario: &'static str,
    receivers: usize,
    messages: u64,
    payload: usize,
    window: u64,
    /// A copy of topic and payload for each receiver, written once: what storing it once saves.
    bytes_of_copies_per_message: u64,
    bytes_written_per_message: u64,
    bytes_written_per_receiver: f64,
    milliseconds_per_message: f64,
}

const TENANT: TenantId = TenantId::from_bytes([7; 16]);
const BOUNDS: QueueBounds = QueueBounds {
    messages_max: 100_000,
    bytes_max: 1 << 30,
    overflow: OverflowPolicy::DropOldest,
};

/// Nobody is connected: every message is queued.
struct Nobody;

impl Owner for Nobody {
    fn taken_over(&self) {}
    fn available(&self) {}
    fn deliver_live(&self, _message: &Message, _grant: &LiveGrant<'_>) {}
}

/// Runs in a folder of its own, which is gone afterwards.
pub(crate) async fn run(options: &FanOutOptions) -> anyhow::Result<FanOut> {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(EngineOptions::new(
        folder.path(),
        NodeId(1),
        ClusterId::from_bytes([1; 16]),
        Incarnation(1),
        Arc::new(unix_ms),
    ))?;
    let inbox = Inbox::open(&engine, InboxOptions { ranges: 1 }).await?;
    let targets = sessions(&inbox, options.receivers).await?;
    let topic = TopicName::try_from("plant/4/line/2/temperature")?;
    let body = topic.as_bytes().len() + options.payload;
    let message = Message {
        qos: Qos::AtLeastOnce,
        ..Message::new(topic, vec![b'x'; options.payload])
    };
    let request = InsertRequest {
        message: Arc::new(message),
        writer: PrincipalId::from_bytes([1; 16]),
        bounds: BOUNDS,
        origin: None,
        targets,
    };
    let (before, begun) = (bytes_written()?, Instant::now());
    let mut sent = 0;
    while sent < options.messages {
        let batch = options.window.max(1).min(options.messages - sent);
        let submit = |_| inbox.submit_insert(TENANT, &request);
        let pending: Vec<_> = (0..batch).map(submit).collect::<Result<_, _>>()?;
        for outcomes in pending {
            let stored = outcomes.await?;
            ensure!(
                stored
                    .iter()
                    .all(|outcome| *outcome == InsertOutcome::Stored),
                "not stored in every queue"
            );
        }
        sent += batch;
    }
    let (elapsed, written) = (begun.elapsed(), bytes_written()? - before);
    drop(inbox);
    engine.shutdown().await;
    let per_message = written / options.messages.max(1);
    Ok(FanOut {
        scenario: "fan-out",
        receivers: options.receivers,
        messages: options.messages,
        payload: options.payload,
        window: options.window,
        bytes_of_copies_per_message: u64::try_from(body * options.receivers)?,
        bytes_written_per_message: per_message,
        bytes_written_per_receiver: per_message as f64 / options.receivers as f64,
        milliseconds_per_message: elapsed.as_secs_f64() * 1e3 / options.messages as f64,
    })
}

/// Offline sessions, and the target that each of them is.
async fn sessions(inbox: &Inbox, count: usize) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::with_capacity(count);
    for number in 0..count {
        let client = ClientId::try_from(&*format!("receiver-{number:06}"))?;
        let attached = inbox.attach(attach(&client)).await?;
        let session: SessionRef = attached.session;
        targets.push(Target {
            client,
            incarnation: session.incarnation,
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: [].into_iter().collect(),
        });
        inbox.detach(&session, None, WillEnd::Dropped).await?;
    }
    Ok(targets)
}

fn attach(client: &ClientId) -> AttachRequest {
    AttachRequest {
        tenant: TENANT,
        client: client.clone(),
        principal: PrincipalId::from_bytes([2; 16]),
        clean_start: true,
        kind: SessionKind::Persistent {
            expiry_seconds: 3_600,
        },
        owner: Arc::new(Nobody),
        will: None,
    }
}

/// Bytes that this process has given to the system to write, by `/proc/self/io`.
fn bytes_written() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.context("/proc/self/io has no wchar")?.parse()?)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
