//! What a subscription makes of messages: which match, at which QoS, in which order, with what.

use tessera_mqtt::{
    Ack, ForwardedProperties, ForwardedProperty, Packet, PayloadFormat, ProtocolVersion, Publish,
    Qos, ReasonCode, SubscriptionId, SubscriptionOptions,
};

use crate::client::{Device, Hello, id, message, subscription};
use crate::harness::{ACME, Harness};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;
const ALL: [Qos; 3] = [QOS0, QOS1, QOS2];

async fn publisher(harness: &Harness, version: ProtocolVersion) -> Device {
    let hello = Hello {
        version,
        ..Hello::new(ACME, "publisher")
    };
    harness.connected(&hello).await
}

/// A version 5 session of each kind.
fn each_home(client: &'static str) -> [Hello; 2] {
    [Hello::new(ACME, client), Hello::persistent(ACME, client)]
}

fn payloads(publishes: &[Publish]) -> Vec<String> {
    let publishes = publishes.iter();
    publishes
        .map(|publish| String::from_utf8(publish.payload.to_vec()).unwrap())
        .collect()
}

fn numbers(publish: &Publish) -> Vec<u32> {
    let mut numbers: Vec<u32> = publish.subscription_ids.iter().map(|id| id.get()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_8_4_8_and_v3_mqtt_3_8_4_6_the_lesser_of_published_and_granted_qos_is_delivered()
{
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        let mut subscriber = harness.connected(&hello).await;
        for granted in ALL {
            let code = subscriber.subscribe("t", granted).await;
            assert_eq!(code, [ReasonCode::granted(granted)]);
            for published in ALL {
                publisher
                    .publish_message(message("t", "x", published))
                    .await;
                let publish = subscriber.receive_all(1).await.remove(0);
                assert_eq!(publish.qos, published.min(granted));
            }
        }
        subscriber.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_8_3_3_no_local_brings_nothing_back_to_the_client_that_published_it() {
    for hello in each_home("both") {
        for qos in [QOS0, QOS1] {
            let harness = Harness::start().await;
            let mut device = harness.connected(&hello).await;
            let options = SubscriptionOptions {
                no_local: true,
                ..SubscriptionOptions::new(qos)
            };
            device.subscribe_with("t", options, None).await;
            device.publish_message(message("t", "own", qos)).await;
            device.expect_nothing().await;
            let mut other = publisher(&harness, ProtocolVersion::V5).await;
            other.publish_message(message("t", "foreign", qos)).await;
            assert_eq!(device.receive_payload().await, "foreign");
            if hello.expiry == 0 {
                continue;
            }
            // On another connection it is the same client.
            device.hang_up().await;
            let mut back = harness.connected(&hello).await;
            back.publish_message(message("t", "own", qos)).await;
            back.expect_nothing().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_8_4_3_and_4_and_v3_mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription()
{
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        publisher.retain("t", "retained").await;
        let mut subscriber = harness.connected(&hello).await;
        for granted in [QOS1, QOS0, QOS2, QOS1] {
            subscriber.subscribe("t", granted).await;
            let retained = subscriber.receive_all(1).await.remove(0);
            assert!(retained.retain, "sent again each time");
            assert_eq!(retained.qos, QOS1.min(granted));
            publisher.publish_message(message("t", "x", QOS1)).await;
            let publish = subscriber.receive_all(1).await.remove(0);
            assert_eq!(publish.qos, QOS1.min(granted), "the last one counts");
            subscriber.expect_nothing().await;
        }
        subscriber.unsubscribe("t").await;
        publisher.publish_message(message("t", "x", QOS1)).await;
        subscriber.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_8_4_4_and_v3_mqtt_3_8_4_3_no_message_is_lost_while_a_subscription_is_replaced() {
    const MESSAGES: u16 = 50;
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await.unhurried();
        let mut publisher = publisher(&harness, hello.version).await;
        let mut subscriber = harness.connected(&hello).await;
        subscriber.subscribe("t", QOS1).await;
        let sending = tokio::spawn(async move {
            for number in 1..=MESSAGES {
                publisher
                    .publish_acknowledged("t", &number.to_string())
                    .await;
            }
        });
        let again = subscription("t", SubscriptionOptions::new(QOS1), None);
        subscriber.send(&again).await;
        let mut received = Vec::new();
        while received.len() < usize::from(MESSAGES) {
            match subscriber.next().await {
                Packet::Publish(publish) => {
                    let ack = Ack::new(publish.packet_id.unwrap());
                    subscriber.send(&Packet::PubAck(ack)).await;
                    received.push(publish);
                }
                Packet::SubAck(_) => subscriber.send(&again).await,
                other => panic!("{other:?}"),
            }
        }
        sending.await.unwrap();
        let expected: Vec<_> = (1..=MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(payloads(&received), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_10_4_1_and_2_and_5_and_v3_mqtt_3_10_4_1_and_2_and_5_exactly_the_named_filter_is_deleted()
 {
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        let mut subscriber = harness.connected(&hello).await;
        for filter in ["a/b", "a/+", "A/b"] {
            subscriber.subscribe(filter, QOS1).await;
        }
        for near in ["a/B", "a/b/", "a/#", "+/b", "a"] {
            let codes = subscriber.unsubscribe(near).await;
            let expected = match hello.version {
                ProtocolVersion::V5 => vec![ReasonCode::NoSubscriptionExisted],
                ProtocolVersion::V31 | ProtocolVersion::V311 => Vec::new(),
            };
            assert_eq!(codes, expected, "{near}");
        }
        publisher.publish_acknowledged("a/b", "by two").await;
        assert_eq!(subscriber.receive_payload().await, "by two");
        subscriber.unsubscribe("a/+").await;
        publisher.publish_acknowledged("a/c", "by none").await;
        subscriber.expect_nothing().await;
        publisher.publish_acknowledged("a/b", "by one").await;
        assert_eq!(subscriber.receive_payload().await, "by one");
        subscriber.unsubscribe("a/b").await;
        publisher.publish_acknowledged("a/b", "by none").await;
        subscriber.expect_nothing().await;
        publisher.publish_acknowledged("A/b", "the other").await;
        assert_eq!(subscriber.receive_payload().await, "the other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_10_4_3_and_v3_mqtt_3_10_4_3_what_was_begun_before_unsubscribe_is_finished() {
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        let mut watcher = harness.watcher().await;
        let mut subscriber = harness.connected(&hello.watched()).await;
        subscriber.subscribe("t", QOS2).await;
        publisher.publish_message(message("t", "two", QOS2)).await;
        publisher.publish_message(message("t", "one", QOS1)).await;
        let (Packet::Publish(two), Packet::Publish(one)) =
            (subscriber.next().await, subscriber.next().await)
        else {
            panic!("two messages come")
        };
        subscriber.unsubscribe("t").await;
        publisher.publish_message(message("t", "late", QOS1)).await;
        let (two, one) = (two.packet_id.unwrap(), one.packet_id.unwrap());
        subscriber.send(&Packet::PubRec(Ack::new(two))).await;
        let answer = subscriber.next().await;
        assert!(matches!(answer, Packet::PubRel(ack) if ack.packet_id == two));
        subscriber.send(&Packet::PubComp(Ack::new(two))).await;
        subscriber.send(&Packet::PubAck(Ack::new(one))).await;
        subscriber.expect_nothing().await;
        subscriber.hang_up_before(&mut watcher).await;
        let mut back = harness.connected(&hello).await;
        back.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_4_2_and_3_and_4_and_v3_mqtt_3_3_5_1_overlapping_subscriptions_bring_one_copy_with_all_they_ask()
 {
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        let mut subscriber = harness.connected(&hello).await;
        for (filter, qos, number) in [("a/#", QOS0, 1), ("a/+", QOS2, 2), ("a/b", QOS1, 3)] {
            let number = (hello.version == ProtocolVersion::V5).then_some(number);
            let options = SubscriptionOptions::new(qos);
            subscriber.subscribe_with(filter, options, number).await;
        }
        let expected: &[u32] = match hello.version {
            ProtocolVersion::V5 => &[1, 2, 3],
            ProtocolVersion::V31 | ProtocolVersion::V311 => &[],
        };
        for qos in ALL {
            publisher.publish_message(message("a/b", "x", qos)).await;
            let publish = subscriber.receive_all(1).await.remove(0);
            assert_eq!(publish.qos, qos);
            assert_eq!(numbers(&publish), expected);
            subscriber.expect_nothing().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_4_5_a_shared_and_a_plain_subscription_bring_a_copy_each_with_its_identifier() {
    for hello in each_home("subscriber") {
        for qos in ALL {
            let harness = Harness::start().await;
            let mut publisher = publisher(&harness, ProtocolVersion::V5).await;
            let mut subscriber = harness.connected(&hello).await;
            for (filter, number) in [("$share/g/t", 1), ("t", 2)] {
                let options = SubscriptionOptions::new(QOS2);
                subscriber
                    .subscribe_with(filter, options, Some(number))
                    .await;
            }
            publisher.publish_message(message("t", "x", qos)).await;
            let copies = subscriber.receive_all(2).await;
            let mut carried: Vec<_> = copies.iter().map(numbers).collect();
            carried.sort();
            assert_eq!(carried, [[1], [2]], "{qos:?}");
            subscriber.expect_nothing().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_7_2_1_and_v3_mqtt_4_7_2_1_a_leading_wildcard_does_not_match_topics_of_dollar() {
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        publisher.retain("$own/x", "retained").await;
        let mut subscriber = harness.connected(&hello).await;
        for filter in ["#", "+/x", "+/#"] {
            subscriber.subscribe(filter, QOS1).await;
        }
        publisher.publish_acknowledged("$own/x", "live").await;
        subscriber.expect_nothing().await;
        publisher.publish_acknowledged("own/x", "plain").await;
        assert_eq!(subscriber.receive_payload().await, "plain");
        subscriber.subscribe("$own/#", QOS1).await;
        assert_eq!(subscriber.receive_payload().await, "retained");
        publisher.publish_acknowledged("$own/x", "live").await;
        assert_eq!(subscriber.receive_payload().await, "live");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_7_3_4_and_3_3_2_3_and_v3_mqtt_4_7_3_4_and_3_3_2_3_names_match_character_by_character()
 {
    // Composed and decomposed, with and without a mark, a slash, a capital letter.
    let names = [
        "é", "e\u{301}", "a/b", "a/b/", "/a/b", "A/b", "a/b ", "a/%62",
    ];
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut publisher = publisher(&harness, hello.version).await;
        let mut subscriber = harness.connected(&hello).await;
        for subscribed in names {
            subscriber.subscribe(subscribed, QOS1).await;
            for published in names {
                publisher.publish_acknowledged(published, published).await;
            }
            let publish = subscriber.receive().await;
            assert_eq!(publish.topic.name().unwrap().as_str(), subscribed);
            assert_eq!(publish.payload, subscribed);
            subscriber.expect_nothing().await;
            subscriber.unsubscribe(subscribed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_5_0_1_and_v3_mqtt_4_5_0_1_an_accepted_message_reaches_every_matching_session() {
    let harness = Harness::start().await;
    let kinds = Hello::of_every_kind(ACME, "");
    let clients = ["a", "b", "c", "d"];
    let mut online = Vec::new();
    for (kind, client) in kinds.iter().zip(clients) {
        let mut device = harness.connected(&kind.named(client)).await;
        device.subscribe("t/+", QOS1).await;
        online.push(device);
    }
    let away = Hello::of_every_kept_kind(ACME, "");
    for (kind, client) in away.iter().zip(["e", "f"]) {
        let mut device = harness.connected(&kind.named(client)).await;
        device.subscribe("#", QOS1).await;
        device.farewell().await;
    }
    let mut publisher = publisher(&harness, ProtocolVersion::V5).await;
    let ack = publisher.publish_acknowledged("t/1", "to all").await;
    assert_eq!(ack.reason, ReasonCode::Success);
    for device in &mut online {
        assert_eq!(device.receive_payload().await, "to all");
        device.expect_nothing().await;
    }
    for (kind, client) in away.iter().zip(["e", "f"]) {
        let mut back = harness.connected(&kind.named(client)).await;
        assert_eq!(back.receive_payload().await, "to all");
        back.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_6_0_5_and_6_and_v3_mqtt_4_6_0_5_and_6_messages_of_a_topic_and_qos_keep_their_order()
 {
    /// Of QoS 1 and 2 together within the server's receive maximum.
    const EACH: u16 = 40;
    for hello in Hello::of_every_kind(ACME, "subscriber") {
        let harness = Harness::start().await.unhurried();
        let mut publisher = publisher(&harness, hello.version).await;
        let mut subscriber = harness.connected(&hello).await;
        subscriber.subscribe("t/#", QOS2).await;
        for number in 0..EACH {
            for qos in ALL {
                let payload = format!("{} {number}", qos.as_u8());
                let packet_id = 1 + 2 * number + u16::from(qos == QOS2);
                publisher.publish("t/x", &payload, qos, packet_id).await;
            }
        }
        settle(&mut publisher, 2 * EACH).await;
        let received = payloads(&subscriber.receive_all(3 * usize::from(EACH)).await);
        for qos in ALL {
            let of_qos = format!("{} ", qos.as_u8());
            let seen: Vec<_> = received
                .iter()
                .filter_map(|payload| payload.strip_prefix(&of_qos))
                .collect();
            let sent: Vec<_> = (0..EACH).map(|number| number.to_string()).collect();
            assert_eq!(seen, sent, "{qos:?}");
        }
    }
}

/// Until so many messages of QoS 1 and 2 are acknowledged altogether.
async fn settle(publisher: &mut Device, mut open: u16) {
    while open > 0 {
        match publisher.next().await {
            Packet::PubAck(_) | Packet::PubComp(_) => open -= 1,
            Packet::PubRec(ack) => publisher.send(&Packet::PubRel(ack)).await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_2_4_and_15_and_16_and_17_and_18_and_20_properties_are_forwarded_unchanged_and_in_order()
 {
    let properties = [
        ForwardedProperty::User("b", "1"),
        ForwardedProperty::ContentType("text/plain"),
        ForwardedProperty::User("a", "2"),
        ForwardedProperty::ResponseTopic("reply/to"),
        ForwardedProperty::CorrelationData(&[0, 255]),
        ForwardedProperty::User("b", "1"),
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
    ];
    for hello in each_home("subscriber") {
        for qos in ALL {
            let harness = Harness::start().await;
            let mut publisher = publisher(&harness, ProtocolVersion::V5).await;
            let mut subscriber = harness.connected(&hello).await;
            subscriber.subscribe("t", qos).await;
            // What is retained at QoS 0 is stored without anybody being told.
            let mut sent = message("t", "x", qos.max(QOS1));
            sent.properties = ForwardedProperties::from_properties(properties).unwrap();
            sent.retain = true;
            publisher.publish_message(sent).await;
            let live = subscriber.receive_all(1).await.remove(0);
            assert!(live.properties.iter().eq(properties), "{live:?}");
            subscriber.subscribe("t", qos).await;
            let retained = subscriber.receive_all(1).await.remove(0);
            assert!(retained.properties.iter().eq(properties), "{retained:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_2_6_and_3_3_2_5_a_queued_message_leaves_with_what_is_left_of_its_life() {
    let harness = Harness::start().await;
    let hello = Hello::persistent(ACME, "subscriber");
    let mut subscriber = harness.connected(&hello).await;
    subscriber.subscribe("t", QOS1).await;
    subscriber.farewell().await;
    let mut publisher = publisher(&harness, ProtocolVersion::V5).await;
    for (payload, expiry) in [("dead", Some(0)), ("alive", Some(1_000)), ("eternal", None)] {
        let mut sent = message("t", payload, QOS1);
        sent.expiry_seconds = expiry;
        publisher.publish_message(sent).await;
    }
    let mut back = harness.connected(&hello).await;
    let alive = back.receive().await;
    assert_eq!(alive.payload, "alive");
    let left = alive.expiry_seconds.unwrap();
    assert!((900..=1_000).contains(&left), "{left}");
    assert_eq!(back.receive().await.expiry_seconds, None);
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_4_3_identifiers_of_a_kept_session_come_with_what_waited() {
    let harness = Harness::start().await;
    let hello = Hello::persistent(ACME, "subscriber");
    let mut subscriber = harness.connected(&hello).await;
    let options = SubscriptionOptions::new(QOS1);
    subscriber
        .subscribe_with("t", options, Some(268_435_455))
        .await;
    subscriber.farewell().await;
    let mut publisher = publisher(&harness, ProtocolVersion::V5).await;
    publisher.publish_acknowledged("t", "x").await;
    let mut back = harness.connected(&hello).await;
    let publish = back.receive().await;
    let expected = SubscriptionId::new(268_435_455).unwrap();
    assert_eq!(publish.subscription_ids.as_slice(), [expected]);
    assert_ne!(publish.packet_id, None);
    assert_ne!(publish.packet_id, Some(id(0xFFFF)));
}
