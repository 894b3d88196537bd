//! Two tenants with the same names never see each other.

use tessera_mqtt::{Qos, ReasonCode};

use crate::client::{Device, Hello};
use crate::harness::{ACME, BETA, Harness, password, revoke, suspend};

async fn connected(harness: &Harness, hello: &Hello) -> Device {
    let mut device = harness.device().await;
    let answer = device.hello(hello).await;
    assert_eq!(answer.reason, ReasonCode::Success, "{answer:?}");
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_the_same_clients_and_topics_never_meet() {
    let harness = Harness::start().await;
    let mut devices = Vec::new();
    for tenant in [ACME, BETA] {
        let mut subscriber = connected(&harness, &Hello::persistent(tenant, "same")).await;
        subscriber.subscribe("#", Qos::AtLeastOnce).await;
        let publisher = connected(&harness, &Hello::new(tenant, "publisher")).await;
        devices.push((tenant, subscriber, publisher));
    }
    for (tenant, _, publisher) in &mut devices {
        let own = format!("canary of {tenant}");
        publisher.retain("same/topic", &own).await;
        publisher.publish_acknowledged("same/topic", &own).await;
    }
    for (tenant, subscriber, _) in &mut devices {
        let own = format!("canary of {tenant}");
        assert_eq!(subscriber.receive_payload().await, own);
        assert_eq!(subscriber.receive_payload().await, own);
        subscriber.expect_nothing().await;
        let mut late = connected(&harness, &Hello::new(*tenant, "late")).await;
        late.subscribe("+/+", Qos::AtMostOnce).await;
        assert_eq!(late.receive_payload().await, own);
        late.expect_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_another_tenant_opens_nothing() {
    let harness = Harness::start().await;
    let foreign = password(BETA, "one");
    let mut wrong = vec![
        "nonsense".to_owned(),
        String::new(),
        password(ACME, "two"),
        foreign,
    ];
    let mut damaged = password(ACME, "one");
    damaged.pop();
    wrong.push(damaged);
    for password in wrong {
        let mut device = harness.device().await;
        let answer = device
            .hello_with_password(&Hello::new(ACME, "x"), &password)
            .await;
        assert_eq!(answer.reason, ReasonCode::NotAuthorized);
        assert!(
            device.next_or_end().await.is_none(),
            "closed after the refusal"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suspending_a_tenant_ends_its_devices_and_no_others() {
    let harness = Harness::start().await;
    let mut acme = connected(&harness, &Hello::new(ACME, "a")).await;
    let mut beta = connected(&harness, &Hello::new(BETA, "b")).await;
    harness.change(suspend(ACME));
    assert_eq!(acme.ended_with().await, ReasonCode::AdministrativeAction);
    beta.expect_nothing().await;
    let mut again = harness.device().await;
    assert_eq!(
        again.hello(&Hello::new(ACME, "a")).await.reason,
        ReasonCode::Banned
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_credential_ends_its_devices_and_no_others() {
    let harness = Harness::start().await;
    let mut one = connected(&harness, &Hello::new(ACME, "a")).await;
    let mut two = connected(
        &harness,
        &Hello {
            name: "two",
            ..Hello::new(ACME, "b")
        },
    )
    .await;
    harness.change(revoke(ACME, "one"));
    assert_eq!(one.ended_with().await, ReasonCode::NotAuthorized);
    two.expect_nothing().await;
    let mut again = harness.device().await;
    assert_eq!(
        again.hello(&Hello::new(ACME, "a")).await.reason,
        ReasonCode::NotAuthorized
    );
}
