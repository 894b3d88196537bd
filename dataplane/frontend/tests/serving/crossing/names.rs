//! Names that are made to leave their tenant: keys, separators, look-alikes.

use super::*;
use tessera_mqtt::TopicName;

/// What an attacker may know or guess of the victim's keys, and what confuses joins of strings.
fn hostile_names() -> Vec<String> {
    let id = "c8".repeat(16);
    let mut names: Vec<String> = [
        "beta",
        "beta/x",
        "/beta",
        "a",
        "ab",
        "a/b",
        "..",
        "../beta",
        "%00",
        "%2e%2e/beta",
        "\u{1f}beta",
        "\u{1}beta",
        "\u{ffff}",
        "beta\u{2044}x",
        "bеta",
        "BETA",
        "be\u{301}ta",
        "bé",
        "be\u{0301}",
        "ten_beta/x",
        "\u{202e}ateb",
        "x\u{7f}y",
        " beta",
        "beta ",
    ]
    .map(str::to_owned)
    .to_vec();
    // The victim's id as text, as a key's first byte and record kind, and with lengths before it.
    names.push(id.clone());
    names.push(format!("{id}/x"));
    names.push(format!("ten_{id}"));
    names.push("È".repeat(16));
    names.push("\u{1}\u{2}\u{3}".to_owned());
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn x_05_and_x_07_and_x_08_hostile_names_stay_in_their_tenant() {
    let harness = Harness::start().await.unhurried();
    let mut sides = Vec::new();
    for tenant in [ACME, BETA] {
        let mut listener = harness
            .connected(&Hello::persistent(tenant, "listener"))
            .await;
        listener.subscribe("#", QOS1).await;
        let speaker = harness.connected(&Hello::new(tenant, "speaker")).await;
        sides.push((listener, speaker));
    }
    for name in hostile_names() {
        // Whether a name is taken is the standard's business; where it goes is the tenant's.
        if TopicName::try_from(&*name).is_err() {
            continue;
        }
        for (at, (listener, speaker)) in sides.iter_mut().enumerate() {
            listener.subscribe(&name, QOS1).await;
            let payload = format!("{at} {name}");
            speaker.retain(&name, &payload).await;
            assert_eq!(listener.receive_payload().await, payload, "{name:?}");
        }
    }
    for (listener, _) in &mut sides {
        listener.expect_nothing().await;
    }
    for (at, tenant) in [ACME, BETA].into_iter().enumerate() {
        let mut late = harness.connected(&Hello::new(tenant, "late")).await;
        late.subscribe("#", QOS0).await;
        let own = format!("{at} ");
        let mut kept = 0;
        loop {
            late.send(&Packet::PingReq).await;
            match late.next().await {
                Packet::Publish(publish) => {
                    assert!(publish.payload.starts_with(own.as_bytes()), "{publish:?}");
                    kept += 1;
                }
                Packet::PingResp if kept > 0 => break,
                Packet::PingResp => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x_06_a_topic_with_a_nul_ends_its_connection_and_nothing_else() {
    let harness = Harness::start().await;
    let mut victim = victim(&harness, "victim").await;
    victim.subscribe("#", QOS1).await;
    let mut bystander = attacker(&harness, "bystander").await;
    for topic in [&b"\0"[..], b"a\0b", b"\0beta\0x"] {
        let mut device = attacker(&harness, "nul").await;
        // PUBLISH, QoS 0, no properties.
        let mut packet = vec![0x30, u8::try_from(topic.len() + 3).unwrap(), 0];
        packet.push(u8::try_from(topic.len()).unwrap());
        packet.extend_from_slice(topic);
        packet.push(0);
        device.send_bytes(&packet).await;
        // Which of the two the standard leaves to the server (MQTT 5, 1.5.4, 4.13).
        let reason = device.ended_with().await;
        assert!(
            matches!(
                reason,
                ReasonCode::MalformedPacket | ReasonCode::TopicNameInvalid
            ),
            "{reason:?}"
        );
    }
    victim.expect_nothing().await;
    bystander.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_09_a_flood_of_topics_shows_nothing_of_another_tenant() {
    let harness = Harness::start().await.unhurried();
    let mut victim = victim(&harness, "victim").await;
    victim.subscribe("#", QOS1).await;
    let mut spy = attacker(&harness, "spy").await;
    spy.subscribe("#", QOS0).await;
    let mut flood = attacker(&harness, "flood").await;
    for at in 0..300 {
        let topic = format!("{at:x}/{}", at % 7);
        flood.publish(&topic, "flood", QOS0, 1).await;
    }
    flood.publish_acknowledged("end", "end").await;
    let mut heard = 0;
    loop {
        let payload = spy.receive_payload().await;
        if payload == "end" {
            break;
        }
        assert_eq!(payload, "flood");
        heard += 1;
    }
    assert!(heard <= 300);
    victim.expect_nothing().await;
}
