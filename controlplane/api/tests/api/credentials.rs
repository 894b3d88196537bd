//! Credentials and their secrets.

use serde_json::json;
use tessera_tenancy::{GeneratedSecret, SecretKind};

use crate::rig::Rig;

const PATH: &str = "/v1/tenants/acme/credentials";

#[tokio::test]
async fn a_secret_is_shown_once_and_never_stored() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let created = rig
        .post(PATH, &json!({"username": "sensor-7"}))
        .expect(201)
        .await;
    assert_eq!(created.field("/mqtt_username"), "acme.sensor-7");
    let secret = created.field("/secret");
    let parsed = GeneratedSecret::parse(SecretKind::Device, &secret).unwrap();
    assert_eq!(
        created.field("/secrets/0/key_id"),
        parsed.key_id().to_string()
    );
    for path in [PATH.to_owned(), format!("{PATH}/sensor-7")] {
        let answer = rig.get(&path).expect(200).await;
        assert!(!answer.text.contains(&secret));
        assert!(!answer.text.contains("digest"));
    }
    let mut owner = rig.database.owner().await;
    let dump: Vec<String> = sqlx::query_scalar(
        "select c::text from credential_secrets c union all select c::text from config_changes c",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(!dump.is_empty() && dump.iter().all(|row| !row.contains(&secret)));
}

#[tokio::test]
async fn rotation_keeps_the_secret_before_and_ends_the_one_before_that() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let created = rig
        .post(PATH, &json!({"username": "sensor"}))
        .expect(201)
        .await;
    let rotate = format!("{PATH}/{}/rotate", created.field("/id"));
    let key_id =
        |answer: &crate::rig::Answer, at: usize| answer.field(&format!("/secrets/{at}/key_id"));
    let second = rig.post(&rotate, &json!({})).expect(200).await;
    assert_eq!(key_id(&second, 1), key_id(&created, 0));
    assert_eq!(
        second.field("/id"),
        created.field("/id"),
        "its principal stays"
    );
    assert_eq!(second.header("etag"), "\"r2\"");
    let third = rig.post(&rotate, &json!({})).expect(200).await;
    assert_eq!(key_id(&third, 1), key_id(&second, 0));
    assert_eq!(third.json()["secrets"].as_array().unwrap().len(), 2);
    assert_ne!(third.field("/secret"), second.field("/secret"));
    assert_eq!(
        third.number("/config_revision"),
        created.number("/config_revision") + 2
    );
}

#[tokio::test]
async fn user_names_are_unique_in_their_tenant_only() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    rig.tenant("other").await;
    let body = json!({"username": "sensor"});
    rig.post(PATH, &body).expect(201).await;
    rig.post(PATH, &body).refused(409, "username_taken").await;
    rig.post("/v1/tenants/other/credentials", &body)
        .expect(201)
        .await;
    rig.delete(&format!("{PATH}/sensor")).expect(204).await;
    rig.delete(&format!("{PATH}/sensor"))
        .refused(404, "not_found")
        .await;
    rig.post(PATH, &body).expect(201).await;
}

#[tokio::test]
async fn a_tenants_administrator_manages_its_credentials() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let own = |method| rig.call(method, PATH).by(&tenant.admin);
    own(reqwest::Method::POST)
        .json(&json!({"username": "a:b@c~d.e_f-g"}))
        .expect(201)
        .await;
    let listed = own(reqwest::Method::GET).expect(200).await;
    assert_eq!(listed.field("/data/0/username"), "a:b@c~d.e_f-g");
    let path = format!("{PATH}/a:b@c~d.e_f-g");
    rig.call(reqwest::Method::GET, &path)
        .by(&tenant.viewer)
        .expect(200)
        .await;
}
