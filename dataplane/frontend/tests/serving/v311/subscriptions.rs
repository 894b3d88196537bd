//! Filters: which messages come, at which QoS, and until when.

use super::{
    AT_LEAST_ONCE, AT_MOST_ONCE, Client, EXACTLY_ONCE, clean, field, framed, kept, payload_of,
    topic_of,
};
use crate::client::message;
use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_5_1_overlapping_subscriptions_deliver_at_the_highest_matching_qos() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        client.subscribe("a/#", AT_LEAST_ONCE).await;
        client.subscribe("a/+", EXACTLY_ONCE).await;
        client.subscribe("#", AT_MOST_ONCE).await;
        for (topic, published, expected) in [
            ("a/b", EXACTLY_ONCE, EXACTLY_ONCE),
            ("a/b", AT_LEAST_ONCE, AT_LEAST_ONCE),
            ("a/b/c", EXACTLY_ONCE, AT_LEAST_ONCE),
            ("x", EXACTLY_ONCE, AT_MOST_ONCE),
        ] {
            publisher.publish(message(topic, "m", published)).await;
            let publish = client.receive().await;
            client.finish(&publish).await;
            assert_eq!((topic_of(&publish), publish.qos), (topic, expected));
            client.expect_nothing().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_8_4_6_the_lower_of_published_and_granted_qos_is_delivered() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    let every_qos = [AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE];
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        for granted in every_qos {
            assert_eq!(client.subscribe("t", granted).await, granted.as_u8());
            for published in every_qos {
                publisher.publish(message("t", "m", published)).await;
                let publish = client.receive().await;
                client.finish(&publish).await;
                assert_eq!(publish.qos, published.min(granted));
            }
        }
        client.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_2_3_and_4_7_1_2_and_3_and_4_7_2_1_and_4_7_3_4_each_filter_brings_its_topics() {
    let topics = [
        "sport",
        "sport/",
        "sport/tennis",
        "sport/tennis/player1",
        "Sport/tennis",
        "/sport",
        "/",
        "caf\u{e9}/1",
        "cafe\u{301}/1",
        "$dev/monitor",
        "$dev",
    ];
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for (filter, expected) in [
        ("#", &topics[..9]),
        ("sport/#", &topics[..4]),
        ("sport/+", &topics[1..3]),
        ("+", &topics[..1]),
        (
            "+/+",
            &[
                "sport/",
                "sport/tennis",
                "Sport/tennis",
                "/sport",
                "/",
                "caf\u{e9}/1",
                "cafe\u{301}/1",
            ],
        ),
        ("/+", &["/sport", "/"]),
        ("+/monitor", &[]),
        ("$dev/#", &["$dev/monitor", "$dev"]),
        ("$dev/+", &["$dev/monitor"]),
        ("caf\u{e9}/+", &["caf\u{e9}/1"]),
        ("sport/tennis", &["sport/tennis"]),
    ] {
        let mut client = Client::online(&harness, clean("c"), false).await;
        client.subscribe(filter, AT_MOST_ONCE).await;
        for topic in topics {
            publisher.publish(message(topic, topic, AT_MOST_ONCE)).await;
        }
        for topic in expected {
            let publish = client.receive().await;
            assert_eq!(
                (topic_of(&publish), &*payload_of(&publish)),
                (*topic, *topic),
                "{filter}"
            );
        }
        client.expect_nothing().await;
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_8_4_1_and_2_and_4_and_5_and_3_9_3_1_and_2_a_refused_filter_gets_0x80_alone() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        let mut body = vec![0x12, 0x34];
        for (filter, options) in [
            ("a/+", 2),
            ("b/#/c", 1),
            ("b+", 1),
            ("", 0),
            ("d", 0),
            ("e", 1),
        ] {
            body.extend(field(filter));
            body.push(options);
        }
        client.send_bytes(&framed(0x82, &body)).await;
        client
            .expect(&[0x90, 8, 0x12, 0x34, 2, 0x80, 0x80, 0x80, 0, 1])
            .await;
        for topic in ["b/c", "b", "b/x/c", "a/1", "d", "e"] {
            publisher.publish(message(topic, topic, AT_MOST_ONCE)).await;
        }
        for topic in ["a/1", "d", "e"] {
            assert_eq!(client.take().await, topic);
        }
        client.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_8_4_4_and_3_the_same_filter_twice_in_one_packet_counts_as_two_in_turn() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        let said = [0x82, 10, 0, 1, 0, 1, b't', 2, 0, 1, b't', 1];
        client.send_bytes(&said).await;
        client.expect(&[0x90, 4, 0, 1, 2, 1]).await;
        publisher.publish(message("t", "m", EXACTLY_ONCE)).await;
        let publish = client.receive().await;
        assert_eq!(publish.qos, AT_LEAST_ONCE, "the later one holds");
        client.finish(&publish).await;
        client.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_10_4_1_and_2_and_4_and_5_and_6_unsubscribe_ends_the_same_filters_and_no_others()
{
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for connect in [clean("c"), kept("k")] {
        let is_kept = !connect.clean_start;
        let mut client = Client::online(&harness, connect, false).await;
        for filter in ["a/+", "b", "c/#", "d"] {
            client.subscribe(filter, AT_LEAST_ONCE).await;
        }
        // None of these is a filter of the client, though they match the same topics.
        client
            .unsubscribe(&["a/#", "a/b", "B", "c", "+", "#", "b/"])
            .await;
        for topic in ["a/b", "b", "c/x", "d"] {
            publisher.say(topic, topic).await;
            assert_eq!(client.take().await, topic);
        }
        client.unsubscribe(&["a/+", "never", "c/#", "d"]).await;
        client.unsubscribe(&["never"]).await;
        if is_kept {
            client.vanish().await;
            client = Client::online(&harness, kept("k"), true).await;
        }
        for topic in ["a/b", "c/x", "d", "b"] {
            publisher.say(topic, topic).await;
        }
        assert_eq!(client.take().await, "b");
        client.expect_nothing().await;
    }
}

/// UNSUBACK of version 3 always says that it was done (3.11).
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_not_stored_ends_the_connection_without_unsuback() {
    for connect in [clean("c"), kept("k")] {
        let harness = Harness::start().await;
        let mut client = Client::online(&harness, connect, false).await;
        client.subscribe("t", AT_LEAST_ONCE).await;
        harness.end_stores().await;
        let body = [&[0, 7][..], &field("t")].concat();
        client.send_bytes(&framed(0xa2, &body)).await;
        client.expect_end().await;
    }
}
