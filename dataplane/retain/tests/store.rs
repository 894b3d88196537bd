//! The store over a real engine in a temporary folder.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tessera_mqtt::{Message, Qos, TopicFilter, TopicName};
use tessera_retain::{PutOutcome, PutRequest, Retain, RetainBounds, RetainOptions, TenantFigures};
use tessera_shard::{Engine, EngineOptions};
use tessera_tenancy::{ClusterId, Incarnation, NodeId, PrincipalId, TenantId};

const WRITER: PrincipalId = PrincipalId::from_bytes([0x22; 16]);

/// A folder and its process, which may end and start again.
struct Node {
    folder: tempfile::TempDir,
    lives: u64,
    clock_ms: Arc<AtomicU64>,
    running: Option<(Engine, Retain)>,
}

impl Node {
    async fn start() -> Self {
        let mut node = Self {
            folder: tempfile::tempdir().unwrap(),
            lives: 0,
            clock_ms: Arc::new(AtomicU64::new(1_000_000)),
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
        let engine = Engine::open(EngineOptions::new(
            self.folder.path(),
            NodeId(1),
            ClusterId::from_bytes([1; 16]),
            Incarnation(self.lives),
            Arc::new(move || clock_ms.load(Ordering::Relaxed)),
        ));
        let engine = engine.unwrap();
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
        let message = Message {
            qos: Qos::AtLeastOnce,
            retain: true,
            expiry_seconds,
            ..Message::new(TopicName::try_from(topic).unwrap(), payload.to_owned())
        };
        let request = PutRequest {
            message: Arc::new(message),
            writer: WRITER,
            bounds: RetainBounds::default(),
        };
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
