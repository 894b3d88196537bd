//! Settings: how a tenant behaves, set by its owner and told to the nodes.

use reqwest::Method;
use serde_json::{Value, json};
use tessera_tenancy::{
    ChangeBody, QueueOverflow, SharedSubscriptionStrategy, TenantRecord, TenantSettings,
};

use crate::push::Node;
use crate::rig::{Answer, Rig};

const PATH: &str = "/v1/tenants/acme";

fn settings(answer: &Answer) -> Value {
    answer.json()["settings"].clone()
}

fn record(body: ChangeBody) -> TenantRecord {
    match body {
        ChangeBody::Tenant(record) => record,
        other => panic!("a tenant is told whole, not {other:?}"),
    }
}

#[tokio::test]
async fn an_owner_sets_how_its_tenant_behaves_and_nodes_are_told() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let defaults = json!({
        "shared_subscription_strategy": "round_robin", "queue_overflow": "drop_oldest",
    });
    let read = rig.get(PATH).expect(200).await;
    assert_eq!(settings(&read), defaults);
    let mut node = Node::open(&rig, 7, None, 0).await;
    let (_, entries) = node.snapshot().await;
    assert!(record(entries[0].body.clone()).settings.is_default());

    let owners = |body: &Value| {
        let call = rig.call(Method::PATCH, PATH).by(&tenant.admin);
        call.json(body)
    };
    let body = json!({"settings": {"queue_overflow": "refuse_publisher"}});
    let patched = owners(&body)
        .header("if-match", read.header("etag"))
        .expect(200)
        .await;
    assert_eq!(
        patched.field("/settings/queue_overflow"),
        "refuse_publisher"
    );
    assert_eq!(
        patched.field("/settings/shared_subscription_strategy"),
        "round_robin",
        "what is not named stays"
    );
    assert_ne!(patched.header("etag"), read.header("etag"));
    let change = node.change().await;
    assert_eq!(change.revision.0, patched.number("/config_revision"));
    let told = record(change.body).settings;
    assert_eq!(told.queue_overflow, QueueOverflow::RefusePublisher);

    let stale = owners(&body).header("if-match", read.header("etag"));
    stale.refused(412, "stale_revision").await;

    let sticky = json!({"settings": {"shared_subscription_strategy": "sticky"}});
    owners(&sticky).expect(200).await;
    let both = TenantSettings {
        shared_subscription_strategy: SharedSubscriptionStrategy::Sticky,
        queue_overflow: QueueOverflow::RefusePublisher,
    };
    assert_eq!(record(node.change().await.body).settings, both);
    let mut late = Node::open(&rig, 8, None, 0).await;
    let (_, entries) = late.snapshot().await;
    assert_eq!(
        record(entries[0].body.clone()).settings,
        both,
        "a snapshot too"
    );

    let same = owners(&sticky).expect(200).await;
    rig.post("/v1/tenants/acme/suspend", &json!({}))
        .expect(200)
        .await;
    let suspended = node.change().await;
    assert_eq!(
        suspended.revision.0,
        same.number("/config_revision") + 1,
        "what changes nothing is not told"
    );
    assert_eq!(record(suspended.body).settings, both, "and stays as it is");

    let back = json!({"settings": {"queue_overflow": null, "shared_subscription_strategy": null}});
    assert_eq!(settings(&owners(&back).expect(200).await), defaults);
    assert!(record(node.change().await.body).settings.is_default());
}

#[tokio::test]
async fn settings_are_refused_to_those_who_may_not_and_by_their_place() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let other = rig.tenant("beta").await;
    let body = json!({"settings": {"queue_overflow": "drop_newest"}});
    let by = |key: &str| rig.call(Method::PATCH, PATH).by(key).json(&body);
    by(&tenant.viewer).refused(403, "forbidden").await;
    by(&other.admin).refused(404, "not_found").await;

    let wrong = json!({"settings": {
        "queue_overflow": "drop_all", "queue_underflow": "x", "shared_subscription_strategy": "sticky",
    }});
    let refused = rig
        .patch(PATH, &wrong)
        .refused(422, "validation_failed")
        .await;
    assert_eq!(
        refused.field("/errors/0/pointer"),
        "/settings/queue_overflow"
    );
    assert_eq!(refused.field("/errors/0/code"), "unknown_value");
    assert_eq!(
        refused.field("/errors/1/pointer"),
        "/settings/queue_underflow"
    );
    assert_eq!(refused.field("/errors/1/code"), "unknown_setting");
    for malformed in [
        json!({"settings": null}),
        json!({"settings": {"queue_overflow": 1}}),
    ] {
        rig.patch(PATH, &malformed)
            .refused(422, "validation_failed")
            .await;
    }
    for tenant in ["acme", "beta"] {
        let read = rig.get(&format!("/v1/tenants/{tenant}")).expect(200).await;
        assert_eq!(read.field("/settings/queue_overflow"), "drop_oldest");
        assert_eq!(
            read.field("/settings/shared_subscription_strategy"),
            "round_robin",
            "nothing was changed"
        );
    }
}

#[tokio::test]
async fn the_database_takes_no_value_that_no_setting_has() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let mut owner = rig.database.owner().await;
    for statement in [
        "update tenants set queue_overflow = 'x'",
        "update tenants set shared_subscription_strategy = 'x'",
    ] {
        assert!(sqlx::query(statement).execute(&mut owner).await.is_err());
    }
}
