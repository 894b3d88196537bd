//! Messages from one node's devices to another's.

use tessera_mqtt::{Packet, Qos, ReasonCode};

use super::nodes::{Cluster, NODES};
use crate::client::{Device, Hello};
use crate::harness::ACME;

const LEVELS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

async fn publish(publisher: &mut Device, topic: &str, payload: &str, qos: Qos) {
    let message = crate::client::message(topic, payload, qos);
    publisher.publish_message(message).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_reaches_transient_and_persistent_sessions_of_every_node_in_order() {
    let cluster = Cluster::start().await;
    let names = ["t1", "t2", "t3", "p1", "p2", "p3"];
    let mut receivers = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let hello = match at < 3 {
            true => Hello::new(ACME, name),
            false => Hello::persistent(ACME, name),
        };
        let mut receiver = cluster.connected(NODES[at % 3], &hello).await;
        assert_eq!(
            receiver.subscribe("a/+", Qos::ExactlyOnce).await,
            [ReasonCode::GrantedQos2]
        );
        receivers.push(receiver);
    }
    let mut publisher = cluster.connected(1, &Hello::new(ACME, "publisher")).await;
    for qos in LEVELS {
        for number in 0..10 {
            publish(&mut publisher, "a/b", &format!("{qos:?} {number}"), qos).await;
        }
        for receiver in &mut receivers {
            let received = receiver.receive_all(10).await;
            let payloads: Vec<_> = received
                .iter()
                .map(|publish| &publish.payload[..])
                .collect();
            let expected: Vec<_> = (0..10).map(|number| format!("{qos:?} {number}")).collect();
            let expected: Vec<_> = expected.iter().map(String::as_bytes).collect();
            assert_eq!(payloads, expected);
            assert!(received.iter().all(|publish| publish.qos == qos));
        }
    }
    cluster.stop().await;
}

/// Promise 6: fresh connections, fresh filters, published through another node as soon as the SUBACK
/// is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_after_a_suback_through_any_node_arrives() {
    let cluster = Cluster::start().await;
    let mut publishers = Vec::new();
    for (node, name) in NODES.into_iter().zip(["w1", "w2", "w3"]) {
        publishers.push(cluster.connected(node, &Hello::new(ACME, name)).await);
    }
    for round in 0..30_usize {
        let hello = match round % 2 {
            0 => Hello::new(ACME, "fresh"),
            _ => Hello::persistent(ACME, "kept"),
        };
        let mut subscriber = cluster.connected(NODES[round % 3], &hello).await;
        let filter = match round % 4 {
            0 => format!("r/{round}/x"),
            1 => format!("r/{round}/+"),
            2 => format!("r/{round}/#"),
            _ => format!("$share/g/r/{round}/x"),
        };
        subscriber.subscribe(&filter, Qos::AtLeastOnce).await;
        for (number, publisher) in publishers.iter_mut().enumerate() {
            let topic = format!("r/{round}/x");
            publish(publisher, &topic, &number.to_string(), Qos::AtLeastOnce).await;
            let received = subscriber.receive_all(1).await;
            assert_eq!(received[0].payload, number.to_string(), "{filter}");
        }
        assert_eq!(subscriber.unsubscribe(&filter).await, [ReasonCode::Success]);
        for publisher in &mut publishers {
            publish(publisher, &format!("r/{round}/x"), "late", Qos::AtLeastOnce).await;
        }
        subscriber.expect_nothing().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_over_nodes_gives_each_message_to_one_member() {
    let cluster = Cluster::start().await;
    let mut members = Vec::new();
    for (node, name) in NODES.into_iter().zip(["m1", "m2", "m3"]) {
        let mut member = cluster.connected(node, &Hello::new(ACME, name)).await;
        member.subscribe("$share/g/jobs", Qos::AtLeastOnce).await;
        members.push(member);
    }
    let mut publisher = cluster.connected(2, &Hello::new(ACME, "publisher")).await;
    for number in 0..9 {
        publish(
            &mut publisher,
            "jobs",
            &number.to_string(),
            Qos::AtLeastOnce,
        )
        .await;
    }
    let mut jobs = Vec::new();
    for member in &mut members {
        for job in member.receive_all(3).await {
            jobs.push(job.payload);
        }
        member.expect_nothing().await;
    }
    jobs.sort();
    let expected: Vec<_> = (0..9).map(|number| number.to_string()).collect();
    assert_eq!(jobs, expected);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_of_one_node_is_there_for_the_next_subscriber_of_another() {
    let cluster = Cluster::start().await;
    let mut publisher = cluster.connected(1, &Hello::new(ACME, "publisher")).await;
    for number in 0..10 {
        publisher.retain("state", &number.to_string()).await;
        let node = NODES[number % 3];
        let mut reader = cluster.connected(node, &Hello::new(ACME, "reader")).await;
        reader.subscribe("state", Qos::AtLeastOnce).await;
        let Packet::Publish(publish) = reader.next().await else {
            panic!("the retained message comes next")
        };
        assert_eq!(publish.payload, number.to_string());
    }
    cluster.stop().await;
}

/// Batches between nodes are numbered: what is sent again is taken once, in its order.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_lost_or_come_twice_neither_lose_nor_double_nor_reorder() {
    let cluster = Cluster::start().await;
    cluster.disturb();
    let mut receiver = cluster.connected(2, &Hello::new(ACME, "receiver")).await;
    receiver.subscribe("a", Qos::ExactlyOnce).await;
    let mut member = cluster.connected(3, &Hello::new(ACME, "member")).await;
    member.subscribe("$share/g/a", Qos::ExactlyOnce).await;
    let mut publisher = cluster.connected(1, &Hello::new(ACME, "publisher")).await;
    for qos in LEVELS {
        for number in 0..50 {
            publish(&mut publisher, "a", &number.to_string(), qos).await;
        }
        for device in [&mut receiver, &mut member] {
            for (number, publish) in device.receive_all(50).await.iter().enumerate() {
                assert_eq!(publish.payload, number.to_string(), "{qos:?}");
            }
            device.expect_nothing().await;
        }
    }
    cluster.stop().await;
}
