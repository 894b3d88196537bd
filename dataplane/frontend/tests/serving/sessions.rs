//! Sessions that outlive their connections: resumption, takeover, restart of the node.

use tessera_mqtt::{Ack, Packet, ProtocolVersion, Qos, ReasonCode};

use tessera_tenancy::LimitCode;

use crate::client::{Hello, id};
use crate::harness::{ACME, Harness, free_but, set_tenant};

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_23_and_4_6_0_5_messages_wait_for_an_offline_session_in_order() {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    assert!(
        !subscriber
            .hello(&Hello::persistent(ACME, "sub"))
            .await
            .session_present
    );
    subscriber.subscribe("t/#", Qos::AtLeastOnce).await;
    subscriber.farewell().await;

    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    for number in 0..50 {
        publisher
            .publish_acknowledged("t/x", &number.to_string())
            .await;
    }
    let mut back = harness.device().await;
    assert!(
        back.hello(&Hello::persistent(ACME, "sub"))
            .await
            .session_present
    );
    for number in 0..50 {
        assert_eq!(back.receive_payload().await, number.to_string());
    }
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_subscriptions_queues_and_retained_survive_a_restart() {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::persistent(ACME, "sub")).await;
    subscriber.subscribe("t/#", Qos::AtLeastOnce).await;
    drop(subscriber);
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    publisher.publish_acknowledged("t/1", "before").await;
    publisher.retain("lamp", "on").await;

    let harness = harness.restart().await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    publisher.publish_acknowledged("t/2", "after").await;
    let mut back = harness.device().await;
    assert!(
        back.hello(&Hello::persistent(ACME, "sub"))
            .await
            .session_present
    );
    assert_eq!(back.receive_payload().await, "before");
    assert_eq!(back.receive_payload().await, "after");
    back.subscribe("lamp", Qos::AtMostOnce).await;
    assert_eq!(back.receive_payload().await, "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_1_1_and_4_3_2_3_and_4_4_0_1_an_unacknowledged_message_comes_again_marked_as_a_duplicate()
 {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::persistent(ACME, "sub")).await;
    subscriber.subscribe("t", Qos::AtLeastOnce).await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    publisher.publish_acknowledged("t", "x").await;
    let Packet::Publish(first) = subscriber.next().await else {
        panic!("PUBLISH comes next")
    };
    assert!(!first.dup);
    drop(subscriber);

    let mut back = harness.device().await;
    back.hello(&Hello::persistent(ACME, "sub")).await;
    let again = back.receive().await;
    assert!(again.dup, "it was sent before (MQTT-3.3.1-1)");
    assert_eq!(again.packet_id, first.packet_id);
    back.farewell().await;
    let mut later = harness.device().await;
    later.hello(&Hello::persistent(ACME, "sub")).await;
    later.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_never_sent_is_no_duplicate() {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::persistent(ACME, "sub")).await;
    subscriber.subscribe("t", Qos::AtLeastOnce).await;
    subscriber.farewell().await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    publisher.publish_acknowledged("t", "x").await;
    let mut back = harness.device().await;
    back.hello(&Hello::persistent(ACME, "sub")).await;
    assert!(!back.receive().await.dup);
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_3_3_5_and_6_and_4_4_0_1_a_qos_2_message_to_a_session_is_completed_over_a_reconnect()
 {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::persistent(ACME, "sub")).await;
    subscriber.subscribe("t", Qos::ExactlyOnce).await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    publisher.publish("t", "x", Qos::ExactlyOnce, 4).await;
    assert!(matches!(publisher.next().await, Packet::PubRec(_)));
    let received = subscriber.receive().await.packet_id.unwrap();
    subscriber.send(&Packet::PubRec(Ack::new(received))).await;
    assert!(matches!(subscriber.next().await, Packet::PubRel(_)));
    drop(subscriber);

    let harness = harness.restart().await;
    let mut back = harness.device().await;
    back.hello(&Hello::persistent(ACME, "sub")).await;
    assert!(
        matches!(back.next().await, Packet::PubRel(ack) if ack.packet_id == received),
        "PUBREL is owed, the message is not sent again"
    );
    back.send(&Packet::PubComp(Ack::new(received))).await;
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_3_3_10_a_qos_2_publish_is_not_routed_twice_over_a_restart() {
    let harness = Harness::start().await;
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::persistent(ACME, "sub")).await;
    subscriber.subscribe("t", Qos::ExactlyOnce).await;
    subscriber.farewell().await;
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::persistent(ACME, "pub")).await;
    publisher.publish("t", "once", Qos::ExactlyOnce, 4).await;
    assert!(matches!(publisher.next().await, Packet::PubRec(_)));

    let harness = harness.restart().await;
    let mut publisher = harness.device().await;
    assert!(
        publisher
            .hello(&Hello::persistent(ACME, "pub"))
            .await
            .session_present
    );
    publisher.publish("t", "once", Qos::ExactlyOnce, 4).await;
    assert!(matches!(publisher.next().await, Packet::PubRec(_)));
    publisher.send(&Packet::PubRel(Ack::new(id(4)))).await;
    assert!(matches!(publisher.next().await, Packet::PubComp(_)));
    let mut back = harness.device().await;
    back.hello(&Hello::persistent(ACME, "sub")).await;
    assert_eq!(back.receive_payload().await, "once");
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_principal_does_not_get_the_session() {
    let harness = Harness::start().await;
    let mut owner = harness.device().await;
    owner.hello(&Hello::persistent(ACME, "mine")).await;
    let mut thief = harness.device().await;
    let hello = Hello {
        name: "two",
        ..Hello::persistent(ACME, "mine")
    };
    assert_eq!(
        thief.hello(&hello).await.reason,
        ReasonCode::ClientIdentifierNotValid
    );
    owner.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_publishes_in_flight_than_the_server_holds_are_all_acknowledged() {
    const SENT: u16 = 1_000;
    let harness = Harness::start().await;
    harness.change(set_tenant(
        ACME,
        free_but(LimitCode::PublishesPerSecond, 1_000_000),
    ));
    let mut subscriber = harness.device().await;
    subscriber.hello(&Hello::persistent(ACME, "sub")).await;
    subscriber.subscribe("t", Qos::AtLeastOnce).await;
    subscriber.farewell().await;
    let mut publisher = harness.device().await;
    publisher
        .hello(&Hello {
            version: ProtocolVersion::V311,
            ..Hello::new(ACME, "pub")
        })
        .await;
    for number in 1..=SENT {
        publisher.publish("t", "x", Qos::AtLeastOnce, number).await;
    }
    for number in 1..=SENT {
        let Packet::PubAck(ack) = publisher.next().await else {
            panic!("PUBACK comes next")
        };
        assert_eq!(ack.packet_id, id(number), "in the order of the publishes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_just_before_the_connection_was_lost_does_not_come_again() {
    const MESSAGES: u16 = 100;
    let harness = Harness::start().await;
    harness.change(set_tenant(
        ACME,
        free_but(LimitCode::PublishesPerSecond, 1_000_000),
    ));
    let mut publisher = harness.device().await;
    publisher.hello(&Hello::new(ACME, "pub")).await;
    for _round in 0..5 {
        let mut subscriber = harness.device().await;
        subscriber.hello(&Hello::persistent(ACME, "sub")).await;
        subscriber.subscribe("t", Qos::AtLeastOnce).await;
        for number in 1..=MESSAGES {
            publisher.publish("t", "x", Qos::AtLeastOnce, number).await;
        }
        for _ in 1..=MESSAGES {
            subscriber.receive().await;
            assert!(matches!(publisher.next().await, Packet::PubAck(_)));
        }
        subscriber.hang_up().await;
        let mut back = harness.device().await;
        back.hello(&Hello::persistent(ACME, "sub")).await;
        back.expect_nothing().await;
        back.farewell().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_3_4_9_a_window_of_one_still_brings_everything() {
    let harness = Harness::start().await;
    for expiry in [0, 60] {
        let mut subscriber = harness.device().await;
        let hello = Hello {
            receive_maximum: 1,
            expiry,
            ..Hello::new(ACME, "narrow")
        };
        subscriber.hello(&hello).await;
        subscriber.subscribe("t", Qos::AtLeastOnce).await;
        let mut publisher = harness.device().await;
        publisher.hello(&Hello::new(ACME, "pub")).await;
        for number in 0..20 {
            publisher
                .publish_acknowledged("t", &number.to_string())
                .await;
        }
        for number in 0..20 {
            assert_eq!(subscriber.receive_payload().await, number.to_string());
        }
        subscriber.farewell().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_though_its_inbox_takes_no_acknowledgement() {
    let harness = Harness::start().await;
    let mut device = harness.connected(&Hello::persistent(ACME, "sub")).await;
    device.subscribe("t", Qos::AtLeastOnce).await;
    let mut publisher = harness.connected(&Hello::new(ACME, "pub")).await;
    publisher.publish_acknowledged("t", "x").await;
    let packet_id = match device.next().await {
        Packet::Publish(publish) => publish.packet_id.unwrap(),
        other => panic!("expected PUBLISH, got {other:?}"),
    };
    harness.end_stores().await;
    device.send(&Packet::PubAck(Ack::new(packet_id))).await;
    for _ in 0..100 {
        device.send(&Packet::PingReq).await;
        assert_eq!(device.next().await, Packet::PingResp);
    }
    harness.frontend.shutdown().await;
}
