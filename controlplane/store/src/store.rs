//! The pool and its transactions.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres, Transaction};
use tessera_tenancy::{KeyId, TenantId, encode_hex};

use crate::error::StoreError;

/// The role that the product runs as.
pub(crate) const ROLE: &str = "tessera_app";
/// How long a statement may run in the database.
const STATEMENT_TIMEOUT_MS: u32 = 1_500;
/// How long a statement may wait for a row that another transaction holds.
const LOCK_TIMEOUT_MS: u32 = 1_000;
/// How long a transaction may wait for us. Snapshots wait for slow nodes.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `postgres://user@host/database`. Its user may take the role `tessera_app`.
    pub url: String,
    /// Connections at most.
    pub connections_max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
}

/// The database, as the restricted role. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: PgPool,
}

/// What a transaction may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The rows of one tenant.
    Tenant(TenantId),
    /// Every row: the paths that serve the whole installation.
    Platform,
    /// The one API key with this key id: to find out who is calling.
    Key(KeyId),
}

/// One transaction. Dropping it rolls it back.
#[derive(Debug)]
pub struct Tx {
    pub(crate) sql: Transaction<'static, Postgres>,
}

impl Store {
    /// Opens the pool and makes sure that row security binds its role. Connects once.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let restricted = connect_options(&options.url)?.options([
            ("role", ROLE.to_owned()),
            ("statement_timeout", STATEMENT_TIMEOUT_MS.to_string()),
            ("lock_timeout", LOCK_TIMEOUT_MS.to_string()),
            (
                "idle_in_transaction_session_timeout",
                IDLE_TIMEOUT_MS.to_string(),
            ),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout)
            .connect_with(restricted)
            .await?;
        let unbound = sqlx::query_scalar!(
            r#"select (rolsuper or rolbypassrls) as "unbound!" from pg_roles where rolname = current_user"#
        )
        .fetch_one(&pool)
        .await?;
        if unbound {
            return Err(StoreError::Corrupt(
                "the role, it could bypass row security",
            ));
        }
        Ok(Self { pool })
    }

    /// Begins a transaction that sees what `view` says.
    pub async fn begin(&self, view: View) -> Result<Tx, StoreError> {
        let mut tx = Tx {
            sql: self.pool.begin().await?,
        };
        tx.look(view).await?;
        Ok(tx)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("select 1 as one")
            .fetch_one(&self.pool)
            .await?;
        Ok(())
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Tx {
    /// From here on sees what `view` says, and nothing that it saw before.
    pub async fn look(&mut self, view: View) -> Result<(), StoreError> {
        let (tenant, platform, key_id) = match view {
            View::Tenant(id) => (encode_hex(id.as_bytes()), "", String::new()),
            View::Platform => (String::new(), "on", String::new()),
            View::Key(id) => (String::new(), "", id.to_string()),
        };
        sqlx::query!(
            r#"select set_config('tessera.tenant', $1, true) as "a", set_config('tessera.platform', $2, true) as "b", set_config('tessera.key_id', $3, true) as "c""#,
            tenant,
            platform,
            key_id
        )
        .fetch_one(&mut *self.sql)
        .await?;
        Ok(())
    }

    /// Makes all of it so.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.sql.commit().await?)
    }

    /// Undoes all of it, and says when that is done.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.sql.rollback().await?)
    }
}

pub(crate) fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(PgConnectOptions::from_str(url)?.application_name("tessera-control"))
}
