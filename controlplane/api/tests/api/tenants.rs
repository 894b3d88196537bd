//! Tenants, organizations, plans and lists.

use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn a_tenant_is_created_read_changed_and_deleted() {
    let rig = Rig::start().await;
    let organization = rig
        .post(
            "/v1/organizations",
            &json!({"slug": "acme-corp", "name": "Acme"}),
        )
        .expect(201)
        .await;
    let body = json!({"slug": "acme", "plan": "pro", "organization": "acme-corp",
        "labels": {"env": "prod", "tier": "1"}});
    let created = rig.post("/v1/tenants", &body).expect(201).await;
    let id = created.field("/id");
    assert_eq!(created.header("location"), format!("/v1/tenants/{id}"));
    assert_eq!(created.header("etag"), "\"r1\"");
    assert_eq!(created.field("/organization"), organization.field("/id"));
    assert!(created.number("/config_revision") > 0);
    assert_eq!(
        created.header("tessera-config-revision"),
        created.field("/config_revision")
    );

    let by_id = rig.get(&format!("/v1/tenants/{id}")).expect(200).await;
    let by_slug = rig.get("/v1/tenants/acme").expect(200).await;
    assert_eq!(
        (by_id.json(), by_slug.json()),
        (created.json(), created.json())
    );

    let patch = json!({"labels": {"env": null, "team": "sea"}});
    let patched = rig.patch("/v1/tenants/acme", &patch).expect(200).await;
    assert_eq!(
        patched.json()["labels"],
        json!({"tier": "1", "team": "sea"})
    );
    assert_eq!(patched.header("etag"), "\"r2\"");
    assert_eq!(
        patched.field("/config_revision"),
        created.field("/config_revision"),
        "nodes do not know labels"
    );
    let moved = rig
        .patch("/v1/tenants/acme", &json!({"plan": "free"}))
        .expect(200)
        .await;
    assert!(moved.number("/config_revision") > patched.number("/config_revision"));

    let credential = json!({"username": "sensor"});
    rig.post("/v1/tenants/acme/credentials", &credential)
        .expect(201)
        .await;
    rig.delete("/v1/tenants/acme").expect(204).await;
    rig.get("/v1/tenants/acme").refused(404, "not_found").await;
    rig.delete("/v1/tenants/acme")
        .refused(404, "not_found")
        .await;
    rig.post("/v1/tenants", &body).expect(201).await;
}

#[tokio::test]
async fn putting_a_tenant_creates_it_once_and_then_returns_it() {
    let rig = Rig::start().await;
    let body = json!({"plan": "dev"});
    let created = rig.put("/v1/tenants/demo", &body).expect(201).await;
    let again = rig
        .put("/v1/tenants/demo", &json!({"plan": "free"}))
        .expect(200)
        .await;
    assert_eq!(again.json(), created.json(), "what is there stays as it is");
}

#[tokio::test]
async fn of_two_that_create_one_slug_at_once_one_wins() {
    let rig = Rig::start().await;
    let body = json!({"slug": "acme", "plan": "free"});
    let (a, b) = tokio::join!(
        rig.post("/v1/tenants", &body).send(),
        rig.post("/v1/tenants", &body).send()
    );
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let loser = if a.status == 409 { a } else { b };
    assert_eq!(loser.field("/code"), "slug_taken");
    let (a, b) = tokio::join!(
        rig.put("/v1/tenants/other", &json!({"plan": "free"}))
            .send(),
        rig.put("/v1/tenants/other", &json!({"plan": "free"}))
            .send()
    );
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201]);
}

#[tokio::test]
async fn suspending_and_resuming_are_told_to_the_nodes_once() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let suspend = format!("/v1/tenants/{}/suspend", tenant.id);
    let suspended = rig.post(&suspend, &json!({})).expect(200).await;
    assert_eq!(suspended.field("/status"), "suspended");
    let again = rig.post(&suspend, &json!({})).expect(200).await;
    assert_eq!(again.json(), suspended.json(), "it was so already");
    let resumed = rig
        .post("/v1/tenants/acme/resume", &json!({}))
        .expect(200)
        .await;
    assert_eq!(resumed.field("/status"), "active");
    let told = |answer: &crate::rig::Answer| answer.number("/config_revision");
    assert_eq!(told(&resumed), told(&suspended) + 1);
}

#[tokio::test]
async fn preconditions_keep_edits_from_being_lost() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let patch = |etag: &str| {
        let body = json!({"labels": {"a": "b"}});
        rig.patch("/v1/tenants/acme", &body)
            .header("if-match", etag)
    };
    patch("\"r1\"").expect(200).await;
    let stale = patch("\"r1\"").refused(412, "stale_revision").await;
    assert_eq!(stale.field("/current_etag"), "\"r2\"");
    patch("W/\"r2\"").refused(412, "stale_revision").await;
    patch("r2").refused(400, "malformed_request").await;
    patch("\"r9\", \"r2\"").expect(200).await;
    patch("*").expect(200).await;
    rig.delete("/v1/tenants/acme")
        .header("if-match", "\"r1\"")
        .refused(412, "stale_revision")
        .await;
}

#[tokio::test]
async fn a_list_is_walked_by_its_cursors() {
    let rig = Rig::start().await;
    for slug in ["bravo", "alpha", "delta", "charlie"] {
        rig.post("/v1/tenants", &json!({"slug": slug, "plan": "free"}))
            .expect(201)
            .await;
    }
    rig.post("/v1/tenants/delta/suspend", &json!({}))
        .expect(200)
        .await;
    let mut seen = Vec::new();
    let mut path = "/v1/tenants?limit=3".to_owned();
    loop {
        let page = rig.get(&path).expect(200).await;
        let items = page.json()["data"].as_array().unwrap().clone();
        assert!(items.len() <= 3);
        seen.extend(
            items
                .iter()
                .map(|item| item["slug"].as_str().unwrap().to_owned()),
        );
        match page.json()["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/tenants?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["alpha", "bravo", "charlie", "delta"]);
    let suspended = rig.get("/v1/tenants?status=suspended").expect(200).await;
    assert_eq!(suspended.field("/data/0/slug"), "delta");
    assert_eq!(suspended.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_list_ends_and_starts_where_its_cursor_says() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    for name in ["a", "b", "c"] {
        let path = "/v1/tenants/acme/credentials";
        rig.post(path, &json!({"username": name})).expect(201).await;
        rig.post("/v1/organizations", &json!({"slug": name}))
            .expect(201)
            .await;
        let key = json!({"name": name, "role": "platform-viewer"});
        rig.post("/v1/platform/api-keys", &key).expect(201).await;
    }
    for (list, count) in [
        ("/v1/tenants/acme/credentials", 3),
        ("/v1/tenants/acme/api-keys", 2),
        ("/v1/organizations", 3),
        ("/v1/platform/api-keys", 4),
        ("/v1/plans", 4),
    ] {
        let all = rig.get(list).expect(200).await.json();
        assert_eq!(all["data"].as_array().unwrap().len(), count, "{list}");
        assert!(all["next_cursor"].is_null());
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = rig
                .get(&format!("{list}?limit=1{cursor}"))
                .expect(200)
                .await
                .json();
            walked.extend(page["data"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(walked, *all["data"].as_array().unwrap(), "{list}");
    }
    let own = rig
        .call(reqwest::Method::GET, "/v1/tenants")
        .by(&tenant.viewer)
        .expect(200)
        .await;
    assert_eq!(own.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn plans_are_those_of_the_registry() {
    let rig = Rig::start().await;
    let plans = rig.get("/v1/plans").expect(200).await.json();
    let slugs: Vec<_> = plans["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| &plan["slug"])
        .collect();
    assert_eq!(slugs, ["dev", "enterprise", "free", "pro"]);
    let free = rig.get("/v1/plans/free").expect(200).await;
    for (at, row) in tessera_tenancy::LIMITS.iter().enumerate() {
        assert_eq!(free.field(&format!("/limits/{at}/name")), row.name);
        assert_eq!(free.json()["limits"][at]["limit"], json!(row.defaults.free));
    }
    rig.get("/v1/plans/none").refused(404, "not_found").await;
}

#[tokio::test]
async fn what_a_body_names_must_exist() {
    let rig = Rig::start().await;
    for (body, pointer, code) in [
        (
            json!({"slug": "a", "plan": "gold"}),
            "/plan",
            "unknown_plan",
        ),
        (
            json!({"slug": "a", "plan": "free", "organization": "none"}),
            "/organization",
            "unknown_organization",
        ),
        (
            json!({"slug": "admin", "plan": "free"}),
            "/slug",
            "slug_reserved",
        ),
    ] {
        let refused = rig
            .post("/v1/tenants", &body)
            .refused(422, "validation_failed")
            .await;
        assert_eq!(refused.field("/errors/0/pointer"), pointer);
        assert_eq!(refused.field("/errors/0/code"), code);
    }
}

#[tokio::test]
async fn a_control_plane_starts_again_on_what_is_there() {
    let mut rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let before = rig
        .get("/v1/platform/config-revisions")
        .expect(200)
        .await
        .json();
    rig.restart().await;
    rig.get("/v1/tenants/acme").expect(200).await;
    rig.call(reqwest::Method::GET, "/v1/whoami")
        .by(&tenant.admin)
        .expect(200)
        .await;
    let after = rig
        .get("/v1/platform/config-revisions")
        .expect(200)
        .await
        .json();
    assert_eq!(after, before, "starting changes nothing that nodes see");
    rig.call(reqwest::Method::GET, "/readyz").expect(200).await;
    rig.call(reqwest::Method::GET, "/healthz").expect(200).await;
}

#[tokio::test]
async fn a_new_limit_of_a_plan_is_told_to_the_nodes() {
    let mut rig = Rig::start().await;
    rig.tenant("acme").await;
    let head = |answer: crate::rig::Answer| answer.number("/revision");
    let before = head(rig.get("/v1/platform/config-revisions").expect(200).await);
    // As if the version before had not known one of the limits.
    let mut owner = rig.database.owner().await;
    sqlx::query("delete from plan_limits where name = 'connections'")
        .execute(&mut owner)
        .await
        .unwrap();
    let closed = rig.get("/v1/tenants/acme/quotas").expect(200).await;
    assert_eq!(
        closed.field("/data/0/limit"),
        "0",
        "what is missing is closed, not unlimited"
    );
    rig.restart().await;
    let quotas = rig.get("/v1/tenants/acme/quotas").expect(200).await;
    assert_eq!(quotas.field("/data/0/limit"), "100");
    let after = head(rig.get("/v1/platform/config-revisions").expect(200).await);
    assert_eq!(after, before + 1);
}
