//! A node of one process life after another, and a connection that notes what it is told.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tessera_inbox::{
    AttachRequest, Attached, Inbox, InboxOptions, InsertOutcome, InsertRequest, LiveGrant, Owner,
    PublishOrigin, QueueBounds, SessionIncarnation, SessionKind, SessionRef, Target,
};
use tessera_mqtt::{ClientId, FilterSpec, Message, PacketId, Qos, TopicName, Will};
use tessera_shard::{Capacity, DiskState, Engine, EngineOptions};
use tessera_tenancy::{ClusterId, Incarnation, NodeId, PrincipalId, TenantId};
use tokio::sync::{Notify, watch};

pub(crate) const OWN: PrincipalId = PrincipalId::from_bytes([0x11; 16]);
pub(crate) const OTHER: PrincipalId = PrincipalId::from_bytes([0x12; 16]);
pub(crate) const HOUR: SessionKind = SessionKind::Persistent {
    expiry_seconds: 3_600,
};

/// A folder and its process, which may end and start again.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    lives: u64,
    clock_ms: Arc<AtomicU64>,
    capacity: Capacity,
    running: Option<(Engine, Inbox)>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_on(Capacity::Measured).await
    }

    pub(crate) async fn start_on(capacity: Capacity) -> Self {
        let mut node = Self {
            folder: tempfile::tempdir().unwrap(),
            lives: 0,
            clock_ms: Arc::new(AtomicU64::new(1_000_000)),
            capacity,
            running: None,
        };
        node.open().await;
        node
    }

    /// Ends the process in order and starts the next one.
    pub(crate) async fn restart(&mut self) {
        let (engine, inbox) = self.running.take().unwrap();
        drop(inbox);
        engine.shutdown().await;
        drop(engine);
        self.open().await;
    }

    async fn open(&mut self) {
        self.lives += 1;
        let clock = Arc::clone(&self.clock_ms);
        let mut options = engine_options(self.folder.path(), self.lives, clock);
        options.capacity = self.capacity;
        if self.capacity != Capacity::Measured {
            // The log counts too until it is purged.
            options.checkpoint_interval = Duration::from_millis(200);
        }
        let engine = Engine::open(options).unwrap();
        let inbox = Inbox::open(&engine, InboxOptions { ranges: 2 })
            .await
            .unwrap();
        self.running = Some((engine, inbox));
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.running.as_ref().unwrap().1
    }

    pub(crate) fn disk_state(&self) -> watch::Receiver<DiskState> {
        self.running.as_ref().unwrap().0.disk_state()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn wait(&self, ms: u64) {
        self.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) async fn attach(
        &self,
        whose: TenantId,
        client: &str,
        kind: SessionKind,
    ) -> Connection {
        self.connect(whose, client, kind, false).await
    }

    pub(crate) async fn connect(
        &self,
        whose: TenantId,
        client: &str,
        kind: SessionKind,
        clean_start: bool,
    ) -> Connection {
        let told = Arc::new(Told::default());
        let request = request(whose, client, OWN, kind, clean_start, &told);
        let attached = self.inbox().attach(request).await.unwrap();
        Connection { attached, told }
    }

    pub(crate) async fn attach_with_will(
        &self,
        whose: TenantId,
        client: &str,
        kind: SessionKind,
        payload: &str,
    ) -> Connection {
        let told = Arc::new(Told::default());
        let topic = TopicName::try_from("gone").unwrap();
        let will = Will {
            message: Message::new(topic, payload.to_owned()),
            delay_seconds: 0,
        };
        let request = AttachRequest {
            will: Some(Box::new(will)),
            ..request(whose, client, OWN, kind, false, &told)
        };
        let attached = self.inbox().attach(request).await.unwrap();
        Connection { attached, told }
    }

    /// Payloads of the tenant's wills that are due, each forgotten.
    pub(crate) async fn due_wills(&self, whose: TenantId) -> Vec<String> {
        let due = self.inbox().due_wills(whose, self.now_ms(), 10).unwrap();
        let mut payloads = Vec::new();
        for will in due {
            self.inbox().forget_will(&will).await.unwrap();
            payloads.push(String::from_utf8(will.message.payload.to_vec()).unwrap());
        }
        payloads
    }

    pub(crate) async fn insert(&self, to: &SessionRef, payload: &str) -> InsertOutcome {
        let request = insert_request(payload, vec![target(to, Qos::AtLeastOnce)]);
        self.inbox()
            .submit_insert(to.tenant, &request)
            .unwrap()
            .await
            .unwrap()[0]
    }

    pub(crate) async fn subscribe(&self, session: &SessionRef, text: &str) {
        let inbox = self.inbox();
        let options = tessera_mqtt::SubscriptionOptions::new(Qos::AtLeastOnce);
        inbox
            .subscribe(session, &filter(text), options, None)
            .await
            .unwrap();
        inbox.confirm(session, &filter(text)).await.unwrap();
    }

    /// Payloads in the queue from the first that is not acknowledged.
    pub(crate) fn payloads(&self, connection: &Connection) -> Vec<String> {
        let session = &connection.attached.session;
        let from = connection.attached.cursor;
        let fetched = self
            .inbox()
            .fetch(session, from, 1_000, 1 << 20, self.now_ms())
            .unwrap();
        let payload = |message: &Message| String::from_utf8(message.payload.to_vec()).unwrap();
        fetched
            .messages
            .iter()
            .map(|queued| payload(&queued.message))
            .collect()
    }

    /// A whole round of expiry: how many sessions ended, and how many routes they had.
    pub(crate) async fn expire(&self) -> (usize, usize) {
        let (mut sessions, mut routes) = (0, 0);
        loop {
            let expired = self.inbox().expire(self.now_ms()).await.unwrap();
            sessions += expired.sessions;
            routes += expired.discarded.len();
            if !expired.more {
                return (sessions, routes);
            }
        }
    }
}

fn engine_options(folder: &Path, life: u64, clock_ms: Arc<AtomicU64>) -> EngineOptions {
    EngineOptions::new(
        folder,
        NodeId(1),
        ClusterId::from_bytes([1; 16]),
        Incarnation(life),
        Arc::new(move || clock_ms.load(Ordering::Relaxed)),
    )
}

/// A session and what its owner was told.
pub(crate) struct Connection {
    pub(crate) attached: Attached,
    pub(crate) told: Arc<Told>,
}

impl Connection {
    pub(crate) fn session(&self) -> &SessionRef {
        &self.attached.session
    }
}

#[derive(Default)]
pub(crate) struct Told {
    taken_over: AtomicBool,
    available: Notify,
    wakes: AtomicUsize,
    live: Mutex<Vec<Message>>,
}

impl Told {
    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::SeqCst)
    }

    pub(crate) async fn available(&self) {
        self.available.notified().await;
    }

    pub(crate) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    pub(crate) fn live(&self) -> usize {
        self.live.lock().len()
    }
}

impl Owner for Told {
    fn taken_over(&self) {
        self.taken_over.store(true, Ordering::SeqCst);
    }

    fn available(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.available.notify_one();
    }

    fn deliver_live(&self, message: &Message, _: &LiveGrant<'_>) {
        self.live.lock().push(message.clone());
    }
}

pub(crate) fn request(
    tenant: TenantId,
    client: &str,
    principal: PrincipalId,
    kind: SessionKind,
    clean_start: bool,
    told: &Arc<Told>,
) -> AttachRequest {
    AttachRequest {
        tenant,
        client: ClientId::try_from(client).unwrap(),
        principal,
        clean_start,
        kind,
        owner: Arc::clone(told) as Arc<dyn Owner>,
        will: None,
    }
}

pub(crate) fn insert_request(payload: &str, targets: Vec<Target>) -> InsertRequest {
    let topic = TopicName::try_from("t").unwrap();
    InsertRequest {
        message: Arc::new(Message {
            qos: Qos::ExactlyOnce,
            ..Message::new(topic, payload.to_owned())
        }),
        writer: OWN,
        bounds: QueueBounds::default(),
        origin: None::<PublishOrigin>,
        targets,
    }
}

pub(crate) fn target(to: &SessionRef, qos: Qos) -> Target {
    target_of(&to.client, to.incarnation, qos)
}

pub(crate) fn target_of(client: &ClientId, incarnation: SessionIncarnation, qos: Qos) -> Target {
    Target {
        client: client.clone(),
        incarnation,
        qos,
        retain: false,
        subscription_ids: [].into_iter().collect(),
    }
}

pub(crate) fn tenant(byte: u8) -> TenantId {
    TenantId::from_bytes([byte; 16])
}

pub(crate) fn filter(text: &str) -> FilterSpec {
    FilterSpec::try_from(text).unwrap()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}
