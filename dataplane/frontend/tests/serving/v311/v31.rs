//! MQTT 3.1's own rules.

use tessera_mqtt::{Connect, ProtocolVersion};

use super::{AT_LEAST_ONCE, Client, EXACTLY_ONCE, clean, field, framed, kept, with_will};
use crate::client::message;
use crate::harness::Harness;

fn of_3_1(connect: Connect) -> Connect {
    Connect {
        version: ProtocolVersion::V31,
        ..connect
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v31_a_session_is_kept_though_connack_cannot_say_so() {
    let harness = Harness::start().await;
    let mut first = Client::online(&harness, of_3_1(kept("c")), false).await;
    assert_eq!(first.subscribe("t", EXACTLY_ONCE).await, 2);
    first.leave().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    publisher
        .publish(message("t", "queued", EXACTLY_ONCE))
        .await;
    let mut back = Client::online(&harness, of_3_1(kept("c")), false).await;
    assert_eq!(back.take().await, "queued");
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v31_a_refused_subscription_closes_and_publishes_the_will() {
    let harness = Harness::start().await;
    let mut watcher = Client::online(&harness, clean("watcher"), false).await;
    watcher.subscribe("will", AT_LEAST_ONCE).await;
    let connect = with_will(clean("c"), message("will", "gone", AT_LEAST_ONCE));
    let mut client = Client::online(&harness, of_3_1(connect), false).await;
    client
        .send_bytes(&[0x82, 11, 0, 1, 0, 1, b'a', 1, 0, 2, b'a', b'#', 1])
        .await;
    client.expect_end().await;
    assert_eq!(watcher.take().await, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn v31_what_is_sent_again_may_carry_dup() {
    let harness = Harness::start().await;
    let mut client = Client::online(&harness, of_3_1(clean("c")), false).await;
    for first in [0x82, 0x8A] {
        client.send_bytes(&[first, 6, 0, 1, 0, 1, b'a', 1]).await;
        client.expect(&[0x90, 3, 0, 1, 1]).await;
    }
    for first in [0xA2, 0xAA] {
        client.send_bytes(&[first, 5, 0, 2, 0, 1, b'a']).await;
        client.expect(&[0xB0, 2, 0, 2]).await;
    }
    client.send_bytes(&[0x34, 6, 0, 1, b'a', 0, 3, b'm']).await;
    client.expect(&[0x50, 2, 0, 3]).await;
    for first in [0x62, 0x6A] {
        client.send_bytes(&[first, 2, 0, 3]).await;
        client.expect(&[0x70, 2, 0, 3]).await;
    }
    client.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v31_an_identifier_of_23_characters_is_accepted_and_24_are_told_0x02() {
    let harness = Harness::start().await;
    let longest = "x".repeat(23);
    Client::online(&harness, of_3_1(clean(&longest)), false).await;
    for identifier in ["x".repeat(24), String::new()] {
        let packet = connect_bytes(&identifier);
        let mut client = Client::open(&harness, ProtocolVersion::V31).await;
        client.send_bytes(&packet).await;
        client.expect(&[0x20, 2, 0, 2]).await;
        client.expect_end().await;
    }
}

fn connect_bytes(identifier: &str) -> Vec<u8> {
    let head = [&field("MQIsdp")[..], &[3, 0b0000_0010, 0, 60]].concat();
    framed(0x10, &[head, field(identifier)].concat())
}
