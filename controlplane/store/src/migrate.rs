//! Brings a database up to date, as its owner, before the restricted role opens it.

use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::error::StoreError;
use crate::store::connect_options;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// Why a database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A newer version of the product, or another product, has written to it; or a migration failed.
    #[error("the database cannot be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// Applies the migrations that are missing, and begins a new timeline if the database was restored
/// or moved since it was last opened.
///
/// `url` names the owner of the database: a role that may create tables and roles, or create tables
/// where the role `tessera_app` exists and is granted to it.
pub async fn migrate(url: &str) -> Result<(), MigrateError> {
    let mut owner = connect_options(url)?
        .connect()
        .await
        .map_err(StoreError::from)?;
    // Other control planes that start at the same time wait for an advisory lock inside.
    MIGRATIONS.run(&mut owner).await?;
    settle_timeline(&mut owner).await?;
    owner.close().await.map_err(StoreError::from)?;
    Ok(())
}

/// A restored copy goes on counting from an older revision, so it must not pass for the same
/// history. Where the database lives says whether it is a copy: the cluster's identity, the
/// database in it, and how often the cluster was recovered to another history.
async fn settle_timeline(owner: &mut PgConnection) -> Result<(), StoreError> {
    let lineage = sqlx::query_scalar!(
        r#"select concat_ws('/', s.system_identifier, d.oid, c.timeline_id) as "lineage!"
        from pg_control_system() s, pg_control_checkpoint() c, pg_database d
        where d.datname = current_database()"#
    )
    .fetch_one(&mut *owner)
    .await?;
    let renewed = sqlx::query!(
        r#"update config_head set timeline = uuid_send(gen_random_uuid()), lineage = $1
        where lineage <> $1"#,
        lineage
    )
    .execute(&mut *owner)
    .await?;
    if renewed.rows_affected() > 0 {
        tracing::warn!(
            lineage,
            "the database was restored or moved: a new timeline begins"
        );
    }
    sqlx::query!(
        "update config_head set lineage = $1 where lineage is null",
        lineage
    )
    .execute(owner)
    .await?;
    Ok(())
}
