//! A connection from CONNECT to DISCONNECT, in the standard's own bytes.

use tessera_mqtt::{Packet, ProtocolVersion, Publish};

use super::{AT_LEAST_ONCE, Client, EXACTLY_ONCE, clean, field, framed, kept};
use crate::client::{id, message};
use crate::harness::{ACME, Harness, password, username};

/// What the client says, and what it must hear.
fn script() -> [(Vec<u8>, Vec<u8>); 9] {
    let topic = [field("life"), b"m".to_vec()].concat();
    let numbered = [&field("nobody")[..], &[0, 9], b"m"].concat();
    let filter = [&[0, 1][..], &field("life"), &[0]].concat();
    let gone = [&[0, 2][..], &field("life")].concat();
    [
        (connect_as("raw", 0b1100_0010), vec![0x20, 2, 0, 0]),
        (framed(0x82, &filter), vec![0x90, 3, 0, 1, 0]),
        (framed(0x30, &topic), framed(0x30, &topic)),
        (framed(0x32, &numbered), vec![0x40, 2, 0, 9]),
        (framed(0x34, &numbered), vec![0x50, 2, 0, 9]),
        (vec![0x62, 2, 0, 9], vec![0x70, 2, 0, 9]),
        (framed(0xA2, &gone), vec![0xB0, 2, 0, 2]),
        (vec![0xC0, 0], vec![0xD0, 0]),
        (vec![0xE0, 0], vec![]),
    ]
}

fn connect_as(client: &str, flags: u8) -> Vec<u8> {
    let (user, secret) = (username(ACME, "one"), password(ACME, "one"));
    let head = [&field("MQTT")[..], &[4, flags, 0, 60]].concat();
    let payload = [field(client), field(&user), field(&secret)].concat();
    framed(0x10, &[head, payload].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_7_0_0_2_and_7_1_1_1_a_life_needs_the_standards_bytes_only_however_they_are_cut() {
    let harness = Harness::start().await;
    for piece_len in [1, 3, usize::MAX] {
        let mut client = Client::open(&harness, ProtocolVersion::V311).await;
        for (said, heard) in script() {
            for piece in said.chunks(piece_len) {
                client.send_bytes(piece).await;
            }
            client.expect(&heard).await;
        }
        client.expect_end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_2_0_1_and_7_1_1_1_what_is_said_in_one_piece_is_answered_in_its_order() {
    let harness = Harness::start().await;
    let mut client = Client::open(&harness, ProtocolVersion::V311).await;
    // Messages and their acknowledgements have an order of their own.
    let script: Vec<_> = script()
        .into_iter()
        .filter(|(said, _)| !matches!(said[0], 0x30 | 0x32 | 0x34 | 0x62))
        .collect();
    let said: Vec<u8> = script.iter().flat_map(|(said, _)| said.clone()).collect();
    let heard: Vec<u8> = script.iter().flat_map(|(_, heard)| heard.clone()).collect();
    client.send_bytes(&said).await;
    client.expect(&heard).await;
    client.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_2_0_1_connack_comes_before_everything_that_waited() {
    let harness = Harness::start().await;
    let mut away = Client::online(&harness, kept("away"), false).await;
    away.subscribe("t/#", EXACTLY_ONCE).await;
    away.leave().await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for number in 0..20 {
        publisher.say("t/x", &number.to_string()).await;
    }
    let mut back = Client::online(&harness, kept("away"), true).await;
    for number in 0..20 {
        assert_eq!(back.take().await, number.to_string());
    }
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_3_6_and_3_1_3_2_empty_identifiers_get_sessions_of_their_own() {
    let harness = Harness::start().await;
    let mut first = Client::online(&harness, clean(""), false).await;
    let mut second = Client::online(&harness, clean(""), false).await;
    first.subscribe("first", AT_LEAST_ONCE).await;
    second.subscribe("second", AT_LEAST_ONCE).await;
    let mut publisher = Client::online(&harness, clean(""), false).await;
    publisher.say("first", "1").await;
    publisher.say("second", "2").await;
    assert_eq!(first.take().await, "1");
    assert_eq!(second.take().await, "2");
    first.expect_nothing().await;
    second.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_3_8_and_3_2_2_5_an_empty_identifier_without_clean_session_is_refused() {
    let harness = Harness::start().await;
    let packet = connect_as("", 0b1100_0000);
    let mut client = Client::open(&harness, ProtocolVersion::V311).await;
    client.send_bytes(&packet).await;
    client.expect(&[0x20, 2, 0, 2]).await;
    client.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_1_3_a_publishers_dup_is_not_passed_on() {
    let harness = Harness::start().await;
    let mut live = Client::online(&harness, clean("live"), false).await;
    let mut stored = Client::online(&harness, kept("stored"), false).await;
    live.subscribe("t", EXACTLY_ONCE).await;
    stored.subscribe("t", EXACTLY_ONCE).await;
    let mut publisher = Client::online(&harness, clean("pub"), false).await;
    for (qos, number) in [(AT_LEAST_ONCE, 1), (EXACTLY_ONCE, 2)] {
        let message = message("t", "m", qos);
        let mut publish = Publish::new(message, Some(id(number)));
        publish.dup = true;
        publisher.send(&Packet::Publish(publish)).await;
        for subscriber in [&mut live, &mut stored] {
            let publish = subscriber.receive().await;
            assert_eq!((publish.qos, publish.dup), (qos, false));
            subscriber.finish(&publish).await;
        }
    }
}
