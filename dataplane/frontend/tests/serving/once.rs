//! QoS 2 messages that are sent again before their PUBREC came.

use tessera_mqtt::{Packet, ProtocolVersion, Publish, Qos, ReasonCode};

use crate::client::{Device, Hello, id, message};
use crate::harness::Harness;

/// Enough that the first one is still on its way to a disk when some are sent again.
const ROUNDS: u16 = 40;

fn publish(round: u16, retain: bool, dup: bool) -> Packet {
    let mut message = message("t", &round.to_string(), Qos::ExactlyOnce);
    message.retain = retain;
    let mut publish = Publish::new(message, Some(id(round + 1)));
    publish.dup = dup;
    Packet::Publish(publish)
}

async fn await_pubrec(device: &mut Device) {
    loop {
        if let Packet::PubRec(ack) = device.next().await {
            assert_eq!(ack.reason, ReasonCode::Success);
            return;
        }
    }
}

/// MQTT-4.3.3-12 and 4.4.0-1, for receivers that have no queue: what the first one gave them is not
/// given again, whether the new connection takes the old one over or comes after its end.
async fn sent_again_reaches_everyone_once(version: ProtocolVersion, retain: bool) {
    let harness = Harness::start().await;
    let mut watcher = harness.connected(&Hello::new(1, "watcher")).await;
    watcher.subscribe("t", Qos::AtLeastOnce).await;
    let mut members = Vec::new();
    for client in ["member-1", "member-2"] {
        let mut member = harness.connected(&Hello::new(1, client)).await;
        member.subscribe("$share/g/t", Qos::AtLeastOnce).await;
        members.push(member);
    }
    let hello = Hello {
        version,
        ..Hello::persistent(1, "publisher")
    };
    let mut publisher = harness.connected(&hello).await;
    for round in 0..ROUNDS {
        publisher.send(&publish(round, retain, false)).await;
        assert_eq!(watcher.receive_payload().await, round.to_string());
        let mut again = harness.connected(&hello).await;
        // Half of them are gone before, half are taken over.
        if round % 2 == 0 {
            drop(publisher);
        }
        again.send(&publish(round, retain, true)).await;
        await_pubrec(&mut again).await;
        publisher = again;
    }
    watcher.expect_nothing().await;
    let mut shares = 0;
    for member in &mut members {
        shares += usize::from(member.drain().await);
    }
    assert_eq!(shares, usize::from(ROUNDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qos_2_message_that_is_sent_again_before_its_pubrec_reaches_everyone_once() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        sent_again_reaches_everyone_once(version, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_qos_2_message_that_is_sent_again_before_its_pubrec_reaches_everyone_once() {
    sent_again_reaches_everyone_once(ProtocolVersion::V5, true).await;
}
