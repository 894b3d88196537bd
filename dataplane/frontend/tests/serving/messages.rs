//! Messages between connected devices: QoS 0, 1 and 2, wildcards, retained, shared, wills.

use tessera_mqtt::{Ack, Packet, ProtocolVersion, Qos, ReasonCode};

use crate::client::{Hello, id};
use crate::harness::{ACME, Harness};

#[tokio::test(flavor = "multi_thread")]
async fn every_qos_reaches_every_version() {
    let harness = Harness::start().await;
    for version in [
        ProtocolVersion::V31,
        ProtocolVersion::V311,
        ProtocolVersion::V5,
    ] {
        let mut subscriber = harness.device().await;
        subscriber
            .hello(&Hello {
                version,
                ..Hello::new(ACME, "sub")
            })
            .await;
        subscriber.subscribe("rooms/+/temp", Qos::ExactlyOnce).await;
        let mut publisher = harness.device().await;
        publisher
            .hello(&Hello {
                version,
                ..Hello::new(ACME, "pub")
            })
            .await;

        publisher
            .publish("rooms/1/temp", "zero", Qos::AtMostOnce, 0)
            .await;
        assert_eq!(subscriber.receive_payload().await, "zero");

        publisher.publish_acknowledged("rooms/2/temp", "one").await;
        assert_eq!(subscriber.receive_payload().await, "one");

        publisher
            .publish("rooms/3/temp", "two", Qos::ExactlyOnce, 9)
            .await;
        assert!(matches!(publisher.next().await, Packet::PubRec(ack) if ack.packet_id == id(9)));
        publisher.send(&Packet::PubRel(Ack::new(id(9)))).await;
        assert!(matches!(publisher.next().await, Packet::PubComp(ack) if ack.packet_id == id(9)));
        let received = subscriber.receive().await;
        assert_eq!(&received.payload[..], b"two");
        let received = received.packet_id.unwrap();
        subscriber.send(&Packet::PubRec(Ack::new(received))).await;
        assert!(matches!(subscriber.next().await, Packet::PubRel(_)));
        subscriber.send(&Packet::PubComp(Ack::new(received))).await;
        subscriber.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_3_3_10_and_12_a_qos_2_message_sent_twice_arrives_once() {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::new(ACME, "sub")).await;
    subscriber.subscribe("t", Qos::AtMostOnce).await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::persistent(ACME, "pub")).await;
    for _ in 0..3 {
        publisher.publish("t", "once", Qos::ExactlyOnce, 5).await;
        assert!(matches!(publisher.next().await, Packet::PubRec(_)));
    }
    assert_eq!(subscriber.receive_payload().await, "once");
    subscriber.expect_nothing().await;
    publisher.send(&Packet::PubRel(Ack::new(id(5)))).await;
    assert!(matches!(publisher.next().await, Packet::PubComp(_)));
    publisher.publish("t", "again", Qos::ExactlyOnce, 5).await;
    assert_eq!(subscriber.receive_payload().await, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_with_connect_in_one_piece_is_handled() {
    let harness = Harness::start().await;
    let mut device = harness.device().await;
    let answer = device
        .hello_and(&Hello::new(ACME, "eager"), &[Packet::PingReq])
        .await;
    assert_eq!(answer.reason, ReasonCode::Success);
    assert!(matches!(device.next().await, Packet::PingResp));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_told() {
    let harness = Harness::start().await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    let ack = publisher.publish_acknowledged("nowhere", "x").await;
    assert_eq!(ack.reason, ReasonCode::NoMatchingSubscribers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_what_it_retained_itself_at_qos_0() {
    let harness = Harness::start().await;
    let mut device = harness.device().await;
    device.hello(&Hello::new(ACME, "both")).await;
    for number in 0..50 {
        let topic = format!("own/{number}");
        let mut message = crate::client::message(&topic, "x", Qos::AtMostOnce);
        message.retain = true;
        device
            .send(&Packet::Publish(tessera_mqtt::Publish::new(message, None)))
            .await;
        device.subscribe(&topic, Qos::AtMostOnce).await;
        assert!(device.receive().await.retain, "{topic}");
        device.unsubscribe(&topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_retained_messages_all_come() {
    const COUNT: u16 = 2_000;
    let harness = Harness::start().await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    harness.change(crate::harness::set_tenant(
        ACME,
        crate::harness::free_but(tessera_tenancy::LimitCode::PublishesPerSecond, 1_000_000),
    ));
    for number in 0..COUNT {
        let mut message = crate::client::message(&format!("many/{number}"), "x", Qos::AtMostOnce);
        message.retain = true;
        publisher
            .send(&Packet::Publish(tessera_mqtt::Publish::new(message, None)))
            .await;
    }
    publisher.retain("many/last", "x").await;
    for (client, qos, expiry) in [
        ("a", Qos::AtMostOnce, 0),
        ("b", Qos::AtLeastOnce, 0),
        ("c", Qos::AtLeastOnce, 60),
    ] {
        let mut subscriber = harness.device().await;
        subscriber
            .hello(&Hello {
                expiry,
                ..Hello::new(ACME, client)
            })
            .await;
        subscriber.subscribe("many/+", qos).await;
        let mut seen = std::collections::HashSet::new();
        for _ in 0..=COUNT {
            let publish = subscriber.receive().await;
            let topic = publish.topic.name().unwrap().as_str().to_owned();
            assert!(seen.insert(topic), "{client}: a topic came twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_gives_each_message_to_one_member() {
    let harness = Harness::start().await;
    let mut members = Vec::new();
    for client in ["m1", "m2", "m3"] {
        let mut member = harness.device().await;
        member.hello(&Hello::new(ACME, client)).await;
        member
            .subscribe("$share/workers/jobs/#", Qos::AtMostOnce)
            .await;
        members.push(member);
    }
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    for job in 0..9 {
        publisher
            .publish("jobs/x", &job.to_string(), Qos::AtMostOnce, 0)
            .await;
    }
    publisher.expect_nothing().await;
    for member in &mut members {
        for _ in 0..3 {
            member.receive_payload().await;
        }
        member.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subscriptions_bring_one_copy() {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::new(ACME, "sub")).await;
    subscriber.subscribe("a/#", Qos::AtMostOnce).await;
    subscriber.subscribe("a/+", Qos::AtLeastOnce).await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    publisher.publish_acknowledged("a/b", "x").await;
    assert_eq!(subscriber.receive().await.qos, Qos::AtLeastOnce);
    subscriber.expect_nothing().await;
    subscriber.unsubscribe("a/+").await;
    publisher.publish_acknowledged("a/b", "y").await;
    assert_eq!(subscriber.receive().await.qos, Qos::AtMostOnce);
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_3_9_a_delayed_will_is_not_published_if_the_client_takes_its_session_over() {
    let harness = Harness::start().await;
    let mut watcher = harness.device().await;
    watcher.hello(&Hello::new(ACME, "watcher")).await;
    watcher.subscribe("gone/#", Qos::AtMostOnce).await;
    let back = Hello {
        will: Some(("gone/back", "x")),
        will_delay: 1,
        ..Hello::persistent(ACME, "back")
    };
    let mut first = harness.device().await;
    first.hello(&back).await;
    let mut second = harness.device().await;
    second.hello(&back).await;
    assert_eq!(first.ended_with().await, ReasonCode::SessionTakenOver);
    // A longer delay of another client marks the moment at which the first one's would be past.
    let mut lost = harness.device().await;
    let hello = Hello {
        will: Some(("gone/lost", "x")),
        will_delay: 2,
        ..Hello::persistent(ACME, "lost")
    };
    lost.hello(&hello).await;
    drop(lost);
    let publish = watcher.receive().await;
    assert_eq!(publish.topic.name().unwrap().as_str(), "gone/lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_22_a_silent_client_is_ended_after_one_and_a_half_times_its_keep_alive() {
    let harness = Harness::start().await;
    let mut device = harness.device().await;
    let begin = std::time::Instant::now();
    device
        .hello(&Hello {
            keep_alive: 1,
            ..Hello::new(ACME, "quiet")
        })
        .await;
    assert_eq!(device.ended_with().await, ReasonCode::KeepAliveTimeout);
    assert!(
        begin.elapsed().as_millis() >= 1_500,
        "not before 1.5 s: {:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_suback_is_delivered_however_soon_it_is_published() {
    let harness = Harness::start().await;
    harness.change(crate::harness::set_tenant(
        ACME,
        crate::harness::free_but(tessera_tenancy::LimitCode::PublishesPerSecond, 1_000_000),
    ));
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::new(ACME, "sub")).await;
    for round in 0..200 {
        let topic = format!("fresh/{round}");
        let filter = if round % 2 == 0 {
            topic.clone()
        } else {
            format!("+/{round}")
        };
        subscriber.subscribe(&filter, Qos::AtMostOnce).await;
        publisher.publish(&topic, &topic, Qos::AtMostOnce, 0).await;
        assert_eq!(subscriber.receive_payload().await, topic);
        subscriber.unsubscribe(&filter).await;
    }
}
