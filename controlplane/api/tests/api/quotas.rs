//! Quotas: the plan's, and what overrides them.

use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

const PATH: &str = "/v1/platform/tenants/acme/quotas";

fn row(answer: &Answer, name: &str) -> Value {
    let rows = answer.json()["data"].as_array().unwrap().clone();
    rows.into_iter().find(|row| row["name"] == name).unwrap()
}

#[tokio::test]
async fn an_override_wins_is_unlimited_or_goes_back_to_the_plan() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let read = rig.get("/v1/tenants/acme/quotas").expect(200).await;
    assert_eq!(row(&read, "connections")["source"], "plan");
    assert_eq!(row(&read, "connections")["limit"], 100);

    let body = json!({"quotas": {"connections": {"limit": 25_000}}, "reason": "launch"});
    let patched = rig
        .patch(PATH, &body)
        .header("if-match", read.header("etag"))
        .expect(200)
        .await;
    let connections = row(&patched, "connections");
    assert_eq!(connections["limit"], 25_000);
    assert_eq!(connections["source"], "override");
    assert_eq!(
        (&connections["plan_limit"], &connections["reason"]),
        (&json!(100), &json!("launch"))
    );
    assert!(patched.number("/config_revision") > read.number("/config_revision"));
    assert_ne!(patched.header("etag"), read.header("etag"));

    let unlimited = json!({"quotas": {"publishes_per_second": {"limit": null}}});
    let both = rig
        .patch(PATH, &unlimited)
        .header("if-match", "*")
        .expect(200)
        .await;
    assert_eq!(row(&both, "publishes_per_second")["limit"], Value::Null);
    assert_eq!(
        row(&both, "connections")["limit"],
        25_000,
        "what is not named stays"
    );

    let back = json!({"quotas": {"connections": null}});
    let back = rig
        .patch(PATH, &back)
        .header("if-match", "*")
        .expect(200)
        .await;
    assert_eq!(row(&back, "connections")["source"], "plan");

    let put = json!({"quotas": {"connections": {"limit": 7}}});
    let put = rig
        .put(PATH, &put)
        .header("if-match", "*")
        .expect(200)
        .await;
    assert_eq!(row(&put, "connections")["limit"], 7);
    assert_eq!(
        row(&put, "publishes_per_second")["source"],
        "plan",
        "what is not named goes back"
    );

    let own = rig
        .call(reqwest::Method::GET, "/v1/tenants/acme/quotas")
        .by(&tenant.viewer);
    assert_eq!(own.expect(200).await.json(), put.json());
}

#[tokio::test]
async fn changing_quotas_needs_what_was_read() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let body = json!({"quotas": {"connections": {"limit": 7}}});
    let read = rig.get(PATH).expect(200).await;
    for call in [rig.put(PATH, &body), rig.patch(PATH, &body)] {
        call.refused(428, "precondition_required").await;
    }
    rig.patch(PATH, &body)
        .header("if-match", read.header("etag"))
        .expect(200)
        .await;
    let stale = rig
        .patch(PATH, &body)
        .header("if-match", read.header("etag"));
    stale.refused(412, "stale_revision").await;
    rig.patch(PATH, &body)
        .header("if-match", "nonsense")
        .refused(400, "malformed_request")
        .await;

    let read = rig.get(PATH).expect(200).await;
    rig.patch("/v1/tenants/acme", &json!({"plan": "pro"}))
        .expect(200)
        .await;
    let stale = rig
        .patch(PATH, &body)
        .header("if-match", read.header("etag"));
    stale.refused(412, "stale_revision").await;
}

#[tokio::test]
async fn values_that_no_quota_takes_are_refused_by_their_place() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    for (limit, code) in [
        ("0", "below_minimum"),
        ("-1", "invalid_value"),
        ("-0", "invalid_type"),
        ("1.5", "invalid_type"),
        ("\"7\"", "invalid_type"),
        ("9223372036854775808", "above_platform_maximum"),
        ("18446744073709551616", "invalid_type"),
    ] {
        let body = format!(r#"{{"quotas":{{"connections":{{"limit":{limit}}}}}}}"#);
        let call = rig
            .call(reqwest::Method::PATCH, PATH)
            .by(&rig.admin)
            .header("if-match", "*");
        let call = call.raw("application/merge-patch+json", body);
        let refused = call.refused(422, "validation_failed").await;
        assert_eq!(
            refused.field("/errors/0/pointer"),
            "/quotas/connections/limit",
            "{limit}"
        );
        assert_eq!(refused.field("/errors/0/code"), code, "{limit}");
    }
    let unknown = json!({"quotas": {"conections": {"limit": 1}, "connections": {"limit": 0}}});
    let refused = rig.patch(PATH, &unknown).header("if-match", "*");
    let refused = refused.refused(422, "validation_failed").await;
    assert_eq!(refused.field("/errors/0/code"), "unknown_quota");
    assert_eq!(
        refused.field("/errors/1/code"),
        "below_minimum",
        "all faults at once"
    );
    let quotas = rig.get(PATH).expect(200).await;
    assert_eq!(
        row(&quotas, "connections")["source"],
        "plan",
        "nothing was changed"
    );
}
