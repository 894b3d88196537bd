//! Attempts to cross from one tenant into another. Each carries its number in the list of attempts
//! (X-nn): `acme` attacks, `beta` is the victim, and everything of the victim's is a canary.
//!
//! stand with what they attack (`sessions`, `wills`). X-15 needs several nodes.
//! need policies that deny, and there is one policy yet, that allows.

mod names;
mod sessions;

use tessera_mqtt::{
    ForwardedProperties, ForwardedProperty, Packet, Publish, Qos, ReasonCode, Will,
};

use crate::client::{Device, Hello, id, message};
use crate::harness::{ACME, BETA, Harness};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;

/// Topics of the victim: everything that an attacker's filters match.
const TOPICS: [&str; 6] = ["x", "/x", "a/b", "/", "a//b", "beta/x"];

async fn attacker(harness: &Harness, client: &'static str) -> Device {
    harness.connected(&Hello::new(ACME, client)).await
}

async fn victim(harness: &Harness, client: &'static str) -> Device {
    harness.connected(&Hello::new(BETA, client)).await
}

/// The victim says and keeps something everywhere.
async fn canaries(victim: &mut Device) {
    for topic in TOPICS {
        victim.retain(topic, "canary").await;
        for qos in [QOS0, QOS1, Qos::ExactlyOnce] {
            victim.publish_message(message(topic, "canary", qos)).await;
        }
    }
}

/// Nothing of the victim's has come, and nothing is on its way.
async fn hears_only_its_own(attacker: &mut Device, own: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(attacker.receive_payload().await, own);
    }
    attacker.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_01_and_x_20_wildcards_meet_no_message_of_another_tenant() {
    let harness = Harness::start().await.unhurried();
    let mut victim = victim(&harness, "victim").await;
    canaries(&mut victim).await;
    for kept in [Hello::new(ACME, "spy"), Hello::persistent(ACME, "spy")] {
        let mut spy = harness.connected(&kept).await;
        for filter in ["#", "+/#", "+", "/#", "+/+", "a/+/b", "beta/#"] {
            assert_eq!(spy.subscribe(filter, QOS1).await, [ReasonCode::GrantedQos1]);
        }
        canaries(&mut victim).await;
        let mut own = attacker(&harness, "own").await;
        own.publish_acknowledged("a/b", "own").await;
        hears_only_its_own(&mut spy, "own", 1).await;
        spy.farewell().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x_02_the_servers_own_topics_tell_nothing_of_another_tenant() {
    let harness = Harness::start().await;
    let mut spy = attacker(&harness, "spy").await;
    for filter in [
        "$SYS/#",
        "$SYS/brokers/+/clients/#",
        "$SYS/+",
        "$share/g/$SYS/#",
    ] {
        spy.subscribe(filter, QOS1).await;
    }
    let mut victim = victim(&harness, "victim").await;
    victim.publish_acknowledged("x", "canary").await;
    victim.farewell().await;
    spy.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_03_groups_of_one_name_never_merge() {
    let harness = Harness::start().await.unhurried();
    let mut spies = Vec::new();
    for client in ["spy1", "spy2"] {
        let mut spy = attacker(&harness, client).await;
        spy.subscribe("$share/g/#", QOS1).await;
        spies.push(spy);
    }
    let mut member = victim(&harness, "member").await;
    member.subscribe("$share/g/#", QOS1).await;
    let mut speaker = victim(&harness, "speaker").await;
    for at in 0..20 {
        speaker.publish_acknowledged("x", &at.to_string()).await;
    }
    for at in 0..20 {
        assert_eq!(member.receive_payload().await, at.to_string());
    }
    for mut spy in spies {
        spy.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x_04_forms_of_shared_filters_reach_no_other_tenant() {
    let harness = Harness::start().await.unhurried();
    let mut spy = attacker(&harness, "spy").await;
    for filter in ["$share//#", "$share/", "$oshare//x", "$share/g"] {
        let codes = spy.subscribe(filter, QOS1).await;
        assert_eq!(codes, [ReasonCode::TopicFilterInvalid], "{filter}");
    }
    for filter in [
        "$share/beta/#",
        "$share/B/+/+",
        "$oshare/g/#",
        "$queue/#",
        "$queue/x",
    ] {
        let codes = spy.subscribe(filter, QOS1).await;
        assert_eq!(codes, [ReasonCode::GrantedQos1], "{filter}");
    }
    let mut victim = victim(&harness, "victim").await;
    canaries(&mut victim).await;
    spy.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_18_a_will_on_the_victims_topics_stays_at_home() {
    let harness = Harness::start().await;
    let mut watchers = Vec::new();
    for tenant in [ACME, BETA] {
        let mut watcher = harness.connected(&Hello::new(tenant, "watcher")).await;
        watcher.subscribe("#", QOS1).await;
        watchers.push(watcher);
    }
    for topic in ["beta/alarm", "/beta/x", "x"] {
        let mut device = harness.device().await;
        device
            .hello_with(&Hello::new(ACME, "last"), |connect| {
                connect.will = Some(Will {
                    message: message(topic, topic, QOS1),
                    delay_seconds: 0,
                });
            })
            .await;
        device.hang_up().await;
        assert_eq!(watchers[0].receive_payload().await, topic);
    }
    watchers[1].expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_24_properties_that_name_the_victim_route_nothing() {
    let harness = Harness::start().await;
    let mut victim = victim(&harness, "victim").await;
    for filter in ["#", "reply", "beta/#"] {
        victim.subscribe(filter, QOS1).await;
    }
    let mut own = attacker(&harness, "own").await;
    own.subscribe("ask", QOS1).await;
    let mut speaker = attacker(&harness, "speaker").await;
    let properties = [
        ForwardedProperty::ResponseTopic("reply"),
        ForwardedProperty::CorrelationData(&[BETA.wrapping_mul(100); 16]),
        ForwardedProperty::User("tenant", "beta"),
        ForwardedProperty::User("tenant_id", "beta"),
    ];
    let mut asked = message("ask", "ask", QOS1);
    asked.properties = ForwardedProperties::from_properties(properties).unwrap();
    speaker.publish_message(asked).await;
    let heard = own.receive().await;
    assert!(heard.properties.iter().eq(properties));
    victim.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_48_what_one_tenant_puts_into_a_cache_is_not_read_by_another() {
    let harness = Harness::start().await.unhurried();
    // The memo of a topic and the tries: the same topic in turns, with routes that come and go.
    let mut listeners = Vec::new();
    let mut speakers = Vec::new();
    for tenant in [ACME, BETA] {
        let mut listener = harness.connected(&Hello::new(tenant, "listener")).await;
        listener.subscribe("same", QOS1).await;
        listeners.push(listener);
        speakers.push(harness.connected(&Hello::new(tenant, "speaker")).await);
    }
    for round in 0..20 {
        for (at, speaker) in speakers.iter_mut().enumerate() {
            let payload = format!("{at} {round}");
            speaker.publish_acknowledged("same", &payload).await;
            assert_eq!(listeners[at].receive_payload().await, payload);
        }
        listeners[0].unsubscribe("same").await;
        let answer = speakers[0].publish_acknowledged("same", "nobody").await;
        assert_eq!(answer.reason, ReasonCode::NoMatchingSubscribers);
        listeners[0].subscribe("same", QOS1).await;
    }
    // The cache of credentials: a wrong secret in one tenant says nothing of the same name elsewhere.
    for _ in 0..3 {
        let mut wrong = harness.device().await;
        let foreign = crate::harness::password(BETA, "one");
        let answer = wrong
            .hello_with_password(&Hello::new(ACME, "wrong"), &foreign)
            .await;
        assert_eq!(answer.reason, ReasonCode::NotAuthorized);
        harness
            .connected(&Hello::new(BETA, "right"))
            .await
            .farewell()
            .await;
    }
    for mut listener in listeners {
        listener.expect_nothing().await;
    }
}
