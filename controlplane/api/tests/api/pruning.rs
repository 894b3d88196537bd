//! What has run out is forgotten, and nothing else.

use std::time::Duration;

use serde_json::json;
use tessera_store::changes::CHANGES_KEPT;
use tessera_store::{Store, StoreOptions};
use tessera_tenancy::Revision;

use crate::rig::Rig;

async fn store(rig: &Rig) -> Store {
    let options = StoreOptions {
        url: rig.database.url(),
        connections_max: 2,
        acquire_timeout: Duration::from_secs(5),
    };
    Store::open(options).await.unwrap()
}

#[tokio::test]
async fn answers_are_kept_for_a_day() {
    let rig = Rig::start().await;
    let store = store(&rig).await;
    for (slug, hours) in [("young", 23), ("old", 25)] {
        let body = json!({"slug": slug, "plan": "free"});
        let create = || {
            rig.post("/v1/tenants", &body)
                .header("idempotency-key", slug)
        };
        create().expect(201).await;
        let mut owner = rig.database.owner().await;
        sqlx::query(
            "update idempotent_answers set created_at = now() - make_interval(hours => $1)",
        )
        .bind(hours)
        .execute(&mut owner)
        .await
        .unwrap();
        if slug == "young" {
            create().expect(201).await;
            assert_eq!(store.prune_answers().await.unwrap(), 0);
        } else {
            create().refused(409, "slug_taken").await;
        }
    }
    let mut owner = rig.database.owner().await;
    sqlx::query("update idempotent_answers set created_at = now() - interval '2 days'")
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(store.prune_answers().await.unwrap(), 2);
}

#[tokio::test]
async fn changes_beyond_what_is_kept_are_forgotten() {
    let rig = Rig::start().await;
    let store = store(&rig).await;
    rig.tenant("acme").await;
    rig.tenant("beta").await;
    assert_eq!(store.prune_changes().await.unwrap(), 0);
    let mut owner = rig.database.owner().await;
    sqlx::query("update config_head set revision = $1")
        .bind(i64::try_from(CHANGES_KEPT).unwrap() + 1)
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(store.prune_changes().await.unwrap(), 1);
    let head = store.config_head().await.unwrap();
    assert_eq!(head.oldest_change, Some(Revision(2)));
}

#[tokio::test]
async fn an_address_cannot_ask_for_a_role_that_row_security_does_not_bind() {
    let rig = Rig::start().await;
    let options = StoreOptions {
        url: format!("{}&options=-c%20role%3Dtessera", rig.database.url()),
        connections_max: 1,
        acquire_timeout: Duration::from_secs(5),
    };
    // Opening verifies it: as the superuser `tessera` it would be refused.
    assert!(Store::open(options).await.is_ok());
}
