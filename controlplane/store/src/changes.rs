//! The revision counter and the outbox of changes that nodes are told.

use tessera_tenancy::{Change, ChangeBody, Revision, TenantId, TimelineId};

use crate::convert::{from_json, id_bytes, revision, signed, timeline, to_json};
use crate::error::StoreError;
use crate::store::{Store, Tx, View};

/// Changes that are kept. A node that is further behind gets a snapshot.
pub const CHANGES_KEPT: u64 = 100_000;
/// Rows that one step of pruning deletes at most.
const PRUNE_ROWS_MAX: i64 = 5_000;

/// Where the configuration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigHeadRow {
    /// The history that the revisions belong to.
    pub timeline: TimelineId,
    /// The newest committed revision.
    pub revision: Revision,
    /// The oldest change that is kept.
    pub oldest_change: Option<Revision>,
}

impl Tx {
    /// Takes the next revision for a change and leaves it for the nodes. Comes after every other
    /// lock of the transaction: whoever changes anything waits here for the one before to commit.
    pub(crate) async fn record(
        &mut self,
        tenant: TenantId,
        body: &ChangeBody,
    ) -> Result<Revision, StoreError> {
        let number = sqlx::query_scalar!(
            r#"with head as (update config_head set revision = revision + 1 returning revision)
            insert into config_changes (revision, tenant_id, body)
            select revision, $1, $2 from head returning revision"#,
            tenant.as_bytes(),
            to_json(body)?
        )
        .fetch_one(&mut *self.sql)
        .await?;
        revision(number)
    }

    /// The newest committed revision.
    pub async fn config_revision(&mut self) -> Result<Revision, StoreError> {
        let number = sqlx::query_scalar!("select revision from config_head")
            .fetch_one(&mut *self.sql)
            .await?;
        revision(number)
    }

    /// Where the configuration stands. Sees the oldest change only on the platform's paths.
    pub async fn config_head(&mut self) -> Result<ConfigHeadRow, StoreError> {
        let row = sqlx::query!(
            r#"select timeline, revision, (select min(revision) from config_changes) as oldest
            from config_head"#
        )
        .fetch_one(&mut *self.sql)
        .await?;
        Ok(ConfigHeadRow {
            timeline: timeline(&row.timeline)?,
            revision: revision(row.revision)?,
            oldest_change: row.oldest.map(revision).transpose()?,
        })
    }
}

impl Store {
    /// Where the configuration stands.
    pub async fn config_head(&self) -> Result<ConfigHeadRow, StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let head = tx.config_head().await?;
        tx.commit().await?;
        Ok(head)
    }

    /// At most `limit` changes after a revision, in ascending order.
    pub async fn changes_after(
        &self,
        after: Revision,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let rows = sqlx::query!(
            "select revision, tenant_id, body from config_changes where revision > $1 order by revision limit $2",
            signed(after.0)?,
            i64::from(limit)
        )
        .fetch_all(&mut *tx.sql)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|row| {
                Ok(Change {
                    revision: revision(row.revision)?,
                    tenant: TenantId::from_bytes(id_bytes(&row.tenant_id)?),
                    body: from_json(row.body, "pushed change")?,
                })
            })
            .collect()
    }

    /// Forgets changes beyond [`CHANGES_KEPT`], a bounded step; returns how many.
    pub async fn prune_changes(&self) -> Result<u64, StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let pruned = sqlx::query!(
            r#"delete from config_changes where revision in (
                select revision from config_changes
                where revision <= (select revision from config_head) - $1
                order by revision limit $2)"#,
            signed(CHANGES_KEPT)?,
            PRUNE_ROWS_MAX
        )
        .execute(&mut *tx.sql)
        .await?;
        tx.commit().await?;
        Ok(pruned.rows_affected())
    }
}
