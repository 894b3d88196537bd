//! Wills, and the silence that publishes them.

use std::time::{Duration, Instant};

use tessera_mqtt::Qos;

use super::{
    AT_LEAST_ONCE, AT_MOST_ONCE, Client, EXACTLY_ONCE, clean, kept, payload_of, retained, topic_of,
    with_will,
};
use crate::client::message;
use crate::harness::Harness;

async fn watcher(harness: &Harness) -> Client {
    let mut watcher = Client::online(harness, clean("watcher"), false).await;
    watcher.subscribe("will/#", EXACTLY_ONCE).await;
    watcher
}

/// A client that is lost, so that all wills before its own have been published.
async fn marker(harness: &Harness, watcher: &mut Client) {
    let connect = with_will(
        clean("marker"),
        message("will/marker", "marker", AT_MOST_ONCE),
    );
    let lost = Client::online(harness, connect, false).await;
    lost.vanish().await;
    assert_eq!(watcher.take().await, "marker");
    watcher.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_8_and_9_and_16_and_17_a_lost_clients_will_is_published_as_it_said() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let every_qos = [AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE];
    let cases = every_qos.map(|qos| [(qos, false), (qos, true)]);
    let cases = cases.into_iter().flatten();
    let cases: Vec<_> = cases
        .map(|(qos, retain)| (format!("will/{}/{retain}", qos.as_u8()), qos, retain))
        .collect();
    for (topic, qos, retain) in &cases {
        let mut will = message(topic, "gone", *qos);
        will.retain = *retain;
        let lost = Client::online(&harness, with_will(clean("lost"), will), false).await;
        watcher.expect_nothing().await;
        lost.vanish().await;
        let publish = watcher.receive().await;
        watcher.finish(&publish).await;
        assert_eq!((topic_of(&publish), publish.qos), (&**topic, *qos));
        assert_eq!(payload_of(&publish), "gone");
        assert!(!publish.retain, "to an established subscription");
    }
    watcher.leave().await;
    // Nobody is told when a will is stored; a node that stops waits for it.
    let harness = harness.restart().await;
    for (topic, qos, retain) in cases {
        greets(&harness, &topic, retain.then_some(qos)).await;
    }
}

/// Whether the will was published as retained, and with which QoS.
async fn greets(harness: &Harness, topic: &str, expected: Option<Qos>) {
    let mut late = Client::online(harness, clean("late"), false).await;
    late.subscribe(topic, EXACTLY_ONCE).await;
    if let Some(qos) = expected {
        let publish = late.receive().await;
        assert!(publish.retain);
        assert_eq!(
            (payload_of(&publish), publish.qos),
            ("gone".to_owned(), qos)
        );
        late.finish(&publish).await;
    }
    late.expect_nothing().await;
    late.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_14_4_3_and_3_1_2_8_and_10_a_will_is_not_published_after_disconnect() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    for connect in [clean("polite"), kept("polite")] {
        let will = retained("will/polite", "gone", AT_LEAST_ONCE);
        let polite = Client::online(&harness, with_will(connect, will), false).await;
        polite.leave().await;
        marker(&harness, &mut watcher).await;
    }
    // Nor when the same client is lost later, on a connection without one.
    let lost = Client::online(&harness, kept("polite"), true).await;
    lost.vanish().await;
    marker(&harness, &mut watcher).await;
    greets(&harness, "will/polite", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_10_and_12_a_will_is_published_once_and_none_without_will_flag() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let will = message("will/c", "gone", AT_LEAST_ONCE);
    let first = Client::online(&harness, with_will(kept("c"), will), false).await;
    first.vanish().await;
    assert_eq!(watcher.take().await, "gone");
    for _ in 0..2 {
        let lost = Client::online(&harness, kept("c"), true).await;
        lost.vanish().await;
    }
    marker(&harness, &mut watcher).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_24_and_8_silence_past_the_keep_alive_publishes_the_will() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let two_seconds = |client, topic| {
        let mut connect = with_will(clean(client), message(topic, "gone", AT_LEAST_ONCE));
        connect.keep_alive_seconds = 2;
        connect
    };
    let mut pinging = Client::online(&harness, two_seconds("p", "will/p"), false).await;
    let begin = Instant::now();
    let mut silent = Client::online(&harness, two_seconds("s", "will/s"), false).await;
    // The end of the silent one is looked for between the other one's packets.
    let pause = Duration::from_millis(300);
    while tokio::time::timeout(pause, silent.expect_end())
        .await
        .is_err()
    {
        pinging.expect_nothing().await;
    }
    let lasted = begin.elapsed();
    assert!(
        lasted.as_secs() >= 3,
        "not within 1.5 times the keep alive: {lasted:?}"
    );
    let publish = watcher.receive().await;
    watcher.finish(&publish).await;
    assert_eq!(topic_of(&publish), "will/s");
    pinging.expect_nothing().await;
    watcher.expect_nothing().await;
}
