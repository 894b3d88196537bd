//! The whole configuration at one revision, read in pages from one database snapshot.

use std::collections::{BTreeMap, HashMap};

use tessera_domain::{Override, Overrides};
use tessera_tenancy::{
    Change, ChangeBody, LimitValues, PlanSlug, Revision, TenantId, TenantRecord,
};
use time::OffsetDateTime;

use crate::convert::{id_bytes, parsed, unsigned};
use crate::credentials::{CredentialRow, Row};
use crate::error::StoreError;
use crate::store::{Store, Tx, View};
use crate::tenants::{settings_of, status_of};

/// Reads the configuration as it was when it began.
#[derive(Debug)]
pub struct SnapshotReader {
    tx: Tx,
    revision: Revision,
    plans: HashMap<PlanSlug, LimitValues>,
    stage: Stage,
}

/// ```text
/// Tenants ──> Credentials ──> Done
/// ```
#[derive(Debug)]
enum Stage {
    Tenants { after: Vec<u8> },
    Credentials { after: (Vec<u8>, Vec<u8>) },
    Done,
}

struct CredentialOfTenant {
    tenant_id: Vec<u8>,
    credential_id: Vec<u8>,
    username: String,
    policy: String,
    key_ids: Vec<String>,
    digests: Vec<Vec<u8>>,
    secrets_created_at: Vec<OffsetDateTime>,
    revision: i64,
    config_revision: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Store {
    /// Begins to read the configuration as it is now.
    pub async fn snapshot(&self) -> Result<SnapshotReader, StoreError> {
        let sql = self
            .pool
            .begin_with("begin isolation level repeatable read read only")
            .await?;
        let mut tx = Tx { sql };
        tx.look(View::Platform).await?;
        let head = tx.config_head().await?;
        let plans = tx.plans().await?;
        Ok(SnapshotReader {
            tx,
            revision: head.revision,
            plans: plans
                .into_iter()
                .map(|plan| (plan.slug, plan.limits))
                .collect(),
            stage: Stage::Tenants { after: Vec::new() },
        })
    }
}

impl SnapshotReader {
    /// The revision of all that is read.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// At most `limit` more entries; none at the end.
    pub async fn next_page(&mut self, limit: u32) -> Result<Vec<Change>, StoreError> {
        loop {
            let page = match &self.stage {
                Stage::Tenants { after } => {
                    let after = after.clone();
                    self.tenants(&after, limit).await?
                }
                Stage::Credentials { after } => {
                    let (tenant, credential) = after.clone();
                    self.credentials(&tenant, &credential, limit).await?
                }
                Stage::Done => return Ok(Vec::new()),
            };
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }

    async fn tenants(&mut self, after: &[u8], limit: u32) -> Result<Vec<Change>, StoreError> {
        let rows = sqlx::query!(
            r#"select tenant_id, slug, status, plan, shared_subscription_strategy, queue_overflow
            from tenants where tenant_id > $1 order by tenant_id limit $2"#,
            after,
            i64::from(limit)
        )
        .fetch_all(&mut *self.tx.sql)
        .await?;
        self.stage = match rows.last() {
            Some(row) => Stage::Tenants {
                after: row.tenant_id.clone(),
            },
            None => Stage::Credentials {
                after: (Vec::new(), Vec::new()),
            },
        };
        let ids: Vec<Vec<u8>> = rows.iter().map(|row| row.tenant_id.clone()).collect();
        let mut overrides = self.overrides_of(&ids).await?;
        rows.into_iter()
            .map(|row| {
                let plan: PlanSlug = parsed(&row.plan, "plan")?;
                let granted = self
                    .plans
                    .get(&plan)
                    .copied()
                    .unwrap_or(LimitValues::CLOSED);
                let overrides = overrides.remove(&row.tenant_id).unwrap_or_default();
                let record = TenantRecord {
                    slug: parsed(&row.slug, "slug")?,
                    status: status_of(&row.status)?,
                    plan,
                    limits: overrides.effective(granted),
                    settings: settings_of(&row.shared_subscription_strategy, &row.queue_overflow)?,
                };
                self.change(&row.tenant_id, ChangeBody::Tenant(record))
            })
            .collect()
    }

    async fn overrides_of(
        &mut self,
        tenants: &[Vec<u8>],
    ) -> Result<BTreeMap<Vec<u8>, Overrides>, StoreError> {
        let rows = sqlx::query!(
            "select tenant_id, name, value from quota_overrides where tenant_id = any($1)",
            tenants
        )
        .fetch_all(&mut *self.tx.sql)
        .await?;
        let mut all: BTreeMap<Vec<u8>, Overrides> = BTreeMap::new();
        for row in rows {
            if let Ok(code) = row.name.parse() {
                let limit = row.value.map(unsigned).transpose()?;
                all.entry(row.tenant_id).or_default().set(
                    code,
                    Override {
                        limit,
                        reason: None,
                    },
                );
            }
        }
        Ok(all)
    }

    async fn credentials(
        &mut self,
        tenant: &[u8],
        credential: &[u8],
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let rows = sqlx::query_as!(
            CredentialOfTenant,
            r#"select tenant_id, credential_id, username, policy,
                array(select key_id from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "key_ids!",
                array(select digest from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "digests!",
                array(select created_at from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "secrets_created_at!",
                revision, config_revision, created_at, updated_at
            from credentials c where (tenant_id, credential_id) > ($1, $2)
            order by tenant_id, credential_id limit $3"#,
            tenant,
            credential,
            i64::from(limit)
        )
        .fetch_all(&mut *self.tx.sql)
        .await?;
        self.stage = match rows.last() {
            Some(row) => Stage::Credentials {
                after: (row.tenant_id.clone(), row.credential_id.clone()),
            },
            None => Stage::Done,
        };
        rows.into_iter()
            .map(|row| {
                let (tenant, row) = row.split();
                let row = CredentialRow::try_from(row)?;
                let body = ChangeBody::Credential {
                    id: row.id,
                    record: row.record()?,
                };
                self.change(&tenant, body)
            })
            .collect()
    }

    fn change(&self, tenant: &[u8], body: ChangeBody) -> Result<Change, StoreError> {
        let tenant = TenantId::from_bytes(id_bytes(tenant)?);
        Ok(Change {
            revision: self.revision,
            tenant,
            body,
        })
    }
}

impl CredentialOfTenant {
    fn split(self) -> (Vec<u8>, Row) {
        let row = Row {
            credential_id: self.credential_id,
            username: self.username,
            policy: self.policy,
            key_ids: self.key_ids,
            digests: self.digests,
            secrets_created_at: self.secrets_created_at,
            revision: self.revision,
            config_revision: self.config_revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        (self.tenant_id, row)
    }
}
