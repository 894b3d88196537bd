//! A node that the others do not hear of.

use tessera_mqtt::{Packet, Qos, ReasonCode};

use super::nodes::Cluster;
use crate::client::{Hello, message};
use crate::harness::ACME;

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_without_a_node_and_its_devices_find_their_sessions_elsewhere() {
    let cluster = Cluster::start().await;
    let hello = Hello::persistent(ACME, "kept");
    let mut kept = cluster.connected(3, &hello).await;
    kept.subscribe("news", Qos::AtLeastOnce).await;
    let mut gone = cluster.connected(3, &Hello::new(ACME, "gone")).await;
    gone.subscribe("#", Qos::AtLeastOnce).await;
    cluster.isolate(3);
    // Its SUBACK waits until the lost node's session has ended.
    let mut subscriber = cluster.connected(1, &Hello::new(ACME, "new")).await;
    assert_eq!(
        subscriber.subscribe("news", Qos::AtLeastOnce).await,
        [ReasonCode::GrantedQos1]
    );
    let mut publisher = cluster.connected(2, &Hello::new(ACME, "publisher")).await;
    let news = message("news", "one", Qos::AtLeastOnce);
    publisher.publish_message(news).await;
    assert_eq!(subscriber.receive_all(1).await[0].payload, "one");
    let mut moved = cluster.device(2).await;
    let answer = moved.hello(&hello).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    assert!(answer.session_present);
    assert_eq!(moved.receive_all(1).await[0].payload, "one");
    // What is cut off acknowledges nothing, and its connections end once it is back.
    let stranded = message("news", "stranded", Qos::AtLeastOnce);
    gone.send_publish(stranded).await;
    cluster.heal();
    for device in [&mut kept, &mut gone] {
        loop {
            match device.next_or_end().await {
                Some(Packet::PubAck(ack)) => assert_ne!(ack.reason, ReasonCode::Success),
                Some(Packet::Disconnect(_)) | None => break,
                Some(_) => {}
            }
        }
    }
    subscriber.expect_nothing().await;
    let mut back = cluster.connected(3, &Hello::new(ACME, "back")).await;
    back.subscribe("news", Qos::AtLeastOnce).await;
    let news = message("news", "two", Qos::AtLeastOnce);
    publisher.publish_message(news).await;
    for device in [&mut back, &mut subscriber, &mut moved] {
        assert_eq!(device.receive_all(1).await[0].payload, "two");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_will_of_a_device_whose_node_is_gone_is_published_by_another() {
    let cluster = Cluster::start().await;
    let mut watcher = cluster.connected(1, &Hello::new(ACME, "watcher")).await;
    watcher.subscribe("left", Qos::AtMostOnce).await;
    let hello = Hello::new(ACME, "device").watched();
    let _device = cluster.connected(3, &hello).await;
    cluster.isolate(3);
    let will = watcher.receive_all(1).await;
    assert_eq!(will[0].payload, "left");
    watcher.expect_nothing().await;
    cluster.stop().await;
}
