//! Who may do what: every operation of the API document, without a key, with a key of another
//! tenant, and with keys that may only read.

use reqwest::Method;
use serde_json::{Value, json};

use crate::document::{Operation, operations};
use crate::rig::{Call, Rig, Tenant};

/// Operations that anybody may call.
const PUBLIC: [&str; 4] = ["explain_error", "healthz", "openapi", "readyz"];
/// Operations on a tenant's path that a tenant's key never may, whatever the tenant.
const PLATFORM_ONLY: [&str; 4] = [
    "ensure_tenant",
    "get_quotas_of",
    "patch_quotas",
    "put_quotas",
];

/// What stands under a tenant, to be reached for.
struct Belongings {
    credential: String,
    api_key: String,
}

#[tokio::test]
async fn every_operation_is_refused_without_a_key() {
    let rig = Rig::start().await;
    let victim = rig.tenant("victim").await;
    let belongings = belongings(&rig, &victim).await;
    let typo = format!("{}x", &rig.admin[..rig.admin.len() - 1]);
    let unknown =
        tessera_tenancy::GeneratedSecret::from_random(tessera_tenancy::SecretKind::ApiKey, [9; 38]);
    let mut public = Vec::new();
    for operation in operations() {
        if operation.is_public() {
            public.push(operation.id.clone());
            continue;
        }
        let refused = call(&rig, &operation, &victim.slug, &belongings, None)
            .refused(401, "unauthenticated")
            .await;
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        for key in [typo.as_str(), unknown.expose(), "tsk_", ""] {
            call(&rig, &operation, &victim.slug, &belongings, Some(key))
                .refused(401, "unauthenticated")
                .await;
        }
    }
    public.sort();
    assert_eq!(public, PUBLIC);
}

#[tokio::test]
async fn another_tenant_looks_like_none_to_every_operation() {
    let rig = Rig::start().await;
    let victim = rig.tenant("victim").await;
    let attacker = rig.tenant("attacker").await;
    let belongings = belongings(&rig, &victim).await;
    let before = state_of(&rig, &victim).await;
    let unknown_id = tessera_tenancy::TenantId::from_bytes([1; 16]).to_string();
    for operation in operations()
        .iter()
        .filter(|operation| !operation.is_public())
    {
        for key in [&attacker.admin, &attacker.viewer] {
            if operation.names_tenant() {
                let by_slug = call(&rig, operation, &victim.slug, &belongings, Some(key))
                    .send()
                    .await;
                let by_id = call(&rig, operation, &victim.id, &belongings, Some(key))
                    .send()
                    .await;
                let absent = call(&rig, operation, "nobody", &belongings, Some(key))
                    .send()
                    .await;
                let no_id = call(&rig, operation, &unknown_id, &belongings, Some(key))
                    .send()
                    .await;
                assert_eq!(by_slug.essence(), absent.essence(), "{}", operation.id);
                if operation.id != "ensure_tenant" {
                    assert_eq!(by_id.essence(), no_id.essence(), "{}", operation.id);
                }
                let expected = if PLATFORM_ONLY.contains(&operation.id.as_str()) {
                    403
                } else {
                    404
                };
                assert_eq!(
                    by_slug.status, expected,
                    "{}: {}",
                    operation.id, by_slug.text
                );
            } else {
                let answer = call(&rig, operation, &victim.slug, &belongings, Some(key))
                    .send()
                    .await;
                assert!(
                    [200, 403].contains(&answer.status),
                    "{}: {}",
                    operation.id,
                    answer.text
                );
                for secret in [
                    &victim.id,
                    &victim.slug,
                    &belongings.credential,
                    &belongings.api_key,
                ] {
                    // Without the path that was asked for, which a problem repeats.
                    let said = answer.essence().1.to_string();
                    assert!(!said.contains(secret.as_str()), "{}", operation.id);
                }
            }
        }
    }
    assert_eq!(
        state_of(&rig, &victim).await,
        before,
        "nothing of the victim changed"
    );
}

#[tokio::test]
async fn what_stands_under_another_tenant_is_not_found_under_ones_own() {
    let rig = Rig::start().await;
    let victim = rig.tenant("victim").await;
    let attacker = rig.tenant("attacker").await;
    let belongings = belongings(&rig, &victim).await;
    for operation in operations() {
        let reaches = operation.path.contains("{credential}")
            || (operation.path.contains("{api_key}") && operation.names_tenant());
        if reaches {
            call(
                &rig,
                &operation,
                &attacker.slug,
                &belongings,
                Some(&attacker.admin),
            )
            .refused(404, "not_found")
            .await;
        }
    }
}

#[tokio::test]
async fn viewers_change_nothing() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let belongings = belongings(&rig, &tenant).await;
    let body = json!({"name": "viewer", "role": "platform-viewer"});
    let platform_viewer = rig
        .post("/v1/platform/api-keys", &body)
        .expect(201)
        .await
        .field("/secret");
    for operation in operations()
        .iter()
        .filter(|operation| !operation.is_public())
    {
        for key in [&tenant.viewer, &platform_viewer] {
            let answer = call(&rig, operation, &tenant.slug, &belongings, Some(key))
                .send()
                .await;
            if operation.method == "GET" {
                assert!([200, 403, 404].contains(&answer.status), "{}", operation.id);
            } else {
                assert_eq!(answer.status, 403, "{}: {}", operation.id, answer.text);
                assert!(answer.field("/missing_scope").contains(':'));
            }
        }
    }
}

#[tokio::test]
async fn a_tenants_administrator_does_not_reach_its_plan_quotas_or_existence() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let path = "/v1/tenants/acme";
    let own = |method, path: &str| rig.call(method, path).by(&tenant.admin);
    own(Method::PATCH, path)
        .json(&json!({"plan": "pro"}))
        .refused(403, "forbidden")
        .await;
    own(Method::DELETE, path).refused(403, "forbidden").await;
    own(Method::POST, "/v1/tenants/acme/suspend")
        .refused(403, "forbidden")
        .await;
    own(Method::PATCH, path)
        .json(&json!({"labels": {"env": "test"}}))
        .expect(200)
        .await;
    own(Method::PATCH, path)
        .json(&json!({"labels": {"env": "prod"}, "plan": "pro"}))
        .refused(403, "forbidden")
        .await;
}

#[tokio::test]
async fn a_deleted_key_opens_nothing() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let whoami = rig
        .call(Method::GET, "/v1/whoami")
        .by(&tenant.viewer)
        .expect(200)
        .await;
    assert_eq!(whoami.field("/tenant/slug"), "acme");
    assert_eq!(whoami.field("/role"), "tenant-viewer");
    let path = format!("/v1/tenants/acme/api-keys/{}", whoami.field("/api_key"));
    rig.delete(&path).expect(204).await;
    rig.call(Method::GET, "/v1/whoami")
        .by(&tenant.viewer)
        .refused(401, "unauthenticated")
        .await;
    rig.delete(&path).refused(404, "not_found").await;
}

#[tokio::test]
async fn roles_belong_to_their_owners_paths() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    for (path, role) in [
        ("/v1/tenants/acme/api-keys", "platform-admin"),
        ("/v1/platform/api-keys", "tenant-admin"),
    ] {
        let body = json!({"name": "x", "role": role});
        let refused = rig
            .post(path, &body)
            .refused(422, "validation_failed")
            .await;
        assert_eq!(refused.field("/errors/0/pointer"), "/role");
    }
}

async fn belongings(rig: &Rig, tenant: &Tenant) -> Belongings {
    let base = format!("/v1/tenants/{}", tenant.slug);
    let credential = rig
        .post(
            &format!("{base}/credentials"),
            &json!({"username": "sensor-of-victim"}),
        )
        .expect(201)
        .await;
    let keys = rig.get(&format!("{base}/api-keys")).expect(200).await;
    Belongings {
        credential: credential.field("/id"),
        api_key: keys.field("/data/0/id"),
    }
}

/// All that REST shows of a tenant.
async fn state_of(rig: &Rig, tenant: &Tenant) -> Vec<Value> {
    let base = format!("/v1/tenants/{}", tenant.slug);
    let mut state = Vec::new();
    for path in ["", "/credentials", "/api-keys", "/quotas"] {
        state.push(rig.get(&format!("{base}{path}")).expect(200).await.json());
    }
    state
}

/// A call of an operation that would pass for a platform administrator.
fn call(
    rig: &Rig,
    operation: &Operation,
    tenant: &str,
    belongings: &Belongings,
    key: Option<&str>,
) -> Call {
    let path = operation
        .path
        .replace("{tenant}", tenant)
        .replace("{credential}", &belongings.credential)
        .replace("{api_key}", &belongings.api_key)
        .replace("{organization}", "acme-corp")
        .replace("{plan}", "free")
        .replace("{code}", "not_found");
    let method: Method = operation.method.parse().unwrap();
    let mut call = rig.call(method, &path).header("if-match", "*");
    if operation.has_body() {
        call = call.json(&body_for(&operation.id));
    }
    match key {
        Some(key) => call.by(key),
        None => call,
    }
}

/// A body that the operation takes. A new operation with a body needs a row here.
fn body_for(operation: &str) -> Value {
    match operation {
        "create_organization" => json!({"slug": "acme-corp"}),
        "create_tenant" => json!({"slug": "newcomer", "plan": "free"}),
        "ensure_tenant" => json!({"plan": "free"}),
        "patch_tenant" => json!({"labels": {"owned": "yes"}}),
        "create_credential" => json!({"username": "intruder"}),
        "create_api_key" => json!({"name": "intruder", "role": "tenant-admin"}),
        "create_platform_api_key" => json!({"name": "intruder", "role": "platform-admin"}),
        "put_quotas" | "patch_quotas" => json!({"quotas": {"connections": {"limit": 1}}}),
        other => panic!("no body for {other}: add one"),
    }
}
