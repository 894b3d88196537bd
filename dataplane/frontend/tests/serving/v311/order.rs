//! Order.

use tessera_mqtt::{Packet, Publish, Qos};
use tessera_tenancy::LimitCode;

use super::{AT_LEAST_ONCE, AT_MOST_ONCE, Client, EXACTLY_ONCE, clean, kept, payload_of};
use crate::client::{id, message};
use crate::harness::{ACME, Harness, free_but, set_tenant};

/// Messages of one flow: fewer than may be unacknowledged towards a client.
const SENT: u16 = 100;

/// A tenant whose rate lets them pass at once.
async fn unhurried() -> Harness {
    let harness = Harness::start().await;
    harness.change(set_tenant(
        ACME,
        free_but(LimitCode::PublishesPerSecond, 1_000_000),
    ));
    harness
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_4_6_0_5_and_6_messages_of_one_client_topic_and_qos_arrive_in_order() {
    let harness = unhurried().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for qos in [AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE] {
        let mut live = Client::online(&harness, clean("live"), false).await;
        let mut stored = Client::online(&harness, kept("stored"), false).await;
        live.subscribe("t/+", EXACTLY_ONCE).await;
        stored.subscribe("t/x", EXACTLY_ONCE).await;
        for number in 1..=SENT {
            let packet_id = (qos > AT_MOST_ONCE).then(|| id(number));
            let message = message("t/x", &number.to_string(), qos);
            let publish = Packet::Publish(Publish::new(message, packet_id));
            publisher.send(&publish).await;
        }
        acknowledged(&mut publisher, qos).await;
        for mut subscriber in [live, stored] {
            arrive_in_order(&mut subscriber).await;
            subscriber.leave().await;
        }
        let forget = Client::online(&harness, clean("stored"), false).await;
        forget.leave().await;
    }
}

/// All messages come before any is acknowledged: the window is wider than they are many.
async fn arrive_in_order(subscriber: &mut Client) {
    let mut came = Vec::new();
    for number in 1..=SENT {
        let publish = subscriber.receive().await;
        assert_eq!(payload_of(&publish), number.to_string());
        came.push(publish);
    }
    for publish in &came {
        subscriber.finish(publish).await;
    }
    subscriber.expect_nothing().await;
}

/// The publisher's part after its messages 1 to [`SENT`].
async fn acknowledged(publisher: &mut Client, qos: Qos) {
    let mut answers = Vec::new();
    match qos {
        Qos::AtMostOnce => {}
        Qos::AtLeastOnce => answers.push((None, 0x40)),
        Qos::ExactlyOnce => answers.extend([(None, 0x50), (Some(0x62), 0x70)]),
    }
    for (said, heard) in answers {
        for number in 1..=SENT {
            let [high, low] = number.to_be_bytes();
            if let Some(first) = said {
                publisher.send_bytes(&[first, 2, high, low]).await;
            }
            publisher.expect(&[heard, 2, high, low]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_8_4_3_subscribing_again_interrupts_no_flow() {
    let harness = unhurried().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for connect in [clean("c"), kept("k")] {
        let mut client = Client::online(&harness, connect, false).await;
        client.subscribe("t", AT_LEAST_ONCE).await;
        let (mut came, mut answered) = (0, 0);
        for number in 1..=SENT {
            let message = message("t", &number.to_string(), AT_LEAST_ONCE);
            let publish = Publish::new(message, Some(id(number)));
            publisher.send(&Packet::Publish(publish)).await;
            if number % 10 == 0 {
                client.send_bytes(&[0x82, 6, 0, 10, 0, 1, b't', 1]).await;
            }
        }
        while came < SENT || answered < SENT / 10 {
            let next = client.next().await;
            if let Packet::Publish(publish) = next {
                came += 1;
                assert_eq!(payload_of(&publish), came.to_string(), "in order, once");
                client.finish(&publish).await;
            } else {
                assert!(matches!(next, Packet::SubAck(_)), "{next:?}");
                answered += 1;
            }
        }
        client.expect_nothing().await;
        acknowledged(&mut publisher, AT_LEAST_ONCE).await;
    }
}
