//! Retained messages: what is stored, what is sent on subscribing, what RETAIN says.

use tessera_mqtt::{Packet, ProtocolVersion, Qos, ReasonCode, RetainHandling, SubscriptionOptions};

use crate::client::{Device, Hello, message};
use crate::harness::{ACME, Harness};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;

async fn publisher(harness: &Harness, version: ProtocolVersion) -> Device {
    let hello = Hello {
        version,
        ..Hello::new(ACME, "publisher")
    };
    harness.connected(&hello).await
}

/// What a new subscriber finds, by topic.
async fn found(harness: &Harness, filter: &str) -> Vec<(String, String)> {
    let mut late = harness.connected(&Hello::new(ACME, "late")).await;
    late.subscribe(filter, QOS1).await;
    let mut found = Vec::new();
    late.send(&Packet::PingReq).await;
    while let Packet::Publish(publish) = late.next().await {
        assert!(publish.retain);
        let name = publish.topic.name().unwrap().as_str().to_owned();
        found.push((name, String::from_utf8(publish.payload.to_vec()).unwrap()));
    }
    late.farewell().await;
    found.sort();
    found
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_1_5_and_6_and_7_and_v3_mqtt_3_3_1_5_and_6_and_8_and_10_and_11_retain_stores_replaces_and_clears()
 {
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        publisher.retain("lamp/1", "on").await;
        publisher.retain("lamp/2", "off").await;
        publisher.retain("lamp/1", "dim").await;
        let mut subscriber = harness.connected(&hello).await;
        subscriber.subscribe("lamp/+", QOS1).await;
        let mut got = [subscriber.receive().await, subscriber.receive().await];
        assert!(got.iter().all(|publish| publish.retain));
        got.sort_by(|a, b| a.payload.cmp(&b.payload));
        assert_eq!([&got[0].payload[..], &got[1].payload[..]], [b"dim", b"off"]);
        // Empty: passed on as any other, and not stored.
        publisher.retain("lamp/1", "").await;
        let clearing = subscriber.receive().await;
        assert!(clearing.payload.is_empty() && !clearing.retain);
        assert_eq!(found(&harness, "#").await, pairs(&[("lamp/2", "off")]));
        let harness = harness.restart().await;
        assert_eq!(found(&harness, "#").await, pairs(&[("lamp/2", "off")]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_1_8_and_v3_mqtt_3_3_1_12_a_message_without_retain_touches_nothing_that_is_retained()
 {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, version).await;
        publisher.retain("lamp/1", "on").await;
        publisher.publish_acknowledged("lamp/1", "live").await;
        publisher.publish_acknowledged("lamp/1", "").await;
        publisher.publish_acknowledged("lamp/2", "live").await;
        assert_eq!(found(&harness, "lamp/#").await, pairs(&[("lamp/1", "on")]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_7_a_retained_message_of_qos_0_takes_the_place_of_another() {
    let harness = Harness::start().await;
    let mut publisher = publisher(&harness, ProtocolVersion::V311).await;
    publisher.retain("lamp", "old").await;
    let mut new = message("lamp", "new", QOS0);
    new.retain = true;
    publisher.publish_message(new).await;
    publisher.subscribe("lamp", QOS1).await;
    assert_eq!(publisher.receive_payload().await, "new");
    assert_eq!(found(&harness, "lamp").await, pairs(&[("lamp", "new")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_7_a_retained_message_outlives_the_session_that_published_it() {
    let harness = Harness::start().await;
    let mut publisher = publisher(&harness, ProtocolVersion::V311).await;
    publisher.retain("lamp", "on").await;
    publisher.farewell().await;
    assert_eq!(found(&harness, "lamp").await, pairs(&[("lamp", "on")]));
}

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions {
        retain_handling,
        ..SubscriptionOptions::new(QOS1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_1_9_and_10_and_11_retain_handling_says_when_retained_messages_come() {
    for hello in [Hello::new(ACME, "s"), Hello::persistent(ACME, "s")] {
        let harness = Harness::start().await;
        publisher(&harness, ProtocolVersion::V5)
            .await
            .retain("lamp", "on")
            .await;
        let mut subscriber = harness.connected(&hello).await;
        let steps = [
            (RetainHandling::DoNotSend, false),
            (RetainHandling::SendIfNew, false),
            (RetainHandling::Send, true),
            (RetainHandling::Send, true),
            (RetainHandling::SendIfNew, false),
        ];
        for (step, (how, comes)) in steps.into_iter().enumerate() {
            subscriber.subscribe_with("lamp", handling(how), None).await;
            if comes {
                assert!(subscriber.receive().await.retain, "step {step}");
            }
            subscriber.expect_nothing().await;
        }
        assert_eq!(
            subscriber.unsubscribe("lamp").await,
            [ReasonCode::Success],
            "the subscription was there all the time"
        );
        let new = handling(RetainHandling::SendIfNew);
        subscriber.subscribe_with("lamp", new, None).await;
        assert!(subscriber.receive().await.retain);
        subscriber.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_1_12_and_13_retain_stays_on_a_live_message_only_where_it_was_asked_for() {
    for hello in [Hello::new(ACME, "s"), Hello::persistent(ACME, "s")] {
        for (qos, kept) in [(QOS0, false), (QOS0, true), (QOS1, false), (QOS1, true)] {
            let harness = Harness::start().await;
            let mut subscriber = harness.connected(&hello).await;
            let options = SubscriptionOptions {
                retain_as_published: kept,
                ..SubscriptionOptions::new(qos)
            };
            subscriber.subscribe_with("lamp", options, None).await;
            let mut publisher = publisher(&harness, ProtocolVersion::V5).await;
            publisher.retain("lamp", "on").await;
            assert_eq!(subscriber.receive().await.retain, kept);
            publisher.publish_acknowledged("lamp", "live").await;
            assert!(!subscriber.receive().await.retain, "published without it");
            assert_eq!(found(&harness, "#").await, pairs(&[("lamp", "on")]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_9_a_live_message_comes_without_retain() {
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut subscriber = harness.connected(&hello).await;
        subscriber.subscribe("lamp", QOS1).await;
        let mut publisher = publisher(&harness, hello.version).await;
        publisher.retain("lamp", "on").await;
        assert!(!subscriber.receive().await.retain);
        subscriber.expect_nothing().await;
    }
}
