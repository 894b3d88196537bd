//! What ends a connection, and what stays when it does.

use tessera_mqtt::{Packet, Password, ProtocolVersion, Publish};

use super::{
    AT_LEAST_ONCE, AT_MOST_ONCE, Client, bytes_of, clean, field, framed, kept, retained, with_will,
};
use crate::client::{id, message};
use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_4_5_and_3_2_2_4_and_5_nothing_after_a_refused_connect_is_processed() {
    let harness = Harness::start().await;
    let mut connect = with_will(kept("intruder"), message("will", "gone", AT_LEAST_ONCE));
    connect.password = Some(Password::new("wrong"));
    let publish = Publish::new(retained("t", "smuggled", AT_LEAST_ONCE), Some(id(1)));
    let subscribe = [&[0, 2][..], &field("#"), &[1]].concat();
    let version = ProtocolVersion::V311;
    let said = [
        bytes_of(&Packet::Connect(Box::new(connect)), version).to_vec(),
        bytes_of(&Packet::Publish(publish), version).to_vec(),
        framed(0x82, &subscribe),
    ];
    let mut watcher = Client::online(&harness, clean("watcher"), false).await;
    watcher.subscribe("#", AT_LEAST_ONCE).await;
    let mut intruder = Client::open(&harness, version).await;
    intruder.send_bytes(&said.concat()).await;
    intruder.expect(&[0x20, 2, 0, 5]).await;
    intruder.expect_end().await;

    watcher.expect_nothing().await;
    let mut late = Client::online(&harness, kept("intruder"), false).await;
    late.subscribe("t", AT_LEAST_ONCE).await;
    late.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_0_2_and_4_8_0_1_and_3_1_2_8_a_violation_closes_and_publishes_the_will() {
    let harness = Harness::start().await;
    let mut watcher = Client::online(&harness, clean("watcher"), false).await;
    watcher.subscribe("will/#", AT_LEAST_ONCE).await;
    let second_connect = Packet::Connect(Box::new(clean("other")));
    let violations = [
        bytes_of(&second_connect, ProtocolVersion::V311).to_vec(),
        vec![0x36, 5, 0, 1, b't', 0, 1],
        vec![0x80, 6, 0, 1, 0, 1, b't', 0],
        vec![0x82, 6, 0, 1, 0, 1, b't', 3],
        vec![0xA2, 2, 0, 1],
        vec![0x60, 2, 0, 1],
        vec![0xE1, 0],
        vec![0x90, 3, 0, 1, 0],
        vec![0xF0, 0],
        vec![0x30, 4, 0, 1, b'#', b'm'],
        vec![0x30, 4, 0, 2, 0xC0, 0x80],
    ];
    for (round, bytes) in violations.into_iter().enumerate() {
        let connect = with_will(
            kept("clumsy"),
            message("will/clumsy", "gone", AT_LEAST_ONCE),
        );
        let mut clumsy = Client::online(&harness, connect, round > 0).await;
        if round == 0 {
            clumsy.subscribe("kept", AT_LEAST_ONCE).await;
        }
        clumsy.send_bytes(&bytes).await;
        clumsy.expect_end().await;
        assert_eq!(watcher.take().await, "gone", "{bytes:02X?}");
    }
    watcher.say("kept", "still subscribed").await;
    let mut back = Client::online(&harness, kept("clumsy"), true).await;
    assert_eq!(back.take().await, "still subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_1_4_1_a_connect_out_of_format_is_closed_without_connack() {
    let harness = Harness::start().await;
    let whole = bytes_of(
        &Packet::Connect(Box::new(clean("c"))),
        ProtocolVersion::V311,
    );
    let with_flags = |flags: u8| {
        let mut packet = whole.to_vec();
        packet[9] = flags;
        packet
    };
    for packet in [
        with_flags(0b1100_0011),
        with_flags(0b1101_1110),
        with_flags(0b1110_0010),
        with_flags(0b0100_0010),
        [&whole[..2], b"\x00\x04mqtt", &whole[8..]].concat(),
        [&[0x11], &whole[1..]].concat(),
    ] {
        let mut client = Client::open(&harness, ProtocolVersion::V311).await;
        client.send_bytes(&packet).await;
        client.expect_end().await;
    }
    Client::online(&harness, clean("c"), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_2_2_6_a_will_on_a_topic_of_the_server_is_refused_without_connack() {
    let harness = Harness::start().await;
    let connect = with_will(clean("c"), message("$SYS/broker", "x", AT_MOST_ONCE));
    let mut client = Client::calling(&harness, connect).await;
    client.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_mqtt_3_3_5_2_a_message_that_may_not_be_published_closes_unacknowledged() {
    let harness = Harness::start().await;
    let mut watcher = Client::online(&harness, clean("watcher"), false).await;
    watcher.subscribe("$SYS/#", AT_LEAST_ONCE).await;
    for first in [0x32, 0x34] {
        let mut client = Client::online(&harness, clean("c"), false).await;
        let body = [&field("$SYS/broker")[..], &[0, 1], b"forged"].concat();
        client.send_bytes(&framed(first, &body)).await;
        client.expect_end().await;
    }
    watcher.expect_nothing().await;
}
