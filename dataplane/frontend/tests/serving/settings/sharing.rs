//! Who of a shared subscription gets a message.

use tessera_mqtt::{Ack, Packet, Qos};
use tessera_tenancy::SharedSubscriptionStrategy::{Random, RoundRobin, Sticky};

use super::{set, shared};
use crate::client::{Device, Hello, message};
use crate::harness::{ACME, BETA, Harness};

const MEMBERS: [&str; 3] = ["m0", "m1", "m2"];
const KINDS: [bool; 2] = [false, true];

async fn members(harness: &Harness, tenant: u8, filter: &str, kept: bool) -> Vec<Device> {
    let mut members = Vec::new();
    for client in MEMBERS {
        let hello = match kept {
            true => Hello::persistent(tenant, client),
            false => Hello::new(tenant, client),
        };
        let mut member = harness.connected(&hello).await;
        member.subscribe(filter, Qos::AtLeastOnce).await;
        members.push(member);
    }
    members
}

async fn publish(publisher: &mut Device, jobs: usize) {
    for job in 0..jobs {
        let message = message("jobs/x", &job.to_string(), Qos::AtLeastOnce);
        publisher.publish_message(message).await;
    }
}

/// How many messages each has got since it was last asked.
async fn shares(members: &mut [Device]) -> Vec<usize> {
    let mut shares = Vec::new();
    for member in members {
        let mut share = 0;
        member.send(&Packet::PingReq).await;
        loop {
            match member.next().await {
                Packet::Publish(publish) => {
                    let ack = Ack::new(publish.packet_id.unwrap());
                    member.send(&Packet::PubAck(ack)).await;
                    share += 1;
                }
                Packet::PingResp => break,
                other => panic!("{other:?}"),
            }
        }
        shares.push(share);
    }
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strategy_is_followed_from_the_change_on_without_a_reconnection() {
    for kept in KINDS {
        let harness = Harness::start().await.unhurried();
        let mut members = members(&harness, ACME, "$share/g/jobs/#", kept).await;
        let mut publisher = harness.connected(&Hello::new(ACME, "publisher")).await;
        publish(&mut publisher, 30).await;
        assert_eq!(shares(&mut members).await, [10, 10, 10], "in turns");

        set(&harness, ACME, shared(Sticky));
        publish(&mut publisher, 30).await;
        let mut sticky = shares(&mut members).await;
        sticky.sort_unstable();
        assert_eq!(sticky, [0, 0, 30], "all of a publisher to one");

        set(&harness, ACME, shared(Random));
        publish(&mut publisher, 300).await;
        let random = shares(&mut members).await;
        assert_eq!(random.iter().sum::<usize>(), 300);
        assert_ne!(random, [100, 100, 100], "not in turns");
        // Six standard deviations are 49.
        assert!(
            random.iter().all(|share| share.abs_diff(100) < 49),
            "{random:?}"
        );

        set(&harness, ACME, shared(RoundRobin));
        publish(&mut publisher, 30).await;
        assert_eq!(shares(&mut members).await, [10, 10, 10], "in turns again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sticky_is_by_publisher_and_spreads_publishers() {
    let harness = Harness::start().await;
    set(&harness, ACME, shared(Sticky));
    let mut members = members(&harness, ACME, "$share/g/jobs/#", true).await;
    let mut used = [false; MEMBERS.len()];
    let publishers = [
        "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11",
    ];
    for client in publishers {
        let mut before = None;
        for _ in 0..2 {
            // Another connection of the same client.
            let mut publisher = harness.connected(&Hello::new(ACME, client)).await;
            publish(&mut publisher, 4).await;
            publisher.farewell().await;
            let shares = shares(&mut members).await;
            let at = shares.iter().position(|share| *share == 4).unwrap();
            assert_eq!(*before.get_or_insert(at), at, "{client}");
            used[at] = true;
        }
    }
    assert_eq!(
        used, [true; 3],
        "twelve publishers do not all have the same favourite"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_group_and_another_tenant_stay_as_they_are() {
    let harness = Harness::start().await.unhurried();
    set(&harness, BETA, shared(RoundRobin));
    set(&harness, ACME, shared(Random));
    let mut ordered = members(&harness, ACME, "$oshare/g/jobs/#", false).await;
    let mut others = members(&harness, BETA, "$share/g/jobs/#", false).await;
    let mut publisher = harness.connected(&Hello::new(ACME, "publisher")).await;
    publish(&mut publisher, 30).await;
    let mut sticky = shares(&mut ordered).await;
    sticky.sort_unstable();
    assert_eq!(sticky, [0, 0, 30]);
    let mut neighbour = harness.connected(&Hello::new(BETA, "publisher")).await;
    publish(&mut neighbour, 30).await;
    assert_eq!(shares(&mut others).await, [10, 10, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chance_and_stickiness_pass_over_the_absent_too() {
    for strategy in [Random, Sticky] {
        let harness = Harness::start().await;
        set(&harness, ACME, shared(strategy));
        let mut members = members(&harness, ACME, "$share/g/jobs/#", true).await;
        let here = members.split_off(2);
        for absent in members {
            absent.hang_up().await;
        }
        let mut here = here;
        for client in ["p0", "p1", "p2", "p3"] {
            let mut publisher = harness.connected(&Hello::new(ACME, client)).await;
            publish(&mut publisher, 10).await;
        }
        assert_eq!(shares(&mut here).await, [40], "{strategy:?}");
    }
}
