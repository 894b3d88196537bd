//! Retained messages.

use tessera_mqtt::Qos;

use super::{
    AT_LEAST_ONCE, AT_MOST_ONCE, Client, EXACTLY_ONCE, clean, kept, payload_of, retained, topic_of,
};
use crate::client::message;
use crate::harness::Harness;

const EVERY_QOS: [Qos; 3] = [AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE];

/// What a new subscriber of the filter is sent at once: topic, payload and QoS, in topic order.
async fn greeting(harness: &Harness, filter: &str, count: usize) -> Vec<(String, String, Qos)> {
    let mut late = Client::online(harness, clean("late"), false).await;
    late.subscribe(filter, EXACTLY_ONCE).await;
    let mut came = Vec::new();
    for _ in 0..count {
        let publish = late.receive().await;
        assert!(publish.retain, "because of the new subscription");
        came.push(publish);
    }
    for publish in &came {
        late.finish(publish).await;
    }
    late.expect_nothing().await;
    late.leave().await;
    let mut came: Vec<_> = came
        .iter()
        .map(|publish| {
            (
                topic_of(publish).to_owned(),
                payload_of(publish),
                publish.qos,
            )
        })
        .collect();
    came.sort();
    came
}

/// QoS 0 is not acknowledged: a QoS 1 message behind it in the same store is.
async fn settle(publisher: &mut Client) {
    let last = retained("settled", "", AT_LEAST_ONCE);
    publisher.publish(last).await;
}

fn was(topic: &str, payload: &str, qos: Qos) -> (String, String, Qos) {
    (topic.to_owned(), payload.to_owned(), qos)
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_5_and_6_and_8_and_9_the_last_of_each_topic_greets_new_subscribers() {
    let harness = Harness::start().await;
    let mut established = Client::online(&harness, clean("sub"), false).await;
    established.subscribe("home/#", EXACTLY_ONCE).await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for (topic, payload, qos) in [
        ("home/1", "first", EXACTLY_ONCE),
        ("home/1", "last", AT_LEAST_ONCE),
        ("home/2", "only", EXACTLY_ONCE),
        ("home/2/deep", "under", AT_MOST_ONCE),
        ("away", "elsewhere", AT_LEAST_ONCE),
    ] {
        publisher.publish(retained(topic, payload, qos)).await;
        if topic != "away" {
            let publish = established.receive().await;
            assert!(!publish.retain, "to an established subscription");
            assert_eq!(payload_of(&publish), payload);
            established.finish(&publish).await;
        }
    }
    settle(&mut publisher).await;
    assert_eq!(
        greeting(&harness, "home/#", 3).await,
        [
            was("home/1", "last", AT_LEAST_ONCE),
            was("home/2", "only", EXACTLY_ONCE),
            was("home/2/deep", "under", AT_MOST_ONCE),
        ]
    );
    assert_eq!(greeting(&harness, "home/+", 2).await.len(), 2);
    established.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_7_a_retained_qos_0_message_replaces_what_was_retained() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(retained("lamp", "old", EXACTLY_ONCE))
        .await;
    publisher
        .publish(retained("lamp", "new", AT_MOST_ONCE))
        .await;
    // In order behind it in the same store.
    publisher
        .publish(retained("lamp/2", "x", AT_LEAST_ONCE))
        .await;
    assert_eq!(
        greeting(&harness, "lamp", 1).await,
        [was("lamp", "new", AT_MOST_ONCE)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_10_and_11_an_empty_retained_message_is_passed_on_deletes_and_is_not_stored()
{
    let harness = Harness::start().await;
    let mut established = Client::online(&harness, clean("sub"), false).await;
    established.subscribe("lamp", EXACTLY_ONCE).await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for qos in EVERY_QOS {
        // Once with something to delete, once without.
        publisher
            .publish(retained("lamp", "on", AT_LEAST_ONCE))
            .await;
        assert_eq!(established.take().await, "on");
        for _ in 0..2 {
            publisher.publish(retained("lamp", "", qos)).await;
            let publish = established.receive().await;
            established.finish(&publish).await;
            assert_eq!(topic_of(&publish), "lamp");
            assert_eq!((&publish.payload[..], publish.qos), (&b""[..], qos));
            assert!(!publish.retain);
        }
        settle(&mut publisher).await;
        assert!(greeting(&harness, "lamp", 0).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_12_a_message_without_retain_neither_stores_nor_touches() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(retained("lamp", "kept", AT_LEAST_ONCE))
        .await;
    for qos in EVERY_QOS {
        publisher.publish(message("lamp", "passing", qos)).await;
        publisher.publish(message("lamp", "", qos)).await;
        publisher.publish(message("door", "passing", qos)).await;
    }
    assert_eq!(
        greeting(&harness, "#", 1).await,
        [was("lamp", "kept", AT_LEAST_ONCE)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription_and_sends_retained_again()
{
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(retained("lamp", "on", EXACTLY_ONCE))
        .await;
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        for qos in [AT_MOST_ONCE, EXACTLY_ONCE, AT_LEAST_ONCE] {
            assert_eq!(client.subscribe("lamp", qos).await, qos.as_u8());
            let greeting = client.receive().await;
            assert!(greeting.retain);
            assert_eq!(greeting.qos, qos);
            client.finish(&greeting).await;
            publisher
                .publish(message("lamp", "live", EXACTLY_ONCE))
                .await;
            let live = client.receive().await;
            assert_eq!((live.qos, live.retain), (qos, false));
            client.finish(&live).await;
            client.expect_nothing().await;
        }
    }
}
