//! Requests that are repeated.

use serde_json::json;

use crate::rig::Rig;

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_and_has_one_effect() {
    let rig = Rig::start().await;
    let body = json!({"slug": "acme", "plan": "free"});
    let create = || rig.post("/v1/tenants", &body).header(KEY, "7c1e");
    let first = create().expect(201).await;
    let again = create().expect(201).await;
    assert_eq!(again.text, first.text);
    for name in ["location", "etag", "tessera-config-revision"] {
        assert_eq!(again.header(name), first.header(name));
    }
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(again.header("idempotent-replayed"), "true");

    let other = json!({"slug": "other", "plan": "free"});
    let reused = rig.post("/v1/tenants", &other).header(KEY, "7c1e");
    reused.refused(422, "idempotency_key_reused").await;
    rig.get("/v1/tenants/other").refused(404, "not_found").await;
}

#[tokio::test]
async fn a_secret_is_shown_again_to_who_repeats_and_stands_nowhere_readable() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let path = "/v1/tenants/acme/credentials";
    let create = || {
        rig.post(path, &json!({"username": "sensor"}))
            .header(KEY, "abc")
    };
    let first = create().expect(201).await;
    assert_eq!(create().expect(201).await.text, first.text);
    let rotate = || {
        rig.post(&format!("{path}/sensor/rotate"), &json!({}))
            .header(KEY, "def")
    };
    assert_eq!(
        rotate().expect(200).await.text,
        rotate().expect(200).await.text
    );

    let mut owner = rig.database.owner().await;
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("select lookup || salt || sealed from idempotent_answers")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        for text in [b"tsd_".as_slice(), b"acme", b"abc", b"config_revision"] {
            assert!(!row.windows(text.len()).any(|part| part == text));
        }
    }
}

#[tokio::test]
async fn twins_at_the_same_time_have_one_effect() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let body = json!({"username": "sensor"});
    let create = || {
        rig.post("/v1/tenants/acme/credentials", &body)
            .header(KEY, "twin")
            .send()
    };
    let answers = futures_util::future::join_all((0..8).map(|_| create())).await;
    for answer in &answers {
        match answer.status {
            201 => {}
            409 => assert_eq!(answer.field("/code"), "idempotency_in_progress"),
            other => panic!("{other}: {}", answer.text),
        }
    }
    let mut created = answers.iter().filter(|answer| answer.status == 201);
    let first = created.next().expect("one of them ran");
    assert!(created.all(|answer| answer.text == first.text));
    assert_eq!(create().await.text, first.text);
}

#[tokio::test]
async fn a_final_refusal_is_repeated_and_a_malformed_request_is_not_kept() {
    let rig = Rig::start().await;
    let body = json!({"slug": "acme", "plan": "free"});
    rig.post("/v1/tenants", &body).expect(201).await;
    let create = || rig.post("/v1/tenants", &body).header(KEY, "late");
    create().refused(409, "slug_taken").await;
    rig.delete("/v1/tenants/acme").expect(204).await;
    let again = create().refused(409, "slug_taken").await;
    assert_eq!(
        again.header("idempotent-replayed"),
        "true",
        "the answer was given before"
    );

    let bad = json!({"slug": "Acme", "plan": "free"});
    rig.post("/v1/tenants", &bad)
        .header(KEY, "mend")
        .refused(422, "validation_failed")
        .await;
    rig.post("/v1/tenants", &body)
        .header(KEY, "mend")
        .expect(201)
        .await;
}

#[tokio::test]
async fn keys_of_different_callers_are_different_keys() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let path = "/v1/tenants/acme/credentials";
    let create = |username: &str| {
        rig.call(reqwest::Method::POST, path)
            .json(&json!({"username": username}))
    };
    create("a")
        .by(&rig.admin)
        .header(KEY, "same")
        .expect(201)
        .await;
    create("b")
        .by(&tenant.admin)
        .header(KEY, "same")
        .expect(201)
        .await;
    rig.tenant("other").await;
    let elsewhere = rig.post("/v1/tenants/other/credentials", &json!({"username": "a"}));
    elsewhere
        .header(KEY, "same")
        .refused(422, "idempotency_key_reused")
        .await;
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let rig = Rig::start().await;
    let body = json!({"slug": "acme", "plan": "free"});
    for key in ["", "a b", &"k".repeat(256)] {
        let call = rig.post("/v1/tenants", &body).header(KEY, key);
        call.refused(400, "malformed_request").await;
    }
    let twice = rig
        .post("/v1/tenants", &body)
        .header(KEY, "a")
        .header(KEY, "b");
    twice.refused(400, "malformed_request").await;
}
