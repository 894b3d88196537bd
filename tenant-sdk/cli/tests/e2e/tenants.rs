//! Two tenants with the same client identifiers and topics never see each other.

use rumqttc::QoS;

use crate::clients::{Login, v311};
use crate::dev::{Place, text};

#[tokio::test]
async fn tenants_with_the_same_client_identifiers_and_topics_never_meet() {
    let place = Place::new();
    let mut dev = place.start().await;
    let created = place.tessera("credential create tiny same -o json").await;
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap();
    let demo = Login::of(&dev.ready, 0);
    let tiny = Login {
        port: demo.port,
        username: created["mqtt_username"].as_str().unwrap().to_owned(),
        password: created["secret"].as_str().unwrap().to_owned(),
    };
    // Neither takes the other over.
    let mut of_demo = v311::Client::connect(&demo, "same", false).await;
    let mut of_tiny = v311::Client::connect(&tiny, "same", false).await;
    for client in [&mut of_demo, &mut of_tiny] {
        client.subscribe("#", QoS::AtLeastOnce).await;
    }
    of_demo
        .publish("topic", QoS::AtLeastOnce, true, "demo")
        .await;
    of_tiny
        .publish("topic", QoS::AtLeastOnce, true, "tiny")
        .await;
    // Had the other's come as well, it would be in this order too.
    for (client, own) in [(&mut of_demo, "demo"), (&mut of_tiny, "tiny")] {
        assert_eq!(text(&client.next().await.payload), own);
        client
            .publish("last", QoS::AtLeastOnce, false, "last")
            .await;
        assert_eq!(text(&client.next().await.payload), "last");
    }
    // Retained messages, and what waits for a session that is away.
    drop(of_demo);
    of_tiny
        .publish("topic", QoS::AtLeastOnce, true, "tiny again")
        .await;
    let mut of_demo = v311::Client::connect(&demo, "same", false).await;
    of_demo.publish("end", QoS::AtLeastOnce, false, "end").await;
    assert_eq!(text(&of_demo.next().await.payload), "end");
    let mut fresh = v311::Client::connect(&demo, "fresh", true).await;
    fresh.subscribe("topic", QoS::AtLeastOnce).await;
    assert_eq!(text(&fresh.next().await.payload), "demo");
    // One tenant's secret does not open another.
    let crossed = place
        .tessera(&format!("pub -u tiny.same -P {} a b", demo.password))
        .await;
    assert_eq!(crossed.status.code(), Some(3), "{}", text(&crossed.stderr));
    dev.stop().await;
}
