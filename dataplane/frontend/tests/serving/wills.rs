//! Wills over real connections.

use tessera_mqtt::{
    Disconnect, ForwardedProperties, ForwardedProperty, Packet, PayloadFormat, ProtocolVersion,
    Publish, Qos, ReasonCode, SubscriptionOptions, Will,
};

use crate::client::{Device, Hello, message};
use crate::harness::{ACME, BETA, Harness, free, revoke, set_tenant, suspend};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;

fn will(payload: &str, qos: Qos, retain: bool, delay_seconds: u32) -> Will {
    let mut message = message("gone/client", payload, qos);
    message.retain = retain;
    Will {
        message,
        delay_seconds,
    }
}

async fn with_will(harness: &Harness, hello: &Hello, will: Will) -> Device {
    let mut device = harness.device().await;
    let answer = device
        .hello_with(hello, |connect| connect.will = Some(will))
        .await;
    assert_eq!(answer.reason, ReasonCode::Success);
    device
}

/// Sees every will, with RETAIN as it was published.
async fn watcher(harness: &Harness) -> Device {
    let mut watcher = harness.connected(&Hello::new(ACME, "watcher")).await;
    let options = SubscriptionOptions {
        retain_as_published: true,
        ..SubscriptionOptions::new(QOS1)
    };
    watcher.subscribe_with("gone/#", options, None).await;
    watcher
}

fn payload(publish: &Publish) -> &[u8] {
    &publish.payload
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_14_and_15_and_v3_mqtt_3_1_2_16_and_17_a_will_is_retained_only_if_it_says_so()
{
    for hello in Hello::of_every_kind(ACME, "client") {
        for (retain, qos) in [(false, QOS1), (true, QOS0), (true, QOS1)] {
            let harness = Harness::start().await;
            let mut watcher = watcher(&harness).await;
            let lost = with_will(&harness, &hello, will("bye", qos, retain, 0)).await;
            drop(lost);
            let publish = watcher.receive().await;
            assert_eq!(payload(&publish), b"bye");
            assert_eq!((publish.retain, publish.qos), (retain, qos));
            let mut late = harness.connected(&Hello::new(ACME, "late")).await;
            if retain {
                // A QoS 0 will is on its way into the store.
                watcher.expect_nothing().await;
                wait_until_retained(&mut late).await;
            } else {
                late.subscribe("gone/#", QOS0).await;
                late.expect_nothing().await;
            }
        }
    }
}

/// Subscribes until the store has it: a will is published without anybody being told.
async fn wait_until_retained(device: &mut Device) {
    for _ in 0..10_000 {
        device.subscribe("gone/#", QOS0).await;
        device.send(&Packet::PingReq).await;
        if let Packet::Publish(publish) = device.next().await {
            assert!(publish.retain);
            return;
        }
    }
    panic!("the will was not retained");
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_8_and_10_and_3_14_4_3_and_v3_mqtt_3_1_2_8_and_10_and_12_and_3_14_4_3_a_will_comes_once_and_not_after_a_farewell()
 {
    for hello in Hello::of_every_kind(ACME, "client") {
        let harness = Harness::start().await;
        let mut watcher = watcher(&harness).await;
        let without = harness.connected(&hello).await;
        without.hang_up().await;
        let polite = with_will(&harness, &hello, will("polite", QOS1, false, 0)).await;
        polite.farewell().await;
        let mut broken = with_will(&harness, &hello, will("broken", QOS1, false, 0)).await;
        broken.send_bytes(&[0x36, 0]).await;
        while broken.next_or_end().await.is_some() {}
        assert_eq!(payload(&watcher.receive().await), b"broken");
        // The session comes again without a will, and is lost: the old one is forgotten.
        let again = harness.connected(&hello).await;
        again.hang_up().await;
        let marker = hello.named("marker");
        let marker = with_will(&harness, &marker, will("marker", QOS1, false, 0)).await;
        marker.hang_up().await;
        assert_eq!(payload(&watcher.receive().await), b"marker");
        watcher.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_8_a_disconnect_with_will_publishes_it() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let hello = Hello::new(ACME, "client");
    let mut device = with_will(&harness, &hello, will("meant", QOS1, false, 0)).await;
    let leave = Disconnect::new(ReasonCode::DisconnectWithWill);
    device.send(&Packet::Disconnect(leave)).await;
    assert_eq!(payload(&watcher.receive().await), b"meant");
    assert!(device.next_or_end().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_8_the_end_of_the_session_ends_the_wills_delay() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let short = Hello {
        expiry: 1,
        ..Hello::new(ACME, "client")
    };
    let lost = with_will(&harness, &short, will("in a second", QOS1, false, 3_600)).await;
    drop(lost);
    let other = Hello::new(ACME, "other");
    let transient = with_will(&harness, &other, will("at once", QOS1, false, 3_600)).await;
    drop(transient);
    assert_eq!(payload(&watcher.receive().await), b"at once");
    assert_eq!(payload(&watcher.receive().await), b"in a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_3_9_a_client_that_is_back_within_the_delay_leaves_no_will() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let hello = Hello::persistent(ACME, "client");
    let lost = with_will(&harness, &hello, will("back", QOS1, false, 1)).await;
    lost.hang_up().await;
    let mut back = harness.connected(&hello).await;
    // Another client's longer delay marks the moment at which the first one's is past.
    let marker = Hello::persistent(ACME, "marker");
    let marker = with_will(&harness, &marker, will("marker", QOS1, false, 2)).await;
    marker.hang_up().await;
    assert_eq!(payload(&watcher.receive().await), b"marker");
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_3_10_and_3_1_2_7_a_will_is_published_with_its_properties_in_their_order() {
    let properties = [
        ForwardedProperty::User("b", "1"),
        ForwardedProperty::User("a", "2"),
        ForwardedProperty::User("b", "1"),
        ForwardedProperty::ContentType("text/plain"),
        ForwardedProperty::ResponseTopic("reply/to"),
        ForwardedProperty::CorrelationData(&[0, 255]),
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
    ];
    for kept in [
        Hello::new(ACME, "watcher"),
        Hello::persistent(ACME, "watcher"),
    ] {
        let harness = Harness::start().await;
        let mut watcher = harness.connected(&kept).await;
        watcher.subscribe("gone/#", QOS1).await;
        let mut last = will("bye", QOS1, false, 0);
        last.message.properties = ForwardedProperties::from_properties(properties).unwrap();
        last.message.expiry_seconds = Some(60);
        let lost = with_will(&harness, &Hello::new(ACME, "client"), last).await;
        drop(lost);
        let publish = watcher.receive().await;
        assert!(publish.properties.iter().eq(properties), "{publish:?}");
        assert_eq!(publish.expiry_seconds, Some(60));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_of_one_version_reaches_the_other() {
    for (from, to) in [
        (ProtocolVersion::V311, ProtocolVersion::V5),
        (ProtocolVersion::V5, ProtocolVersion::V31),
    ] {
        let harness = Harness::start().await;
        let of = |version, client| Hello {
            version,
            ..Hello::new(ACME, client)
        };
        let mut watcher = harness.connected(&of(to, "watcher")).await;
        watcher.subscribe("gone/#", QOS1).await;
        drop(with_will(&harness, &of(from, "client"), will("bye", QOS1, false, 0)).await);
        assert_eq!(watcher.receive_payload().await, "bye");
    }
}

/// A session that is there while its watcher is not.
async fn kept_watcher(harness: &Harness) -> Device {
    let mut watcher = harness
        .connected(&Hello::persistent(ACME, "watcher").by("two"))
        .await;
    watcher.subscribe("gone/#", QOS1).await;
    watcher
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_publishes_the_wills_of_those_who_do_not_come_back() {
    let harness = Harness::start().await;
    let watcher = kept_watcher(&harness).await;
    let _lost = with_will(
        &harness,
        &Hello::new(ACME, "lost"),
        will("lost", QOS1, false, 0),
    )
    .await;
    let back = Hello::new(ACME, "back");
    let _back = with_will(&harness, &back, will("back", QOS1, false, 0)).await;
    drop(watcher);
    let harness = harness.restart().await;
    let back = harness.connected(&back).await;
    let mut watcher = harness
        .connected(&Hello::persistent(ACME, "watcher").by("two"))
        .await;
    assert_eq!(payload(&watcher.receive().await), b"lost");
    watcher.expect_nothing().await;
    back.farewell().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_credential_and_a_suspended_tenant_leave_no_will() {
    let harness = Harness::start().await;
    let watcher = kept_watcher(&harness).await;
    // the writer's credential is gone when its connection ends.
    let mut revoked = with_will(
        &harness,
        &Hello::new(ACME, "revoked"),
        will("revoked", QOS1, true, 0),
    )
    .await;
    harness.change(revoke(ACME, "one"));
    while revoked.next_or_end().await.is_some() {}
    // the tenant is suspended while the will waits.
    let waits = Hello::persistent(ACME, "waits").by("two");
    let waits = with_will(&harness, &waits, will("waits", QOS1, true, 1)).await;
    waits.hang_up().await;
    harness.change(suspend(ACME));
    drop(watcher);
    // A will of another tenant that is due later marks the moment at which these were.
    let mut other = harness.connected(&Hello::new(BETA, "watcher")).await;
    other.subscribe("gone/#", QOS1).await;
    let marker = Hello::persistent(BETA, "marker");
    let marker = with_will(&harness, &marker, will("marker", QOS1, false, 2)).await;
    marker.hang_up().await;
    assert_eq!(payload(&other.receive().await), b"marker");
    harness.change(set_tenant(ACME, free()));
    let mut watcher = harness
        .connected(&Hello::persistent(ACME, "watcher").by("two"))
        .await;
    watcher.subscribe("gone/+", QOS1).await;
    watcher.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_3_1_2_8_a_clean_start_ends_the_session_and_with_it_the_wills_delay() {
    let harness = Harness::start().await;
    let mut watcher = watcher(&harness).await;
    let hello = Hello::persistent(ACME, "client");
    let lost = with_will(&harness, &hello, will("bye", QOS1, false, 3_600)).await;
    lost.hang_up().await;
    let anew = Hello {
        clean: true,
        ..hello
    };
    let _anew = harness.connected(&anew).await;
    assert_eq!(payload(&watcher.receive().await), b"bye");
}
