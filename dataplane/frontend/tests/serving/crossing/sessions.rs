//! Sessions, identifiers and packet state.

use std::collections::HashSet;

use super::*;
use tessera_mqtt::{Ack, PublishTopic, TopicAlias, TopicName};

#[tokio::test(flavor = "multi_thread")]
async fn x_10_one_client_identifier_lives_in_both_tenants() {
    let harness = Harness::start().await;
    let mut victim = harness.connected(&Hello::persistent(BETA, "same")).await;
    victim.subscribe("x", QOS1).await;
    for hello in [Hello::new(ACME, "same"), Hello::persistent(ACME, "same")] {
        let mut attacker = harness.connected(&hello).await;
        victim.expect_nothing().await;
        attacker.expect_nothing().await;
        attacker.farewell().await;
    }
    victim.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_11_the_victims_stored_session_is_not_resumed() {
    let harness = Harness::start().await;
    let mut victim = harness.connected(&Hello::persistent(BETA, "same")).await;
    victim.subscribe("x", QOS1).await;
    victim.hang_up().await;
    let mut speaker = super::victim(&harness, "speaker").await;
    speaker.publish_acknowledged("x", "canary").await;
    let mut device = harness.device().await;
    let answer = device.hello(&Hello::persistent(ACME, "same")).await;
    assert!(!answer.session_present);
    device.expect_nothing().await;
    let mut victim = harness.device().await;
    let answer = victim.hello(&Hello::persistent(BETA, "same")).await;
    assert!(answer.session_present);
    assert_eq!(victim.receive_payload().await, "canary");
}

#[tokio::test(flavor = "multi_thread")]
async fn x_12_a_connect_that_is_refused_touches_no_session() {
    let harness = Harness::start().await;
    let mut live = victim(&harness, "live").await;
    let mut stored = harness.connected(&Hello::persistent(BETA, "stored")).await;
    stored.subscribe("x", QOS1).await;
    stored.hang_up().await;
    for client in ["live", "stored"] {
        for clean in [true, false] {
            let hello = Hello {
                clean,
                ..Hello::new(BETA, client)
            };
            for password in [crate::harness::password(ACME, "one"), "wrong".to_owned()] {
                let mut device = harness.device().await;
                let answer = device.hello_with_password(&hello, &password).await;
                assert_eq!(answer.reason, ReasonCode::NotAuthorized);
            }
        }
    }
    live.publish_acknowledged("x", "canary").await;
    let mut stored = harness.device().await;
    let answer = stored.hello(&Hello::persistent(BETA, "stored")).await;
    assert!(answer.session_present);
    assert_eq!(stored.receive_payload().await, "canary");
}

#[tokio::test(flavor = "multi_thread")]
async fn x_14_assigned_client_identifiers_are_not_to_be_guessed() {
    let harness = Harness::start().await;
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let mut device = harness.device().await;
        let answer = device
            .hello_with(&Hello::new(ACME, "unused"), |connect| {
                connect.client_id = None;
            })
            .await;
        let assigned = answer.assigned_client_id.unwrap();
        let text = String::from_utf8(assigned.as_bytes().to_vec()).unwrap();
        // 128 random bits take 22 characters at the least.
        assert!(text.len() >= 22, "{text}");
        assert!(seen.insert(text));
        device.farewell().await;
    }
    // No place of the random part is the same in all of them: no counter, no time.
    let texts: Vec<Vec<u8>> = seen.into_iter().map(String::into_bytes).collect();
    let changing = (0..texts[0].len())
        .filter(|at| texts.iter().any(|text| text[*at] != texts[0][*at]))
        .count();
    assert!(changing >= 20, "{changing} characters differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn x_16_packet_identifiers_of_one_tenant_finish_nothing_of_another() {
    let harness = Harness::start().await;
    let mut listener = victim(&harness, "listener").await;
    listener.subscribe("x", Qos::ExactlyOnce).await;
    let mut victim = harness.connected(&Hello::persistent(BETA, "same")).await;
    let mut attacker = harness.connected(&Hello::persistent(ACME, "same")).await;
    victim.publish("x", "canary", Qos::ExactlyOnce, 7).await;
    assert!(matches!(victim.next().await, Packet::PubRec(_)));
    attacker.send(&Packet::PubRel(Ack::new(id(7)))).await;
    let Packet::PubComp(answer) = attacker.next().await else {
        panic!("PUBCOMP comes next")
    };
    assert_eq!(answer.reason, ReasonCode::PacketIdentifierNotFound);
    // The victim's identifier is still taken: the same PUBLISH again is not routed again.
    let mut again = Publish::new(message("x", "canary", Qos::ExactlyOnce), Some(id(7)));
    again.dup = true;
    victim.send(&Packet::Publish(again)).await;
    assert!(matches!(victim.next().await, Packet::PubRec(_)));
    victim.send(&Packet::PubRel(Ack::new(id(7)))).await;
    let Packet::PubComp(answer) = victim.next().await else {
        panic!("PUBCOMP comes next")
    };
    assert_eq!(answer.reason, ReasonCode::Success);
    assert_eq!(listener.receive_all(1).await.len(), 1);
    listener.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_17_an_alias_of_another_connection_names_no_topic() {
    let harness = Harness::start().await;
    let mut spy = attacker(&harness, "spy").await;
    spy.subscribe("#", QOS1).await;
    for round in 0..5 {
        let mut victim = victim(&harness, "victim").await;
        let mut named = Publish::new(message("secret/topic", "canary", QOS0), None);
        named.topic = PublishTopic::Define {
            name: TopicName::try_from("secret/topic").unwrap(),
            alias: TopicAlias::new(1).unwrap(),
        };
        victim.send(&Packet::Publish(named)).await;
        victim.expect_nothing().await;
        victim.farewell().await;
        let mut device = attacker(&harness, "alias").await;
        // PUBLISH, QoS 0, no topic, Topic Alias 1, payload "?".
        device
            .send_bytes(&[0x30, 7, 0, 0, 3, 0x23, 0, 1, b'?'])
            .await;
        let reason = device.ended_with().await;
        assert!(
            matches!(
                reason,
                ReasonCode::TopicAliasInvalid | ReasonCode::ProtocolError
            ),
            "{round}: {reason:?}"
        );
    }
    spy.expect_nothing().await;
}
