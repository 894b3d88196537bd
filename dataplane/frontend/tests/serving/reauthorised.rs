//! Stored messages of writers that may not publish any more (promise 16).

use tessera_frontend::DropReason;
use tessera_mqtt::{Packet, Qos, ReasonCode};

use crate::client::{Device, Hello, message};
use crate::harness::{ACME, Harness, revoke, tenant_id};

async fn writer(harness: &Harness, name: &'static str) -> Device {
    let client = if name == "one" { "w1" } else { "w2" };
    harness.connected(&Hello::new(ACME, client).by(name)).await
}

fn denied(harness: &Harness) -> u64 {
    let live = harness.frontend.tenant_live(tenant_id(ACME)).unwrap();
    let reason = live
        .dropped
        .iter()
        .find(|(reason, _)| *reason == DropReason::NotAuthorized);
    reason.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn x_23_queued_messages_of_a_revoked_writer_are_not_delivered_and_the_others_are() {
    for hello in Hello::of_every_kept_kind(ACME, "reader") {
        let harness = Harness::start().await;
        let mut reader = harness.connected(&hello).await;
        reader.subscribe("a/#", Qos::ExactlyOnce).await;
        reader.farewell().await;
        let mut revoked = writer(&harness, "two").await;
        let mut kept = writer(&harness, "one").await;
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            revoked.publish_message(message("a/x", "no", qos)).await;
            kept.publish_message(message("a/x", "yes", qos)).await;
        }
        harness.change(revoke(ACME, "two"));
        assert_eq!(revoked.ended_with().await, ReasonCode::NotAuthorized);
        let mut reader = harness.connected(&hello).await;
        for publish in reader.receive_all(2).await {
            assert_eq!(publish.payload, "yes");
        }
        reader.expect_nothing().await;
        assert_eq!(denied(&harness), 2);
        // They have left the queue: nothing comes again.
        reader.farewell().await;
        let mut reader = harness.connected(&hello).await;
        reader.expect_nothing().await;
        harness.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x_21_retained_messages_of_a_revoked_writer_are_not_sent() {
    let harness = Harness::start().await;
    let mut revoked = writer(&harness, "two").await;
    let mut kept = writer(&harness, "one").await;
    revoked.retain("a/revoked", "no").await;
    kept.retain("a/kept", "yes").await;
    harness.change(revoke(ACME, "two"));
    for hello in Hello::of_every_kind(ACME, "reader") {
        let mut reader = harness.connected(&hello).await;
        reader.subscribe("a/+", Qos::AtLeastOnce).await;
        assert_eq!(reader.receive_payload().await, "yes");
        reader.expect_nothing().await;
    }
    harness.stop().await;
}

/// What the client may have begun to take goes on to its end: else it would take the next message
/// of that identifier for a repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_qos_2_message_that_was_sent_before_goes_on_to_its_end() {
    let harness = Harness::start().await;
    let hello = Hello::persistent(ACME, "reader");
    let mut reader = harness.connected(&hello).await;
    reader.subscribe("a/x", Qos::ExactlyOnce).await;
    let mut revoked = writer(&harness, "two").await;
    let sent = message("a/x", "begun", Qos::ExactlyOnce);
    revoked.publish_message(sent).await;
    assert_eq!(reader.receive().await.payload, "begun");
    reader.hang_up().await;
    harness.change(revoke(ACME, "two"));
    let mut reader = harness.connected(&hello).await;
    let again = reader.receive_all(1).await;
    assert!(again[0].dup);
    assert_eq!(again[0].payload, "begun");
    harness.stop().await;
}

/// One that waits behind a message that the client has not acknowledged was not sent, though others
/// behind it were.
#[tokio::test(flavor = "multi_thread")]
async fn a_qos_2_message_that_was_passed_over_is_not_taken_for_one_that_was_sent() {
    for hello in Hello::of_every_kept_kind(ACME, "reader") {
        let harness = Harness::start().await;
        let mut reader = harness.connected(&hello).await;
        reader.subscribe("a/x", Qos::ExactlyOnce).await;
        reader.farewell().await;
        let mut kept = writer(&harness, "one").await;
        let mut revoked = writer(&harness, "two").await;
        let first = message("a/x", "first", Qos::AtLeastOnce);
        kept.publish_message(first).await;
        let no = message("a/x", "no", Qos::ExactlyOnce);
        revoked.publish_message(no).await;
        let last = message("a/x", "last", Qos::AtLeastOnce);
        kept.publish_message(last).await;
        harness.change(revoke(ACME, "two"));
        for dup in [false, true] {
            let mut reader = harness.connected(&hello).await;
            for payload in ["first", "last"] {
                let Packet::Publish(publish) = reader.next().await else {
                    panic!("PUBLISH comes next")
                };
                assert_eq!((&*publish.payload, publish.dup), (payload.as_bytes(), dup));
            }
            reader.expect_nothing().await;
            reader.hang_up().await;
        }
        harness.stop().await;
    }
}
