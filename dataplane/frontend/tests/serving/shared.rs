//! Shared subscriptions: who gets a message, at which QoS, and what becomes of it if that client
//! leaves or refuses.

use tessera_mqtt::{Ack, Disconnect, Packet, Publish, Qos, ReasonCode};

use crate::client::{Device, Hello, message};
use crate::harness::{ACME, Harness};

const QOS2: Qos = Qos::ExactlyOnce;
const FILTER: &str = "$share/workers/jobs/#";

async fn publisher(harness: &Harness) -> Device {
    harness.connected(&Hello::new(ACME, "publisher")).await
}

async fn member(harness: &Harness, hello: &Hello, qos: Qos) -> Device {
    let mut member = harness.connected(hello).await;
    assert_eq!(
        member.subscribe(FILTER, qos).await,
        [ReasonCode::granted(qos)]
    );
    member
}

async fn next_publish(device: &mut Device) -> Publish {
    match device.next().await {
        Packet::Publish(publish) => publish,
        other => panic!("PUBLISH comes next, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_8_2_3_each_member_gets_its_share_at_its_own_qos() {
    for kept in [false, true] {
        let harness = Harness::start().await;
        let mut members = Vec::new();
        let levels = [Qos::AtMostOnce, Qos::AtLeastOnce, QOS2];
        for (client, qos) in ["m0", "m1", "m2"].into_iter().zip(levels) {
            let hello = if kept {
                Hello::persistent(ACME, client)
            } else {
                Hello::new(ACME, client)
            };
            members.push((member(&harness, &hello, qos).await, qos));
        }
        let mut publisher = publisher(&harness).await;
        for job in 0..9 {
            publisher
                .publish_message(message("jobs/x", &job.to_string(), QOS2))
                .await;
        }
        let mut jobs = Vec::new();
        for (member, qos) in &mut members {
            for publish in member.receive_all(3).await {
                assert_eq!(publish.qos, *qos);
                jobs.push(publish.payload);
            }
            member.expect_nothing().await;
        }
        jobs.sort();
        jobs.dedup();
        assert_eq!(jobs.len(), 9, "each job went to one member");
    }
}

/// The chosen member has the message and has not answered it; another one has joined since.
async fn one_has_it(harness: &Harness, chosen: &Hello) -> (Device, Publish, Device) {
    let mut first = member(harness, chosen, QOS2).await;
    let mut publisher = publisher(harness).await;
    publisher
        .publish_message(message("jobs/x", "job", QOS2))
        .await;
    publisher.farewell().await;
    let publish = next_publish(&mut first).await;
    let second = member(harness, &Hello::persistent(ACME, "second"), QOS2).await;
    (first, publish, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_8_2_4_a_delivery_of_qos_2_is_finished_with_the_member_that_was_chosen() {
    let harness = Harness::start().await;
    let chosen = Hello::persistent(ACME, "first");
    let mut watcher = harness.watcher().await;
    let (first, publish, mut second) = one_has_it(&harness, &chosen.watched()).await;
    first.hang_up_before(&mut watcher).await;
    second.expect_nothing().await;
    let mut back = harness.connected(&chosen).await;
    let again = back.receive_all(1).await.remove(0);
    assert!(again.dup);
    assert_eq!(again.packet_id, publish.packet_id);
    assert_eq!(again.payload, publish.payload);
    back.expect_nothing().await;
    second.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_8_2_5_a_delivery_of_qos_2_ends_with_the_session_of_the_member_that_was_chosen() {
    for chosen in [Hello::new(ACME, "first"), Hello::persistent(ACME, "first")] {
        let harness = Harness::start().await;
        let mut watcher = harness.watcher().await;
        let (mut first, _, mut second) = one_has_it(&harness, &chosen.watched()).await;
        let mut leave = Disconnect::new(ReasonCode::DisconnectWithWill);
        leave.session_expiry_seconds = Some(0);
        first.send(&Packet::Disconnect(leave)).await;
        first.hang_up_before(&mut watcher).await;
        let mut back = harness.device().await;
        assert!(!back.hello(&chosen).await.session_present);
        back.expect_nothing().await;
        second.expect_nothing().await;
        // The group works on without it.
        let mut publisher = publisher(&harness).await;
        publisher
            .publish_message(message("jobs/x", "next", QOS2))
            .await;
        assert_eq!(second.receive_all(1).await[0].payload, "next");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_mqtt_4_8_2_6_and_4_4_0_2_what_a_member_refuses_is_given_to_nobody_else() {
    for chosen in [Hello::new(ACME, "first"), Hello::persistent(ACME, "first")] {
        for qos in [Qos::AtLeastOnce, QOS2] {
            let harness = Harness::start().await;
            let mut watcher = harness.watcher().await;
            let mut first = member(&harness, &chosen.watched(), qos).await;
            let mut publisher = publisher(&harness).await;
            publisher
                .publish_message(message("jobs/x", "job", qos))
                .await;
            let publish = next_publish(&mut first).await;
            let mut second = member(&harness, &Hello::persistent(ACME, "second"), qos).await;
            let ack = Ack::with_reason(publish.packet_id.unwrap(), ReasonCode::UnspecifiedError);
            let refusal = if qos == QOS2 {
                Packet::PubRec(ack)
            } else {
                Packet::PubAck(ack)
            };
            first.send(&refusal).await;
            first.expect_nothing().await;
            second.expect_nothing().await;
            first.hang_up_before(&mut watcher).await;
            second.expect_nothing().await;
            let mut back = harness.connected(&chosen).await;
            back.expect_nothing().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_member_gets_nothing_while_another_is_connected() {
    let harness = Harness::start().await;
    let away = member(&harness, &Hello::persistent(ACME, "away"), QOS2).await;
    away.hang_up().await;
    let mut publisher = publisher(&harness).await;
    publisher
        .publish_message(message("jobs/x", "kept for whoever comes first", QOS2))
        .await;
    let mut here = member(&harness, &Hello::persistent(ACME, "here"), QOS2).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, QOS2] {
        for _ in 0..4 {
            publisher
                .publish_message(message("jobs/x", "job", qos))
                .await;
        }
    }
    let jobs = here.receive_all(12).await;
    assert!(jobs.iter().all(|publish| publish.payload == "job"));
    here.expect_nothing().await;
    let mut back = harness.connected(&Hello::persistent(ACME, "away")).await;
    assert_eq!(
        back.receive_all(1).await[0].payload,
        "kept for whoever comes first"
    );
    back.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_group_gives_all_of_a_publisher_to_one_member_in_order() {
    const PUBLISHERS: [&str; 12] = [
        "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11",
    ];
    for kept in [false, true] {
        let harness = Harness::start().await.unhurried();
        let mut members = Vec::new();
        for client in ["m0", "m1", "m2"] {
            let hello = if kept {
                Hello::persistent(ACME, client)
            } else {
                Hello::new(ACME, client)
            };
            let mut member = harness.connected(&hello).await;
            member
                .subscribe("$oshare/workers/jobs/#", Qos::AtLeastOnce)
                .await;
            members.push(member);
        }
        for client in PUBLISHERS {
            let mut publisher = harness.connected(&Hello::new(ACME, client)).await;
            for at in 0..5 {
                let job = format!("{client} {at}");
                publisher
                    .publish_acknowledged(&format!("jobs/{at}"), &job)
                    .await;
            }
            publisher.farewell().await;
        }
        let mut shares = Vec::new();
        for member in &mut members {
            let mut heard: Vec<String> = Vec::new();
            loop {
                member.send(&Packet::PingReq).await;
                match member.next().await {
                    Packet::Publish(publish) => {
                        let ack = Ack::new(publish.packet_id.unwrap());
                        member.send(&Packet::PubAck(ack)).await;
                        heard.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                    }
                    Packet::PingResp => break,
                    other => panic!("{other:?}"),
                }
            }
            shares.push(heard);
        }
        for client in PUBLISHERS {
            let of = |share: &Vec<String>| -> Vec<String> {
                let own = format!("{client} ");
                share
                    .iter()
                    .filter(|job| job.starts_with(&own))
                    .cloned()
                    .collect()
            };
            let whole: Vec<String> = (0..5).map(|at| format!("{client} {at}")).collect();
            let owners = shares.iter().filter(|share| of(share) == whole).count();
            let others = shares.iter().filter(|share| of(share).is_empty()).count();
            assert_eq!((owners, others), (1, 2), "{client} of {shares:?}");
        }
    }
}

/// Jobs that were published, in the order of their numbers.
async fn publish_jobs(publisher: &mut Device, count: usize) {
    for job in 0..count {
        publisher
            .publish_acknowledged("jobs/x", &job.to_string())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_did_not_acknowledge_goes_to_another_when_it_dies() {
    for qos in [Qos::AtLeastOnce, QOS2] {
        let harness = Harness::start().await.unhurried();
        let mut watcher = harness.watcher().await;
        let dying = Hello {
            receive_maximum: 3,
            ..Hello::new(ACME, "dying").watched()
        };
        let mut dying = member(&harness, &dying, qos).await;
        let mut publisher = publisher(&harness).await;
        for job in 0..8 {
            let job = message("jobs/x", &job.to_string(), qos);
            publisher.publish_message(job).await;
        }
        // It has three of them; the first is done.
        let first = next_publish(&mut dying).await;
        next_publish(&mut dying).await;
        next_publish(&mut dying).await;
        let mut rest = match qos {
            Qos::AtLeastOnce => {
                let done = Ack::new(first.packet_id.unwrap());
                dying.send(&Packet::PubAck(done)).await;
                next_publish(&mut dying).await;
                1
            }
            // Begun with the client, they are its own (MQTT-4.8.2-5).
            _ => 3,
        };
        let mut heir = member(&harness, &Hello::new(ACME, "heir"), qos).await;
        dying.hang_up_before(&mut watcher).await;
        for publish in heir.receive_all(8 - rest).await {
            assert_eq!(publish.payload, rest.to_string());
            assert!(!publish.dup);
            rest += 1;
        }
        heir.expect_nothing().await;
        harness.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_acknowledge_gets_no_more_than_its_window() {
    let harness = Harness::start().await.unhurried();
    let slow = Hello {
        receive_maximum: 2,
        ..Hello::new(ACME, "slow")
    };
    let mut slow = member(&harness, &slow, Qos::AtLeastOnce).await;
    let mut quick = member(&harness, &Hello::new(ACME, "quick"), Qos::AtLeastOnce).await;
    let mut publisher = publisher(&harness).await;
    publish_jobs(&mut publisher, 40).await;
    quick.receive_all(38).await;
    quick.expect_nothing().await;
    for _ in 0..2 {
        next_publish(&mut slow).await;
    }
    slow.expect_nothing().await;
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_hundreds_shares_evenly() {
    let harness = Harness::start().await.unhurried();
    let lifted = crate::harness::free_but(tessera_tenancy::LimitCode::Connections, 2_000);
    let lifted = lifted.with(
        tessera_tenancy::LimitCode::PublishesPerSecond,
        Some(1_000_000),
    );
    harness.change(crate::harness::set_tenant(ACME, lifted));
    let mut members = Vec::new();
    for number in 0..300 {
        let client: &'static str = format!("m{number}").leak();
        members.push(member(&harness, &Hello::new(ACME, client), Qos::AtLeastOnce).await);
    }
    let mut publisher = publisher(&harness).await;
    publish_jobs(&mut publisher, 900).await;
    for member in &mut members {
        member.receive_all(3).await;
        member.expect_nothing().await;
    }
    harness.stop().await;
}
