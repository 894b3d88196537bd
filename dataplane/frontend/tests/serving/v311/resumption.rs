//! What is sent again after a reconnection, and what is not delivered twice.

use tessera_mqtt::{Ack, Packet, Publish};

use super::{AT_LEAST_ONCE, Client, EXACTLY_ONCE, clean, kept, payload_of};
use crate::client::{id, message};
use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_4_4_0_1_and_3_3_1_1_and_2_3_1_4_what_was_not_acknowledged_comes_again() {
    let harness = Harness::start().await;
    let mut first = Client::online(&harness, kept("c"), false).await;
    first.subscribe("t/#", EXACTLY_ONCE).await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(message("t/0", "done", AT_LEAST_ONCE))
        .await;
    publisher
        .publish(message("t/1", "one", AT_LEAST_ONCE))
        .await;
    publisher.publish(message("t/2", "two", EXACTLY_ONCE)).await;
    publisher
        .publish(message("t/3", "three", EXACTLY_ONCE))
        .await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        let publish = first.receive().await;
        assert!(!publish.dup);
        sent.push(publish);
    }
    first.finish(&sent[0]).await;
    let received = sent[2].packet_id.unwrap();
    first.send(&Packet::PubRec(Ack::new(received))).await;
    assert_eq!(first.next().await, Packet::PubRel(Ack::new(received)));
    first.vanish().await;

    let mut back = Client::online(&harness, kept("c"), true).await;
    let owed = back.next().await;
    assert_eq!(
        owed,
        Packet::PubRel(Ack::new(received)),
        "PUBREL, not PUBLISH"
    );
    for expected in [&sent[1], &sent[3]] {
        let again = back.receive().await;
        let marked = Publish {
            dup: true,
            ..expected.clone()
        };
        assert_eq!(again, marked);
        back.finish(&again).await;
    }
    back.send(&Packet::PubComp(Ack::new(received))).await;
    back.expect_nothing().await;
    back.vanish().await;
    let mut later = Client::online(&harness, kept("c"), true).await;
    later.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_4_4_0_1_and_3_3_1_1_a_connection_that_takes_over_gets_what_the_older_left_open() {
    let harness = Harness::start().await;
    let mut old = Client::online(&harness, kept("c"), false).await;
    old.subscribe("t", EXACTLY_ONCE).await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher.publish(message("t", "one", AT_LEAST_ONCE)).await;
    publisher.publish(message("t", "two", EXACTLY_ONCE)).await;
    let sent = [old.receive().await, old.receive().await];
    let mut new = Client::online(&harness, kept("c"), true).await;
    old.expect_end().await;
    for expected in sent {
        let again = Publish {
            dup: true,
            ..expected
        };
        assert_eq!(new.receive().await, again);
        new.finish(&again).await;
    }
    new.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_4_3_3_2_and_4_4_0_1_a_qos_2_message_repeated_after_a_reconnect_is_delivered_once()
{
    let harness = Harness::start().await;
    let mut subscriber = Client::online(&harness, clean("sub"), false).await;
    subscriber.subscribe("t", AT_LEAST_ONCE).await;
    let publish = |payload, dup| {
        let mut publish = Publish::new(message("t", payload, EXACTLY_ONCE), Some(id(5)));
        publish.dup = dup;
        Packet::Publish(publish)
    };
    let mut first = Client::online(&harness, kept("pub"), false).await;
    first.send(&publish("once", false)).await;
    first.expect(&[0x50, 2, 0, 5]).await;
    first.vanish().await;

    let mut back = Client::online(&harness, kept("pub"), true).await;
    for _ in 0..2 {
        back.send(&publish("once", true)).await;
        back.expect(&[0x50, 2, 0, 5]).await;
    }
    back.send_bytes(&[0x62, 2, 0, 5]).await;
    back.expect(&[0x70, 2, 0, 5]).await;
    assert_eq!(subscriber.take().await, "once");
    subscriber.expect_nothing().await;
    back.send(&publish("new", false)).await;
    back.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(
        subscriber.take().await,
        "new",
        "the identifier is free again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_4_3_2_2_and_2_3_1_6_a_repeated_qos_1_message_is_acknowledged_and_new() {
    let harness = Harness::start().await;
    let mut subscriber = Client::online(&harness, clean("sub"), false).await;
    subscriber.subscribe("t", AT_LEAST_ONCE).await;
    let mut publisher = Client::online(&harness, kept("pub"), false).await;
    for dup in [false, true] {
        let mut publish = Publish::new(message("t", "m", AT_LEAST_ONCE), Some(id(0x1234)));
        publish.dup = dup;
        publisher.send(&Packet::Publish(publish)).await;
        publisher.expect(&[0x40, 2, 0x12, 0x34]).await;
        assert_eq!(subscriber.take().await, "m");
    }
    subscriber.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_10_4_3_a_delivery_that_was_begun_is_finished_after_unsubscribe() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for connect in [clean("c"), kept("k")] {
        let may_resume = !connect.clean_start;
        let mut client = Client::online(&harness, connect, false).await;
        client.subscribe("t", EXACTLY_ONCE).await;
        publisher.publish(message("t", "one", AT_LEAST_ONCE)).await;
        publisher.publish(message("t", "two", EXACTLY_ONCE)).await;
        let sent = [client.receive().await, client.receive().await];
        client.unsubscribe(&["t"]).await;
        publisher.publish(message("t", "late", EXACTLY_ONCE)).await;
        if may_resume {
            client.vanish().await;
            client = Client::online(&harness, kept("k"), true).await;
            for publish in &sent {
                let again = client.receive().await;
                assert!(again.dup);
                assert_eq!(again.packet_id, publish.packet_id);
                assert_eq!(payload_of(&again), payload_of(publish));
            }
        }
        for publish in &sent {
            client.finish(publish).await;
        }
        client.expect_nothing().await;
    }
}
