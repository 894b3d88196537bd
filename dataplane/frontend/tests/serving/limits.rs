//! The limits of a tenant, enforced live, with the reason given to the device.

use tessera_mqtt::{ConnAck, Packet, ProtocolVersion, Qos, ReasonCode};
use tessera_tenancy::LimitCode;

use crate::client::{Device, Hello};
use crate::harness::{ACME, BETA, Harness, free_but, set_tenant};

async fn try_connect(harness: &Harness, hello: &Hello) -> (Device, ConnAck) {
    let mut device = harness.device().await;
    let answer = device.hello(hello).await;
    (device, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused_with_its_name_and_value() {
    let harness = Harness::start().await;
    harness.change(set_tenant(ACME, free_but(LimitCode::Connections, 2)));
    let (_first, answer) = try_connect(&harness, &Hello::new(ACME, "a")).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    let (second, answer) = try_connect(&harness, &Hello::new(ACME, "b")).await;
    assert_eq!(answer.reason, ReasonCode::Success);

    let (_, refused) = try_connect(&harness, &Hello::new(ACME, "c")).await;
    assert_eq!(refused.reason, ReasonCode::QuotaExceeded);
    let text = refused.reason_string.unwrap();
    assert_eq!(text.as_str(), "connections 2 reached on plan free");
    assert_eq!(refused.user_properties.get("limit"), Some("connections"));
    assert_eq!(refused.user_properties.get("value"), Some("2"));
    let v3 = Hello {
        version: ProtocolVersion::V311,
        ..Hello::new(ACME, "c")
    };
    assert_eq!(
        try_connect(&harness, &v3).await.1.reason,
        ReasonCode::ServerUnavailable
    );

    let (_other, answer) = try_connect(&harness, &Hello::new(BETA, "c")).await;
    assert_eq!(
        answer.reason,
        ReasonCode::Success,
        "another tenant notices nothing"
    );
    let (_taken, answer) = try_connect(&harness, &Hello::new(ACME, "a")).await;
    assert_eq!(
        answer.reason,
        ReasonCode::Success,
        "taking over a live session always passes"
    );

    second.farewell().await;
    harness.change(set_tenant(ACME, free_but(LimitCode::Connections, 3)));
    let (_third, answer) = try_connect(&harness, &Hello::new(ACME, "c")).await;
    assert_eq!(answer.reason, ReasonCode::Success, "raised live");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_beyond_the_rate_are_refused_with_its_name_and_value() {
    const SENT: u16 = 60;
    let harness = Harness::start().await;
    let (mut device, _) = try_connect(&harness, &Hello::new(ACME, "flood")).await;
    device.publish_acknowledged("t", "before").await;
    harness.change(set_tenant(ACME, free_but(LimitCode::PublishesPerSecond, 5)));
    for number in 1..=SENT {
        device.publish("t", "x", Qos::AtLeastOnce, number).await;
    }
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..SENT {
        let Packet::PubAck(ack) = device.next().await else {
            panic!("PUBACK comes next")
        };
        if ack.reason == ReasonCode::QuotaExceeded {
            refused += 1;
            let text = ack.reason_string.unwrap();
            assert_eq!(text.as_str(), "publishes_per_second 5 reached on plan free");
        } else {
            passed += 1;
        }
    }
    assert!(passed >= 5, "within the rate some pass: {passed}");
    assert!(refused >= SENT / 2, "beyond it they are refused: {refused}");
    let (mut other, _) = try_connect(&harness, &Hello::new(BETA, "calm")).await;
    let ack = other.publish_acknowledged("t", "x").await;
    assert_eq!(
        ack.reason,
        ReasonCode::NoMatchingSubscribers,
        "another tenant notices nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_3_publisher_beyond_the_rate_gets_no_false_acknowledgement() {
    let harness = Harness::start().await;
    let v3 = Hello {
        version: ProtocolVersion::V311,
        ..Hello::new(ACME, "flood")
    };
    let (mut device, _) = try_connect(&harness, &v3).await;
    harness.change(set_tenant(ACME, free_but(LimitCode::PublishesPerSecond, 0)));
    device.publish("t", "x", Qos::AtLeastOnce, 1).await;
    assert!(
        device.next_or_end().await.is_none(),
        "closed, not acknowledged"
    );
}
