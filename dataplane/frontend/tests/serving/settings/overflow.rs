//! What gives way when the queue of a persistent session is full.

use tessera_frontend::DropReason;
use tessera_mqtt::{Ack, Packet, Publish, Qos, ReasonCode};
use tessera_tenancy::QueueOverflow::{DropNewest, DropOldest, RefusePublisher};

use super::{overflowing, set};
use crate::client::{Device, Hello, id, message};
use crate::harness::{ACME, BETA, Harness, tenant_id};

/// A message of which a queue of 64 `MiB` holds [`FITTING`].
const LARGE: usize = 1_000_000;
const FITTING: usize = 67;
/// After which there is room for less than two of these.
const WILL: usize = 60_000;
const QOS2: Qos = Qos::ExactlyOnce;

/// A session with a subscription that nobody is connected to.
async fn away(harness: &Harness, tenant: u8, client: &'static str, filters: &[&str]) {
    let hello = Hello::persistent(tenant, client);
    let mut reader = harness.connected(&hello).await;
    for filter in filters {
        reader.subscribe(filter, QOS2).await;
    }
    reader.hang_up().await;
}

/// As many messages to `fill` as the queue of its reader holds.
async fn fill(publisher: &mut Device) {
    let large = "x".repeat(LARGE);
    for _ in 0..FITTING {
        let ack = publisher.publish_acknowledged("fill", &large).await;
        assert_eq!(ack.reason, ReasonCode::Success);
    }
}

/// Reads so many messages of an absent session, and is away again.
async fn drain(harness: &Harness, hello: &Hello, count: usize) -> Vec<Publish> {
    let mut reader = harness.connected(hello).await;
    let received = reader.receive_all(count).await;
    reader.expect_nothing().await;
    reader.hang_up().await;
    received
}

/// Sends one large message of QoS 2 and returns its PUBREC.
async fn publish_twice_assured(publisher: &mut Device, topic: &str, number: u16) -> Ack {
    publisher
        .publish(topic, &"y".repeat(LARGE), QOS2, number)
        .await;
    match publisher.next().await {
        Packet::PubRec(ack) => ack,
        other => panic!("PUBREC comes next, not {other:?}"),
    }
}

async fn release(publisher: &mut Device, number: u16) {
    publisher.send(&Packet::PubRel(Ack::new(id(number)))).await;
    assert!(matches!(publisher.next().await, Packet::PubComp(_)));
}

fn assert_refused(ack: &Ack) {
    assert_eq!(ack.reason, ReasonCode::QuotaExceeded);
    let text = ack.reason_string.as_ref().unwrap();
    assert_eq!(
        text.as_str(),
        "a receiver's queue is full: queue_bytes 67108864"
    );
    assert_eq!(ack.user_properties.get("limit"), Some("queue_bytes"));
    assert_eq!(ack.user_properties.get("value"), Some("67108864"));
}

fn dropped(harness: &Harness, tenant: u8) -> u64 {
    let live = harness.frontend.tenant_live(tenant_id(tenant)).unwrap();
    let mut dropped = live.dropped.into_iter();
    dropped
        .find(|(reason, _)| *reason == DropReason::QueueFull)
        .unwrap()
        .1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_or_the_newest_give_way_or_the_publisher_is_refused_until_there_is_room() {
    let harness = Harness::start().await.unhurried();
    away(&harness, ACME, "reader", &["fill", "more"]).await;
    away(&harness, ACME, "other", &["more"]).await;
    let mut publisher = harness.connected(&Hello::new(ACME, "publisher")).await;
    fill(&mut publisher).await;
    let large = |first: &str| first.to_owned() + &"z".repeat(LARGE - 1);

    set(&harness, ACME, overflowing(DropNewest));
    let newest = publisher.publish_acknowledged("more", &large("n")).await;
    assert_eq!(
        (newest.reason, dropped(&harness, ACME)),
        (ReasonCode::Success, 1)
    );

    set(&harness, ACME, overflowing(RefusePublisher));
    assert_refused(&publisher.publish_acknowledged("more", &large("r")).await);
    assert_eq!(dropped(&harness, ACME), 2);
    publisher
        .publish("more", "QoS 0 is not queued", Qos::AtMostOnce, 1)
        .await;
    publisher.expect_nothing().await;

    set(&harness, ACME, overflowing(DropOldest));
    let oldest = publisher.publish_acknowledged("more", &large("o")).await;
    assert_eq!(
        (oldest.reason, dropped(&harness, ACME)),
        (ReasonCode::Success, 3)
    );

    set(&harness, ACME, overflowing(RefusePublisher));
    let received = drain(&harness, &Hello::persistent(ACME, "reader"), FITTING).await;
    let firsts: Vec<u8> = received.iter().map(|publish| publish.payload[0]).collect();
    assert_eq!(firsts[..FITTING - 1], [b'x'; FITTING - 1]);
    assert_eq!(firsts[FITTING - 1], b'o');
    let taken = publisher.publish_acknowledged("more", &large("t")).await;
    assert_eq!(taken.reason, ReasonCode::Success, "there is room again");
    let received = drain(&harness, &Hello::persistent(ACME, "reader"), 1).await;
    assert_eq!(received[0].payload[0], b't');
    let received = drain(&harness, &Hello::persistent(ACME, "other"), 4).await;
    let firsts: Vec<u8> = received.iter().map(|publish| publish.payload[0]).collect();
    assert_eq!(firsts, b"nrot", "a queue with room has every one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_qos_2_publish_is_stored_nowhere_and_its_repeat_once() {
    let harness = Harness::start().await.unhurried();
    set(&harness, ACME, overflowing(RefusePublisher));
    away(&harness, ACME, "reader", &["fill", "more"]).await;
    away(&harness, ACME, "other", &["more"]).await;
    let hello = Hello::persistent(ACME, "publisher");
    let mut publisher = harness.connected(&hello).await;
    fill(&mut publisher).await;
    for _ in 0..2 {
        assert_refused(&publish_twice_assured(&mut publisher, "more", 5).await);
    }
    drain(&harness, &Hello::persistent(ACME, "reader"), FITTING).await;
    let taken = publish_twice_assured(&mut publisher, "more", 5).await;
    assert_eq!(taken.reason, ReasonCode::Success);
    release(&mut publisher, 5).await;
    for client in ["reader", "other"] {
        drain(&harness, &Hello::persistent(ACME, client), 1).await;
    }
}

/// The front part of a large fan-out has the message that the rest refused. The identifier is free
/// after the refusal: what comes under it next is another message.
#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_3_3_9_an_identifier_that_was_refused_means_a_new_message() {
    const READERS: usize = 245;
    let harness = Harness::start().await.unhurried();
    set(&harness, ACME, overflowing(RefusePublisher));
    for reader in 0..READERS {
        let client = format!("r{reader:03}").leak();
        away(&harness, ACME, client, &["more"]).await;
    }
    away(&harness, ACME, "s", &["fill", "more"]).await;
    let mut publisher = harness
        .connected(&Hello::persistent(ACME, "publisher"))
        .await;
    fill(&mut publisher).await;
    assert_refused(&publish_twice_assured(&mut publisher, "more", 5).await);
    drain(&harness, &Hello::persistent(ACME, "s"), FITTING).await;
    publisher.publish("more", "another", QOS2, 5).await;
    assert!(matches!(publisher.next().await, Packet::PubRec(ack) if !ack.reason.is_failure()));
    release(&mut publisher, 5).await;
    for (client, count) in [("r000", 2), ("r244", 1), ("s", 1)] {
        let received = drain(&harness, &Hello::persistent(ACME, client), count).await;
        assert_eq!(received.last().unwrap().payload, "another", "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_3_is_closed_and_its_repeat_is_stored_once() {
    let harness = Harness::start().await.unhurried();
    set(&harness, ACME, overflowing(RefusePublisher));
    away(&harness, ACME, "reader", &["fill", "more"]).await;
    away(&harness, ACME, "other", &["more"]).await;
    let mut filler = harness.connected(&Hello::new(ACME, "filler")).await;
    fill(&mut filler).await;
    let [v311, _] = Hello::of_every_kept_kind(ACME, "publisher");
    for qos in [Qos::AtLeastOnce, QOS2] {
        let mut publisher = harness.connected(&v311).await;
        publisher.publish("more", &"y".repeat(LARGE), qos, 5).await;
        assert!(
            publisher.next_or_end().await.is_none(),
            "closed, not acknowledged"
        );
    }
    drain(&harness, &Hello::persistent(ACME, "reader"), FITTING).await;
    let mut publisher = harness.connected(&v311).await;
    let mut again = Publish::new(message("more", &"y".repeat(LARGE), QOS2), Some(id(5)));
    again.dup = true;
    publisher.send(&Packet::Publish(again)).await;
    assert!(matches!(publisher.next().await, Packet::PubRec(_)));
    release(&mut publisher, 5).await;
    drain(&harness, &Hello::persistent(ACME, "reader"), 1).await;
    // Once of QoS 1, which had room here, and once of QoS 2.
    drain(&harness, &Hello::persistent(ACME, "other"), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_and_a_will_are_not_refused() {
    let harness = Harness::start().await.unhurried();
    set(&harness, BETA, overflowing(DropOldest));
    set(&harness, ACME, overflowing(RefusePublisher));
    for tenant in [ACME, BETA] {
        away(&harness, tenant, "reader", &["fill", "left"]).await;
        let mut publisher = harness.connected(&Hello::new(tenant, "publisher")).await;
        fill(&mut publisher).await;
        let ack = publisher
            .publish_acknowledged("fill", &"x".repeat(LARGE))
            .await;
        assert_eq!(ack.reason == ReasonCode::QuotaExceeded, tenant == ACME);
        assert_eq!(dropped(&harness, tenant), 1);
        // What is left has room for one will, not for two.
        let ack = publisher
            .publish_acknowledged("fill", &"w".repeat(WILL))
            .await;
        assert_eq!(ack.reason, ReasonCode::Success);
    }
    // A will has nobody to be refused: the full queue drops it, and others have it.
    away(&harness, ACME, "other", &["left"]).await;
    let mut watcher = harness.watcher().await;
    let mut dying = harness.device().await;
    let hello = Hello::new(ACME, "dying").watched();
    let answer = dying.hello_with(&hello, |connect| {
        let will = connect.will.as_mut().unwrap();
        will.message.qos = Qos::AtLeastOnce;
        will.message.payload = "w".repeat(WILL).into();
    });
    assert_eq!(answer.await.reason, ReasonCode::Success);
    dying.hang_up().await;
    assert_eq!(watcher.receive_payload().await.len(), WILL);
    drain(&harness, &Hello::persistent(ACME, "other"), 1).await;
    assert_eq!(dropped(&harness, ACME), 2);
}
