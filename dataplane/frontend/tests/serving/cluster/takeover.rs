//! One client identifier, several nodes.

use tessera_mqtt::{Qos, ReasonCode};

use super::nodes::{Cluster, NODES};
use crate::client::{Hello, message};
use crate::harness::{ACME, BETA};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_connects_elsewhere_is_taken_over_with_its_session() {
    let cluster = Cluster::start().await;
    for hello in [
        Hello::new(ACME, "transient"),
        Hello::persistent(ACME, "persistent"),
    ] {
        let mut old = cluster.connected(1, &hello).await;
        old.subscribe("news", Qos::AtLeastOnce).await;
        let mut new = cluster.device(2).await;
        let answer = new.hello(&hello).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        assert_eq!(answer.session_present, hello.expiry > 0);
        assert_eq!(old.ended_with().await, ReasonCode::SessionTakenOver);
        if hello.expiry > 0 {
            let mut publisher = cluster.connected(3, &Hello::new(ACME, "publisher")).await;
            let news = message("news", "still", Qos::AtLeastOnce);
            publisher.publish_message(news).await;
            assert_eq!(new.receive_all(1).await[0].payload, "still");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_race_for_a_client_identifier_one_is_left() {
    let cluster = Cluster::start().await;
    for hello in [
        Hello::new(ACME, "transient"),
        Hello::persistent(ACME, "persistent"),
    ] {
        for _ in 0..5 {
            let racing = (0..9).map(async |at: usize| {
                let mut device = cluster.device(NODES[at % 3]).await;
                device.try_hello(&hello).await.then_some(device)
            });
            let raced = futures_util::future::join_all(racing).await;
            let mut left = 0;
            for mut device in raced.into_iter().flatten() {
                left += usize::from(device.is_served().await);
            }
            assert_eq!(left, 1);
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_principal_of_another_node_gets_no_client_identifier_that_is_connected() {
    let cluster = Cluster::start().await;
    for hello in [
        Hello::new(ACME, "transient"),
        Hello::persistent(ACME, "persistent"),
    ] {
        let mut owner = cluster.connected(1, &hello).await;
        let mut thief = cluster.device(2).await;
        let answer = thief.hello(&hello.clone().by("two")).await;
        assert_eq!(answer.reason, ReasonCode::ClientIdentifierNotValid);
        assert!(owner.is_served().await);
    }
    cluster.stop().await;
}

/// The nodes that lead its shards are cut off one after the other, while another tenant races for the
/// same client identifier through every node.
#[tokio::test(flavor = "multi_thread")]
async fn x_15_a_takeover_race_while_the_victim_moves_between_nodes_reaches_nothing_of_it() {
    let cluster = Cluster::start().await;
    let victim = Hello::persistent(BETA, "same");
    let mut device = cluster.connected(1, &victim).await;
    device.subscribe("secret/#", Qos::ExactlyOnce).await;
    device.farewell().await;
    let mut told = Vec::new();
    for away in NODES {
        cluster.isolate(away);
        let racing = (0..9).map(async |at: usize| {
            let hello = match at % 2 {
                0 => Hello::new(ACME, "same"),
                _ => Hello::persistent(ACME, "same"),
            };
            let mut device = cluster.device(NODES[at % 3]).await;
            if device.try_hello(&hello).await {
                device.is_served().await;
            }
        });
        let publishing = async {
            let node = away % 3 + 1;
            let hello = Hello::new(BETA, "publisher");
            let mut publisher = cluster.connected(node, &hello).await;
            let payload = format!("while {away} is away");
            publisher
                .publish_message(message("secret/x", &payload, Qos::ExactlyOnce))
                .await;
            payload
        };
        let (_, payload) = tokio::join!(futures_util::future::join_all(racing), publishing);
        told.push(payload);
        cluster.heal();
    }
    let mut thief = cluster.connected(2, &Hello::persistent(ACME, "same")).await;
    thief.subscribe("#", Qos::AtLeastOnce).await;
    let mut back = cluster.connected(3, &victim).await;
    let received = back.receive_all(told.len()).await;
    let received: Vec<_> = received
        .iter()
        .map(|publish| publish.payload.clone())
        .collect();
    assert_eq!(received, told);
    back.expect_nothing().await;
    thief.expect_nothing().await;
    cluster.stop().await;
}
