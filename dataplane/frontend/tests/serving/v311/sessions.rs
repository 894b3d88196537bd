//! Clean session, takeover, and what a session keeps.

use super::{
    AT_LEAST_ONCE, AT_MOST_ONCE, Client, EXACTLY_ONCE, clean, kept, payload_of, retained, topic_of,
    with_will,
};
use crate::client::message;
use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_4_and_5_and_3_2_2_2_and_3_and_4_1_0_1_and_4_5_0_1_what_came_meanwhile_waits()
{
    let harness = Harness::start().await;
    let mut away = Client::online(&harness, kept("away"), false).await;
    assert_eq!(away.subscribe("one/+", AT_LEAST_ONCE).await, 1);
    assert_eq!(away.subscribe("two/#", EXACTLY_ONCE).await, 2);
    away.leave().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(message("one/a", "a", AT_LEAST_ONCE))
        .await;
    publisher.publish(message("two/b", "b", EXACTLY_ONCE)).await;
    publisher.publish(message("one/c", "c", EXACTLY_ONCE)).await;
    publisher.publish(message("other", "d", EXACTLY_ONCE)).await;

    let mut back = Client::online(&harness, kept("away"), true).await;
    let came = [
        back.receive().await,
        back.receive().await,
        back.receive().await,
    ];
    for (publish, expected) in came.iter().zip([
        ("one/a", "a", AT_LEAST_ONCE),
        ("two/b", "b", EXACTLY_ONCE),
        ("one/c", "c", AT_LEAST_ONCE),
    ]) {
        let payload = payload_of(publish);
        assert_eq!((topic_of(publish), &*payload, publish.qos), expected);
        assert!(!publish.dup);
        back.finish(publish).await;
    }
    back.expect_nothing().await;
    publisher.say("one/live", "live").await;
    assert_eq!(back.take().await, "live", "still subscribed");
    back.vanish().await;
    let mut back = Client::online(&harness, kept("away"), true).await;
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_6_and_3_1_4_3_and_3_2_2_1_and_3_clean_session_discards_and_leaves_nothing() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    let mut old = Client::online(&harness, kept("c"), false).await;
    old.subscribe("old", AT_LEAST_ONCE).await;
    old.leave().await;
    publisher.say("old", "queued").await;

    let mut fresh = Client::online(&harness, clean("c"), false).await;
    publisher.say("old", "live").await;
    fresh.expect_nothing().await;
    fresh.subscribe("new", AT_LEAST_ONCE).await;
    publisher.say("new", "unacknowledged").await;
    assert_eq!(payload_of(&fresh.receive().await), "unacknowledged");
    fresh.vanish().await;

    let mut later = Client::online(&harness, kept("c"), false).await;
    publisher.say("old", "late").await;
    publisher.say("new", "late").await;
    later.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_2_7_retained_messages_outlive_the_sessions_that_sent_them() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(retained("lamp", "on", AT_LEAST_ONCE))
        .await;
    publisher.leave().await;
    let mut again = Client::online(&harness, kept("pub"), false).await;
    again.publish(retained("door", "shut", AT_LEAST_ONCE)).await;
    again.leave().await;
    Client::online(&harness, clean("pub"), false)
        .await
        .leave()
        .await;
    let mut late = Client::online(&harness, clean("late"), false).await;
    for (filter, payload) in [("lamp", "on"), ("door", "shut")] {
        late.subscribe(filter, AT_LEAST_ONCE).await;
        assert_eq!(late.take().await, payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_3_2_the_client_identifier_names_the_session() {
    let harness = Harness::start().await;
    for client in ["a", "b", "A"] {
        let mut first = Client::online(&harness, kept(client), false).await;
        first.subscribe(client, AT_LEAST_ONCE).await;
        first.leave().await;
    }
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for client in ["a", "b", "A"] {
        publisher.say(client, client).await;
    }
    for client in ["A", "a", "b"] {
        let mut back = Client::online(&harness, kept(client), true).await;
        assert_eq!(back.take().await, client);
        back.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_4_2_and_3_1_2_8_the_newer_connection_ends_the_older() {
    let harness = Harness::start().await;
    let mut watcher = Client::online(&harness, clean("watcher"), false).await;
    watcher.subscribe("will/#", AT_LEAST_ONCE).await;
    for connect in [clean("c"), kept("d")] {
        let present = !connect.clean_start;
        let old = with_will(connect.clone(), message("will/old", "gone", AT_MOST_ONCE));
        let mut old = Client::online(&harness, old, false).await;
        old.subscribe("t", AT_LEAST_ONCE).await;
        let mut new = Client::online(&harness, connect, present).await;
        old.expect_end().await;
        assert_eq!(watcher.take().await, "gone", "no DISCONNECT came");
        watcher.say("t", "for the new one").await;
        if present {
            assert_eq!(new.take().await, "for the new one");
        }
        new.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_4_2_and_3_and_3_1_2_6_taking_over_with_or_from_a_clean_session_begins_anew() {
    let harness = Harness::start().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for (first, second) in [(kept("c"), clean("c")), (clean("c"), kept("c"))] {
        let mut old = Client::online(&harness, first, false).await;
        old.subscribe("t", AT_LEAST_ONCE).await;
        let mut new = Client::online(&harness, second, false).await;
        old.expect_end().await;
        publisher.say("t", "for nobody").await;
        new.expect_nothing().await;
        new.leave().await;
        Client::online(&harness, clean("c"), false)
            .await
            .leave()
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_4_1_0_2_a_session_lasts_as_long_as_its_connection() {
    let harness = Harness::start().await;
    let mut clients = Vec::new();
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        client.subscribe("t", EXACTLY_ONCE).await;
        clients.push(client);
    }
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher.publish(message("t", "open", EXACTLY_ONCE)).await;
    for number in 0..20 {
        let connect = if number % 2 == 0 {
            clean("x")
        } else {
            kept("x")
        };
        Client::online(&harness, connect, false).await.leave().await;
        Client::online(&harness, clean("x"), false)
            .await
            .vanish()
            .await;
    }
    publisher.publish(message("t", "live", EXACTLY_ONCE)).await;
    for client in &mut clients {
        // What was begun before is finished now, and the subscription is there.
        let open = client.receive().await;
        let live = client.receive().await;
        for (publish, payload) in [(open, "open"), (live, "live")] {
            assert_eq!(payload_of(&publish), payload);
            assert!(!publish.dup);
            client.finish(&publish).await;
        }
        client.expect_nothing().await;
    }
}
