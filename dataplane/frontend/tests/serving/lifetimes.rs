//! How long a session lives, what names it, and how its connections begin and end.

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, Connect, Disconnect, Packet, Password, ProtocolVersion, Publish, Qos, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions, Will, encode,
};

use crate::client::{Device, Hello, id, message, text};
use crate::harness::{ACME, BETA, Harness, password, username};

const QOS1: Qos = Qos::AtLeastOnce;

fn of(version: ProtocolVersion, client: &'static str) -> Hello {
    Hello {
        version,
        ..Hello::new(ACME, client)
    }
}

async fn publisher(harness: &Harness) -> Device {
    harness.connected(&Hello::new(ACME, "publisher")).await
}

async fn is_present(harness: &Harness, hello: &Hello) -> bool {
    let mut device = harness.device().await;
    let is_present = device.hello(hello).await.session_present;
    device.hang_up().await;
    is_present
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_4_and_3_1_4_4_and_3_2_2_2_and_v3_mqtt_3_1_2_6_and_3_1_4_3_and_3_2_2_1_clean_start_begins_anew()
 {
    for kept in Hello::of_every_kept_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut before = harness.connected(&kept).await;
        before.subscribe("t", QOS1).await;
        before.farewell().await;
        publisher(&harness)
            .await
            .publish_acknowledged("t", "x")
            .await;
        let clean = Hello {
            clean: true,
            ..kept.clone()
        };
        let mut fresh = harness.device().await;
        assert!(!fresh.hello(&clean).await.session_present);
        fresh.expect_nothing().await;
        let mut publisher = publisher(&harness).await;
        let ack = publisher.publish_acknowledged("t", "y").await;
        assert_eq!(ack.reason, ReasonCode::NoMatchingSubscribers);
        fresh.farewell().await;
        // Version 5 keeps the new session; clean session of 3.1.1 ends with its connection.
        let is_v5 = kept.version == ProtocolVersion::V5;
        assert_eq!(is_present(&harness, &kept).await, is_v5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_5_and_6_and_23_and_3_2_2_3_and_v3_mqtt_3_1_2_4_and_3_2_2_2_and_3_and_4_1_0_1_a_session_is_made_kept_and_resumed()
 {
    for kept in Hello::of_every_kept_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut first = harness.device().await;
        assert!(!first.hello(&kept).await.session_present);
        first.subscribe("t", QOS1).await;
        first.hang_up().await;
        let mut second = harness.device().await;
        assert!(second.hello(&kept).await.session_present);
        publisher(&harness)
            .await
            .publish_acknowledged("t", "x")
            .await;
        assert_eq!(second.receive_payload().await, "x", "still subscribed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_2_0_1_and_4_4_0_1_and_v3_mqtt_3_1_2_5_and_3_2_0_1_and_4_4_0_1_connack_comes_first_then_what_is_owed_then_what_waited()
 {
    for kept in Hello::of_every_kept_kind(ACME, "subscriber") {
        let harness = Harness::start().await;
        let mut first = harness.connected(&kept).await;
        first.subscribe("t", Qos::ExactlyOnce).await;
        let mut publisher = publisher(&harness).await;
        for (payload, qos) in [("released", Qos::ExactlyOnce), ("sent", QOS1)] {
            publisher.publish_message(message("t", payload, qos)).await;
        }
        let (Packet::Publish(released), Packet::Publish(sent)) =
            (first.next().await, first.next().await)
        else {
            panic!("two messages come")
        };
        let released = released.packet_id.unwrap();
        first.send(&Packet::PubRec(Ack::new(released))).await;
        assert!(matches!(first.next().await, Packet::PubRel(_)));
        first.hang_up().await;
        publisher
            .publish_message(message("t", "waited", QOS1))
            .await;
        // `connected` takes nothing but CONNACK for its first packet.
        let mut back = harness.connected(&kept).await;
        assert!(matches!(back.next().await, Packet::PubRel(ack) if ack.packet_id == released));
        back.send(&Packet::PubComp(Ack::new(released))).await;
        let again = back.receive().await;
        assert_eq!((again.packet_id, again.dup), (sent.packet_id, true));
        let new = back.receive().await;
        assert_eq!(new.payload, "waited");
        assert!(!new.dup);
        back.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_4_3_and_3_14_4_2_and_v3_mqtt_3_1_4_2_the_older_connection_of_a_client_is_closed()
 {
    for hello in Hello::of_every_kind(ACME, "twice") {
        let harness = Harness::start().await;
        let mut old = harness.connected(&hello).await;
        old.subscribe("t", QOS1).await;
        let mut new = harness.connected(&hello).await;
        if hello.version == ProtocolVersion::V5 {
            assert_eq!(old.ended_with().await, ReasonCode::SessionTakenOver);
        }
        assert!(
            old.next_or_end().await.is_none(),
            "nothing more, and closed"
        );
        publisher(&harness)
            .await
            .publish_acknowledged("t", "x")
            .await;
        if hello.clean {
            new.expect_nothing().await;
        } else {
            assert_eq!(new.receive_payload().await, "x");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_3_2_and_v3_mqtt_3_1_3_2_a_client_identifier_names_one_session() {
    for kept in Hello::of_every_kept_kind(ACME, "one") {
        let harness = Harness::start().await;
        let mut one = harness.connected(&kept).await;
        one.subscribe("t", QOS1).await;
        one.farewell().await;
        for other in ["two", "One", "on", "one "] {
            assert!(!is_present(&harness, &kept.named(other)).await, "{other:?}");
        }
        let foreign = Hello {
            tenant: BETA,
            ..kept.clone()
        };
        assert!(!is_present(&harness, &foreign).await, "of another tenant");
        assert!(is_present(&harness, &kept).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_3_6_and_7_and_3_2_2_16_an_assigned_identifier_is_unique_and_names_the_session()
{
    let harness = Harness::start().await;
    let mut assigned = Vec::new();
    for _ in 0..2 {
        let mut device = harness.device().await;
        let answer = device
            .hello_with(&Hello::persistent(ACME, "-"), |connect| {
                connect.client_id = None;
            })
            .await;
        assert!(!answer.session_present);
        device.subscribe("t", QOS1).await;
        device.hang_up().await;
        assigned.push(answer.assigned_client_id.unwrap());
    }
    assert_ne!(assigned[0], assigned[1]);
    publisher(&harness)
        .await
        .publish_acknowledged("t", "x")
        .await;
    for client in assigned {
        let mut back = harness.device().await;
        let answer = back
            .hello_with(&Hello::persistent(ACME, "-"), |connect| {
                connect.client_id = Some(client);
            })
            .await;
        assert!(answer.session_present);
        assert_eq!(answer.assigned_client_id, None);
        assert_eq!(back.receive_payload().await, "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_3_6_clients_without_an_identifier_do_not_meet() {
    let harness = Harness::start().await;
    let mut devices = Vec::new();
    for _ in 0..2 {
        let mut device = harness.device().await;
        let answer = device
            .hello_with(&of(ProtocolVersion::V311, "-"), |connect| {
                connect.client_id = None;
            })
            .await;
        assert_eq!(answer.reason, ReasonCode::Success);
        device.subscribe("t", QOS1).await;
        devices.push(device);
    }
    publisher(&harness)
        .await
        .publish_acknowledged("t", "x")
        .await;
    for device in &mut devices {
        assert_eq!(device.receive_payload().await, "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_1_0_1_and_v3_mqtt_4_1_0_1_and_2_state_is_kept_while_the_connection_is_open() {
    for hello in Hello::of_every_kind(ACME, "both") {
        let harness = Harness::start().await;
        let mut device = harness.connected(&hello).await;
        device.subscribe("t", Qos::AtMostOnce).await;
        // A QoS 2 identifier that waits for its PUBREL, while much else goes on.
        device.publish("t", "once", Qos::ExactlyOnce, 500).await;
        assert_eq!(received_with_pubrec(&mut device).await, "once");
        for number in 0..50 {
            let mut other = harness.connected(&Hello::new(ACME, "other")).await;
            other.publish_acknowledged("t", &number.to_string()).await;
            assert_eq!(device.receive_payload().await, number.to_string());
        }
        device.publish("t", "once", Qos::ExactlyOnce, 500).await;
        assert!(matches!(device.next().await, Packet::PubRec(_)));
        device.send(&Packet::PubRel(Ack::new(id(500)))).await;
        assert!(matches!(device.next().await, Packet::PubComp(_)));
        device.expect_nothing().await;
    }
}

/// The message and the PUBREC of its PUBLISH, in either order.
async fn received_with_pubrec(device: &mut Device) -> String {
    let mut payload = None;
    let mut acknowledged = false;
    while payload.is_none() || !acknowledged {
        match device.next().await {
            Packet::Publish(Publish { payload: bytes, .. }) => {
                payload = String::from_utf8(bytes.to_vec()).ok();
            }
            Packet::PubRec(ack) => acknowledged = ack.packet_id == id(500),
            other => panic!("{other:?}"),
        }
    }
    payload.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_1_0_2_a_session_without_expiry_ends_with_its_connection() {
    let harness = Harness::start().await;
    let hello = Hello {
        clean: false,
        ..Hello::new(ACME, "subscriber")
    };
    let mut watcher = harness.watcher().await;
    let mut device = harness.connected(&hello.watched()).await;
    device.subscribe("t", QOS1).await;
    device.hang_up_before(&mut watcher).await;
    let ack = publisher(&harness)
        .await
        .publish_acknowledged("t", "x")
        .await;
    assert_eq!(ack.reason, ReasonCode::NoMatchingSubscribers);
    assert!(!is_present(&harness, &hello).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_1_0_2_a_session_is_dropped_once_its_expiry_has_passed() {
    let harness = Harness::start().await;
    let mut watcher = harness.connected(&Hello::new(ACME, "watcher")).await;
    watcher.subscribe("gone", QOS1).await;
    let short = Hello {
        expiry: 1,
        ..Hello::persistent(ACME, "short")
    };
    let mut device = harness.connected(&short).await;
    device.subscribe("t", QOS1).await;
    device.hang_up().await;
    // A will that is delayed by two seconds tells that they have passed.
    let mut clock = harness.device().await;
    clock
        .hello_with(&Hello::persistent(ACME, "clock"), |connect| {
            connect.will = Some(Will {
                message: message("gone", "two seconds", QOS1),
                delay_seconds: 2,
            });
        })
        .await;
    clock.hang_up().await;
    assert_eq!(watcher.receive_payload().await, "two seconds");
    assert!(!is_present(&harness, &short).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_1_0_2_and_3_1_2_23_disconnect_may_shorten_and_lengthen_the_life_of_a_session() {
    let harness = Harness::start().await;
    let mut watcher = harness.watcher().await;
    for (at_connect, at_disconnect, lives) in [(3_600, 0, false), (1, 3_600, true)] {
        let hello = Hello {
            expiry: at_connect,
            ..Hello::persistent(ACME, "changing")
        };
        let mut device = harness.connected(&hello.watched()).await;
        let mut leave = Disconnect::new(ReasonCode::DisconnectWithWill);
        leave.session_expiry_seconds = Some(at_disconnect);
        device.send(&Packet::Disconnect(leave)).await;
        device.hang_up_before(&mut watcher).await;
        assert_eq!(is_present(&harness, &hello).await, lives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_4_2_and_3_2_2_7_and_v3_mqtt_3_2_2_5_and_3_1_4_5_a_refused_client_is_closed_and_changes_nothing()
 {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let harness = Harness::start().await;
        let mut watcher = harness.connected(&Hello::new(ACME, "watcher")).await;
        watcher.subscribe("#", QOS1).await;
        let mut live = harness.connected(&of(version, "client")).await;
        let mut refused = harness.device().await;
        let answer = refused
            .hello_with(&of(version, "client"), |connect| {
                connect.password = Some(Password::new("wrong"));
                connect.will = Some(Will {
                    message: message("will", "x", QOS1),
                    delay_seconds: 0,
                });
            })
            .await;
        assert_eq!(answer.reason, ReasonCode::NotAuthorized);
        assert!(refused.next_or_end().await.is_none());
        live.expect_nothing().await;
        watcher.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_4_6_and_v3_mqtt_3_1_4_5_what_follows_a_refused_connect_is_not_processed() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let harness = Harness::start().await;
        let mut watcher = harness.connected(&Hello::new(ACME, "watcher")).await;
        watcher.subscribe("#", QOS1).await;
        let mut connect = Connect::new(version, tessera_mqtt::ClientId::try_from("c").ok());
        connect.username = Some(text(&username(ACME, "one")));
        connect.password = Some(Password::new("wrong"));
        let mut bytes = BytesMut::new();
        let publish = Publish::new(message("t", "sneaked", QOS1), Some(id(1)));
        for packet in [Packet::Connect(Box::new(connect)), Packet::Publish(publish)] {
            encode(&packet, version, &mut bytes).unwrap();
        }
        let mut device = harness.device().await;
        device.speak(version);
        device.send_bytes(&bytes).await;
        let answer = device.next().await;
        let refused = ReasonCode::NotAuthorized;
        assert!(matches!(answer, Packet::ConnAck(connack) if connack.reason == refused));
        assert!(device.next_or_end().await.is_none());
        watcher.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_14_4_2_and_4_13_1_1_and_v3_mqtt_4_8_0_1_a_violation_closes_the_connection_and_keeps_the_session()
 {
    for kept in Hello::of_every_kept_kind(ACME, "client") {
        let harness = Harness::start().await;
        let mut device = harness.connected(&kept).await;
        device.subscribe("t", QOS1).await;
        device.send_bytes(&[0x20, 2, 0, 0]).await;
        if kept.version == ProtocolVersion::V5 {
            assert_eq!(device.ended_with().await, ReasonCode::ProtocolError);
        }
        assert!(device.next_or_end().await.is_none());
        publisher(&harness)
            .await
            .publish_acknowledged("t", "x")
            .await;
        let mut back = harness.connected(&kept).await;
        assert_eq!(back.receive_payload().await, "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_2_0_1_and_v3_mqtt_7_1_1_1_a_stream_of_bytes_is_taken_however_it_is_cut_and_comes_back_in_order()
 {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let harness = Harness::start().await.unhurried();
        let mut device = harness.device().await;
        let mut connect = Connect::new(version, tessera_mqtt::ClientId::try_from("c").ok());
        connect.username = Some(text(&username(ACME, "one")));
        connect.password = Some(Password::new(password(ACME, "one")));
        let options = SubscriptionOptions::new(QOS1);
        let filters = vec![SubscribeFilter::new(text("t"), options)];
        let mut bytes = BytesMut::new();
        encode(&Packet::Connect(Box::new(connect)), version, &mut bytes).unwrap();
        let subscribe = Packet::Subscribe(Subscribe::new(id(1), filters));
        encode(&subscribe, version, &mut bytes).unwrap();
        device.speak(version);
        for byte in bytes {
            device.send_bytes(&[byte]).await;
        }
        assert!(matches!(device.next().await, Packet::ConnAck(_)));
        assert!(matches!(device.next().await, Packet::SubAck(_)));
        let sizes = [0, 1, 127, 128, 20_000, 500_000, 3, 100_000];
        for (number, size) in sizes.into_iter().enumerate() {
            let payload = number.to_string().repeat(size);
            device.publish("t", &payload, QOS1, 7).await;
            let (mut echoed, mut acknowledged) = (None, false);
            while echoed.is_none() || !acknowledged {
                match device.next().await {
                    Packet::Publish(publish) => echoed = Some(publish),
                    Packet::PubAck(ack) => acknowledged = ack.packet_id == id(7),
                    other => panic!("{other:?}"),
                }
            }
            let echoed = echoed.unwrap();
            assert_eq!(echoed.payload, payload.as_bytes());
            let ack = Ack::new(echoed.packet_id.unwrap());
            device.send(&Packet::PubAck(ack)).await;
        }
        device.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_at_once_finds_its_session_as_it_left_it() {
    let harness = Harness::start().await;
    let hello = Hello::persistent(ACME, "hasty");
    for _ in 0..30 {
        let mut device = harness.connected(&hello).await;
        let mut leave = Disconnect::new(ReasonCode::Success);
        leave.session_expiry_seconds = Some(0);
        device.send(&Packet::Disconnect(leave)).await;
        assert!(device.next_or_end().await.is_none());
        assert!(!is_present(&harness, &hello).await);
        let fresh = Hello {
            clean: true,
            ..Hello::new(ACME, "hasty")
        };
        harness.connected(&fresh).await.farewell().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_3_3_7_a_message_of_qos_2_that_was_sent_does_not_expire_over_a_reconnect() {
    let harness = Harness::start().await;
    let mut watcher = harness.connected(&Hello::new(ACME, "watcher")).await;
    watcher.subscribe("gone", QOS1).await;
    let kept = Hello::persistent(ACME, "subscriber");
    let mut device = harness.connected(&kept).await;
    device.subscribe("t", Qos::ExactlyOnce).await;
    let mut sent = message("t", "x", Qos::ExactlyOnce);
    sent.expiry_seconds = Some(1);
    publisher(&harness).await.publish_message(sent).await;
    assert!(matches!(device.next().await, Packet::Publish(_)));
    device.hang_up().await;
    let mut clock = harness.device().await;
    clock
        .hello_with(&Hello::persistent(ACME, "clock"), |connect| {
            connect.will = Some(Will {
                message: message("gone", "two seconds", QOS1),
                delay_seconds: 2,
            });
        })
        .await;
    clock.hang_up().await;
    assert_eq!(watcher.receive_payload().await, "two seconds");
    let mut back = harness.connected(&kept).await;
    let again = back.receive_all(1).await.remove(0);
    assert!(again.dup);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_end_that_was_stopped_is_held_by_nobody() {
    let harness = Harness::start().await;
    let device = harness.connected(&Hello::new(ACME, "device")).await;
    let held = harness.held();
    assert!(held.upgrade().is_some());
    harness.stop().await;
    drop(device);
    assert!(held.upgrade().is_none(), "a cycle keeps it alive");
}
