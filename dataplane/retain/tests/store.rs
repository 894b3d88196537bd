//! The store over a real engine in a temporary folder.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tessera_mqtt::{Message, Qos, TopicFilter, TopicName};
use tessera_retain::{
    PutError, PutOutcome, PutRequest, Retain, RetainBounds, RetainOptions, TenantFigures,
};
use tessera_shard::{Capacity, DiskState, Engine, EngineOptions, ProposeError};
use tessera_tenancy::{ClusterId, Incarnation, NodeId, PrincipalId, TenantId};

const WRITER: PrincipalId = PrincipalId::from_bytes([0x22; 16]);

/// A folder and its process, which may end and start again.
struct Node {
    folder: tempfile::TempDir,
    lives: u64,
    clock_ms: Arc<AtomicU64>,
    capacity: Capacity,
    running: Option<(Engine, Retain)>,
}

impl Node {
    async fn start() -> Self {
        Self::start_on(Capacity::Measured).await
    }

    async fn start_on(capacity: Capacity) -> Self {
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
    async fn restart(&mut self) {
        let (engine, retain) = self.running.take().unwrap();
        drop(retain);
        engine.shutdown().await;
        drop(engine);
        self.open().await;
    }

    async fn open(&mut self) {
        self.lives += 1;
        let clock_ms = Arc::clone(&self.clock_ms);
        let mut options = EngineOptions::new(
            self.folder.path(),
            NodeId(1),
            ClusterId::from_bytes([1; 16]),
            Incarnation(self.lives),
            Arc::new(move || clock_ms.load(Ordering::Relaxed)),
        );
        options.capacity = self.capacity;
        if self.capacity != Capacity::Measured {
            // The log counts too until it is purged.
            options.checkpoint_interval = Duration::from_millis(200);
        }
        let engine = Engine::open(options).unwrap();
        let retain = Retain::open(&engine, RetainOptions { ranges: 2 })
            .await
            .unwrap();
        self.running = Some((engine, retain));
    }

    fn retain(&self) -> &Retain {
        &self.running.as_ref().unwrap().1
    }

    fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    async fn put(&self, whose: TenantId, topic: &str, payload: &str) -> PutOutcome {
        self.put_for(whose, topic, payload, None).await
    }

    async fn put_for(
        &self,
        whose: TenantId,
        topic: &str,
        payload: &str,
        expiry_seconds: Option<u32>,
    ) -> PutOutcome {
        let request = request(topic, payload, expiry_seconds);
        self.retain()
            .submit_put(whose, &request)
            .unwrap()
            .await
            .unwrap()
    }

    /// Topics and payloads that a filter matches.
    fn matching(&self, whose: TenantId, filter: &str) -> Vec<(String, String)> {
        let filter = TopicFilter::try_from(filter).unwrap();
        let page = self
            .retain()
            .matching(whose, &filter, None, 100, self.now_ms())
            .unwrap();
        assert!(page.next.is_none());
        let text = |message: &Message| String::from_utf8(message.payload.to_vec()).unwrap();
        let found = page.messages.iter();
        found
            .map(|it| (it.message.topic.to_string(), text(&it.message)))
            .collect()
    }
}

fn request(topic: &str, payload: &str, expiry_seconds: Option<u32>) -> PutRequest {
    let message = Message {
        qos: Qos::AtLeastOnce,
        retain: true,
        expiry_seconds,
        ..Message::new(TopicName::try_from(topic).unwrap(), payload.to_owned())
    };
    PutRequest {
        message: Arc::new(message),
        writer: WRITER,
        bounds: RetainBounds::default(),
    }
}

fn tenant(byte: u8) -> TenantId {
    TenantId::from_bytes([byte; 16])
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(topic, payload)| ((*topic).into(), (*payload).into()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_survive_and_cleared_ones_do_not() {
    let mut node = Node::start().await;
    let a = tenant(1);
    assert_eq!(
        node.put(a, "s/1", "old").await,
        PutOutcome::Stored { replaced: false }
    );
    assert_eq!(
        node.put(a, "s/1", "new").await,
        PutOutcome::Stored { replaced: true }
    );
    node.put(a, "s/2", "cleared").await;
    assert_eq!(
        node.put(a, "s/2", "").await,
        PutOutcome::Cleared { existed: true }
    );
    node.put(a, "other", "x").await;
    node.restart().await;
    assert_eq!(node.matching(a, "s/#"), pairs(&[("s/1", "new")]));
    let topic = TopicName::try_from("s/1").unwrap();
    let found = node
        .retain()
        .get(a, &topic, node.now_ms())
        .unwrap()
        .unwrap();
    assert_eq!((found.writer, found.stored_at_ms), (WRITER, 1_000_000));
    assert_eq!(
        (found.message.qos, found.message.retain),
        (Qos::AtLeastOnce, true)
    );
    assert_eq!(node.retain().figures(a).unwrap().messages, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_the_same_topics_never_see_each_other() {
    let mut node = Node::start().await;
    let tenants = [tenant(1), tenant(2), tenant(0xF0)];
    for (at, whose) in tenants.into_iter().enumerate() {
        node.put(whose, "same", &at.to_string()).await;
    }
    node.restart().await;
    node.put(tenants[0], "same", "").await;
    assert!(node.matching(tenants[0], "#").is_empty());
    assert_eq!(node.matching(tenants[1], "#"), pairs(&[("same", "1")]));
    assert_eq!(node.matching(tenants[2], "+"), pairs(&[("same", "2")]));
    assert_eq!(
        node.retain().figures(tenants[0]).unwrap(),
        TenantFigures::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_messages_are_hidden_and_then_removed() {
    let mut node = Node::start().await;
    for whose in 1..=3 {
        assert_eq!(
            node.put_for(tenant(whose), "short", "x", Some(1)).await,
            PutOutcome::Stored { replaced: false }
        );
        node.put(tenant(whose), "long", "x").await;
    }
    node.restart().await;
    node.clock_ms.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(node.matching(tenant(1), "#"), pairs(&[("long", "x")]));
    assert_eq!(node.retain().figures(tenant(1)).unwrap().messages, 2);
    let mut removed = 0;
    loop {
        let step = node.retain().expire(node.now_ms()).await.unwrap();
        removed += step.messages;
        if !step.more {
            break;
        }
    }
    assert_eq!(removed, 3);
    assert_eq!(node.retain().figures(tenant(1)).unwrap().messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_of_one_topic_take_effect_in_the_order_of_the_calls() {
    let node = Node::start().await;
    let mut waits = Vec::new();
    for at in 0..200 {
        let topic = TopicName::try_from("t").unwrap();
        let request = PutRequest {
            message: Arc::new(Message::new(topic, at.to_string())),
            writer: WRITER,
            bounds: RetainBounds::default(),
        };
        waits.push(node.retain().submit_put(tenant(1), &request).unwrap());
    }
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(node.matching(tenant(1), "t"), pairs(&[("t", "199")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_cleared_and_expire_though_the_disk_is_full_and_there_is_room_soon_after() {
    const EXPIRY_SECONDS: u32 = 60;
    let node = Node::start_on(Capacity::Bytes(6 << 20)).await;
    let payload = "x".repeat(20_000);
    let mut kept = 0;
    let refused = loop {
        // Every other one expires by itself.
        let expiry = (kept % 2 == 0).then_some(EXPIRY_SECONDS);
        let put = request(&kept.to_string(), &payload, expiry);
        match node.retain().submit_put(tenant(1), &put) {
            Ok(put) => drop(put.await.unwrap()),
            Err(error) => break error,
        }
        kept += 1;
    };
    assert_eq!(refused, PutError::Propose(ProposeError::DiskFull));
    let mut state = node.running.as_ref().unwrap().0.disk_state();
    assert_eq!(*state.borrow(), DiskState::Full);
    for topic in (1..kept).step_by(2) {
        node.put(tenant(1), &topic.to_string(), "").await;
    }
    let expiry_ms = u64::from(EXPIRY_SECONDS) * 1_000;
    node.clock_ms.fetch_add(expiry_ms + 1, Ordering::Relaxed);
    while node.retain().expire(node.now_ms()).await.unwrap().more {}
    assert_eq!(node.retain().figures(tenant(1)).unwrap().messages, 0);
    let roomy = state.wait_for(|state| *state == DiskState::Roomy);
    let waited = tokio::time::timeout(Duration::from_secs(10), roomy).await;
    assert!(waited.is_ok_and(|state| state.is_ok()));
    node.put(tenant(1), "t", &payload).await;
}
