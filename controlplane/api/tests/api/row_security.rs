//! Row security: the second wall, proven without the first.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

use crate::postgres::Database;
use crate::rig::Rig;

/// Tables without row security: what everybody may read, and the migrations' own.
const OPEN: [&str; 4] = ["_sqlx_migrations", "config_head", "plan_limits", "plans"];

#[tokio::test]
async fn every_table_has_forced_row_security_with_a_policy() {
    let rig = Rig::start().await;
    let mut owner = rig.database.owner().await;
    let tables: Vec<(String, bool, i64)> = sqlx::query_as(
        "select c.relname::text, c.relrowsecurity and c.relforcerowsecurity,
            (select count(*) from pg_policy p where p.polrelid = c.oid)
        from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
        order by 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let open: Vec<_> = tables
        .iter()
        .filter(|table| !table.1)
        .map(|table| table.0.as_str())
        .collect();
    assert_eq!(open, OPEN);
    assert!(
        tables
            .iter()
            .all(|(_, forced, policies)| !forced || *policies > 0)
    );
    let with_tenant: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.columns
        where column_name = 'tenant_id' and table_schema = 'public'",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(with_tenant.len() >= 7);
    for table in with_tenant {
        assert!(!open.contains(&table.as_str()), "{table}");
    }
}

#[tokio::test]
async fn who_says_nothing_sees_nothing() {
    let rig = filled().await;
    let mut owner = rig.database.owner().await;
    let mut app = restricted(&rig).await;
    for table in secured(&mut owner).await {
        let (all, seen) = (
            count(&mut owner, &table).await,
            count(&mut app, &table).await,
        );
        assert!(all > 0, "{table} is empty: the test proves nothing");
        assert_eq!(seen, 0, "{table}");
    }
}

#[tokio::test]
async fn a_tenants_transaction_sees_its_rows_and_writes_no_others() {
    let rig = filled().await;
    let mut owner = rig.database.owner().await;
    let mut app = restricted(&rig).await;
    let acme: Vec<u8> = sqlx::query_scalar("select tenant_id from tenants where slug = 'acme'")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    say(
        &mut app,
        "tessera.tenant",
        &tessera_tenancy::encode_hex(&acme),
    )
    .await;
    for table in [
        "tenants",
        "policies",
        "quota_overrides",
        "credentials",
        "credential_secrets",
        "api_keys",
        "config_changes",
        "idempotent_answers",
    ] {
        let seen: Vec<Option<Vec<u8>>> =
            sqlx::query_scalar(AssertSqlSafe(format!("select tenant_id from {table}")))
                .fetch_all(&mut app)
                .await
                .unwrap();
        assert!(!seen.is_empty(), "{table}");
        assert!(
            seen.iter().all(|tenant| tenant.as_ref() == Some(&acme)),
            "{table}"
        );
    }
    for table in ["organizations", "nodes"] {
        assert_eq!(count(&mut app, table).await, 0, "{table}");
    }
    let changed = sqlx::query("update tenants set plan = 'dev'")
        .execute(&mut app)
        .await
        .unwrap();
    assert_eq!(changed.rows_affected(), 1);
    let foreign = sqlx::query(
        "insert into quota_overrides (tenant_id, name) values (decode(repeat('00', 16), 'hex'), 'x')",
    )
    .execute(&mut app)
    .await;
    assert!(
        foreign
            .unwrap_err()
            .to_string()
            .contains("row-level security")
    );
}

#[tokio::test]
async fn the_role_cannot_lift_its_restriction() {
    let rig = filled().await;
    let mut app = restricted(&rig).await;
    for attempt in [
        "alter table tenants disable row level security",
        "alter table tenants no force row level security",
        "drop policy by_tenant on tenants",
        "create policy open on tenants using (true)",
        "drop table tenants",
        "delete from config_head",
        "update config_head set timeline = timeline",
        "update plans set slug = slug",
        "truncate tenants",
    ] {
        let refused = sqlx::query(attempt).execute(&mut app).await;
        assert!(refused.is_err(), "{attempt}");
    }
    let role: (bool, bool) =
        sqlx::query_as("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
            .fetch_one(&mut app)
            .await
            .unwrap();
    assert_eq!(role, (false, false));
}

#[tokio::test]
async fn an_ordinary_owner_of_the_database_suffices() {
    // The role exists in the cluster once any database of it was migrated.
    drop(Rig::start().await);
    let database = Database::create().await;
    let url = database.give_to_ordinary_owner().await;
    let rig = Rig::start_at(database, url).await;
    let tenant = rig.tenant("acme").await;
    let body = serde_json::json!({"username": "sensor"});
    let path = "/v1/tenants/acme/credentials";
    rig.post(path, &body)
        .header("idempotency-key", "a")
        .expect(201)
        .await;
    // What hangs on a tenant goes with it, though forced row security binds the tables' owner, too.
    let delete = rig
        .call(reqwest::Method::DELETE, "/v1/tenants/acme")
        .by(&rig.admin);
    delete.expect(204).await;
    rig.call(reqwest::Method::GET, "/v1/whoami")
        .by(&tenant.admin)
        .refused(401, "unauthenticated")
        .await;
    let mut owner = rig.database.owner().await;
    for table in [
        "tenants",
        "credentials",
        "credential_secrets",
        "policies",
        "idempotent_answers",
    ] {
        assert_eq!(count(&mut owner, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_key_id_shows_one_key() {
    let rig = filled().await;
    let mut app = restricted(&rig).await;
    say(&mut app, "tessera.key_id", &rig.admin[4..12]).await;
    assert_eq!(count(&mut app, "api_keys").await, 1);
    assert_eq!(count(&mut app, "tenants").await, 0);
    let deleted = sqlx::query("delete from api_keys")
        .execute(&mut app)
        .await
        .unwrap();
    assert_eq!(deleted.rows_affected(), 0, "it may be read only");
}

/// Two tenants with a row in every table.
async fn filled() -> Rig {
    let rig = Rig::start().await;
    rig.post("/v1/organizations", &serde_json::json!({"slug": "corp"}))
        .expect(201)
        .await;
    for slug in ["acme", "other"] {
        rig.tenant(slug).await;
        let body = serde_json::json!({"username": "sensor"});
        let path = format!("/v1/tenants/{slug}/credentials");
        rig.post(&path, &body)
            .header("idempotency-key", slug)
            .expect(201)
            .await;
        let quotas = serde_json::json!({"quotas": {"connections": {"limit": 3}}});
        let path = format!("/v1/platform/tenants/{slug}/quotas");
        rig.put(&path, &quotas)
            .header("if-match", "*")
            .expect(200)
            .await;
    }
    let mut owner = rig.database.owner().await;
    sqlx::query("insert into nodes (node_id, incarnation) values ('1', 1)")
        .execute(&mut owner)
        .await
        .unwrap();
    rig
}

/// As requests connect, without saying what to see.
async fn restricted(rig: &Rig) -> PgConnection {
    let options = PgConnectOptions::from_str(&rig.database.url()).unwrap();
    options
        .options([("role", "tessera_app")])
        .connect()
        .await
        .unwrap()
}

async fn say(app: &mut PgConnection, setting: &str, value: &str) {
    sqlx::query("select set_config($1, $2, false)")
        .bind(setting)
        .bind(value)
        .execute(app)
        .await
        .unwrap();
}

async fn secured(owner: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class where relrowsecurity and relnamespace = 'public'::regnamespace",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")))
        .fetch_one(connection)
        .await
        .unwrap()
}
