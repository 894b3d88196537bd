//! Tenants, and telling the nodes of them.

use std::collections::BTreeMap;

use tessera_tenancy::{
    ChangeBody, OrganizationId, PlanSlug, Revision, SettingCode, TenantId, TenantRecord,
    TenantSettings, TenantSlug, TenantStatus,
};
use time::OffsetDateTime;

use crate::convert::{from_json, id_bytes, parsed, revision, signed, to_json, unsigned};
use crate::error::StoreError;
use crate::store::Tx;

/// The policy that every tenant starts with, and that its credentials have.
pub(crate) const ALLOW_ALL: &str = "allow-all";

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// Its slug.
    pub slug: TenantSlug,
    /// What it may do now.
    pub status: TenantStatus,
    /// Its plan.
    pub plan: PlanSlug,
    /// Who owns it.
    pub organization: Option<OrganizationId>,
    /// The caller's own marks.
    pub labels: BTreeMap<String, String>,
    /// How it behaves.
    pub settings: TenantSettings,
    /// Its own number.
    pub revision: u64,
    /// The pushed change that made it so.
    pub config_revision: Revision,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// A new tenant.
#[derive(Debug, Clone)]
pub struct TenantNew {
    /// Random.
    pub id: TenantId,
    /// Its slug.
    pub slug: TenantSlug,
    /// Its plan.
    pub plan: PlanSlug,
    /// Who owns it; exists.
    pub organization: Option<OrganizationId>,
    /// The caller's own marks.
    pub labels: BTreeMap<String, String>,
}

/// How a caller names a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRef {
    /// By id.
    Id(TenantId),
    /// By slug.
    Slug(TenantSlug),
}

/// What becomes of a tenant.
#[derive(Debug, Clone)]
pub struct TenantUpdate {
    /// What it may do.
    pub status: TenantStatus,
    /// Its plan; exists.
    pub plan: PlanSlug,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// All its settings.
    pub settings: TenantSettings,
}

/// Why a tenant was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTenantError {
    /// Another has the slug.
    #[error("the slug is taken")]
    SlugTaken,
    /// No result.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Row {
    tenant_id: Vec<u8>,
    slug: String,
    status: String,
    plan: String,
    organization_id: Option<Vec<u8>>,
    labels: serde_json::Value,
    shared_subscription_strategy: String,
    queue_overflow: String,
    revision: i64,
    config_revision: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Tx {
    /// The tenant that `reference` names, among those that this transaction may see.
    pub async fn tenant(&mut self, reference: &TenantRef) -> Result<Option<TenantRow>, StoreError> {
        let (id, slug) = match reference {
            TenantRef::Id(id) => (Some(id.as_bytes().as_slice()), None),
            TenantRef::Slug(slug) => (None, Some(slug.as_str())),
        };
        let row = sqlx::query_as!(
            Row,
            r#"select tenant_id, slug, status, plan, organization_id, labels,
                shared_subscription_strategy, queue_overflow, revision, config_revision,
                created_at, updated_at
            from tenants where tenant_id = $1 or slug = $2"#,
            id,
            slug
        )
        .fetch_optional(&mut *self.sql)
        .await?;
        row.map(TenantRow::try_from).transpose()
    }

    /// The tenant, held until the transaction ends.
    pub async fn lock_tenant(&mut self, id: TenantId) -> Result<Option<TenantRow>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"select tenant_id, slug, status, plan, organization_id, labels,
                shared_subscription_strategy, queue_overflow, revision, config_revision,
                created_at, updated_at
            from tenants where tenant_id = $1 for update"#,
            id.as_bytes()
        )
        .fetch_optional(&mut *self.sql)
        .await?;
        row.map(TenantRow::try_from).transpose()
    }

    /// At most `limit` tenants whose slug comes after `after`, by slug; with one status if asked.
    pub async fn tenants(
        &mut self,
        after: &str,
        limit: u32,
        status: Option<TenantStatus>,
    ) -> Result<Vec<TenantRow>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select tenant_id, slug, status, plan, organization_id, labels,
                shared_subscription_strategy, queue_overflow, revision, config_revision,
                created_at, updated_at
            from tenants where slug > $1 and ($3::text is null or status = $3)
            order by slug limit $2"#,
            after,
            i64::from(limit),
            status.map(status_text)
        )
        .fetch_all(&mut *self.sql)
        .await?;
        rows.into_iter().map(TenantRow::try_from).collect()
    }

    /// Creates a tenant with its policy, and tells the nodes. Its plan exists.
    pub async fn create_tenant(&mut self, new: &TenantNew) -> Result<TenantRow, CreateTenantError> {
        let inserted = sqlx::query!(
            r#"insert into tenants (tenant_id, slug, plan, organization_id, labels)
            values ($1, $2, $3, $4, $5) on conflict (slug) do nothing"#,
            new.id.as_bytes(),
            new.slug.as_str(),
            new.plan.as_str(),
            new.organization.as_ref().map(|id| id.as_bytes().as_slice()),
            to_json(&new.labels)?
        )
        .execute(&mut *self.sql)
        .await
        .map_err(StoreError::from)?;
        if inserted.rows_affected() == 0 {
            return Err(CreateTenantError::SlugTaken);
        }
        self.create_policy(new.id).await?;
        self.quotas_changed(new.id).await?;
        Ok(self.known_tenant(new.id).await?)
    }

    /// Changes a tenant that this transaction has locked; tells the nodes if they would notice.
    pub async fn update_tenant(
        &mut self,
        old: &TenantRow,
        update: &TenantUpdate,
    ) -> Result<TenantRow, StoreError> {
        sqlx::query!(
            r#"update tenants set status = $2, plan = $3, labels = $4,
                shared_subscription_strategy = $5, queue_overflow = $6,
                revision = revision + 1, updated_at = now() where tenant_id = $1"#,
            old.id.as_bytes(),
            status_text(update.status),
            update.plan.as_str(),
            to_json(&update.labels)?,
            update.settings.shared_subscription_strategy.as_str(),
            update.settings.queue_overflow.as_str()
        )
        .execute(&mut *self.sql)
        .await?;
        if old.plan != update.plan {
            self.quotas_changed(old.id).await?;
        } else if (old.status, old.settings) != (update.status, update.settings) {
            self.announce_tenant(old.id).await?;
        }
        self.known_tenant(old.id).await
    }

    /// Deletes a tenant with all that is its, and tells the nodes.
    pub async fn delete_tenant(&mut self, id: TenantId) -> Result<Revision, StoreError> {
        sqlx::query!("delete from tenants where tenant_id = $1", id.as_bytes())
            .execute(&mut *self.sql)
            .await?;
        self.record(id, &ChangeBody::TenantRemoved).await
    }

    /// Tells the nodes what the tenant is now.
    pub(crate) async fn announce_tenant(&mut self, id: TenantId) -> Result<Revision, StoreError> {
        let tenant = self.known_tenant(id).await?;
        let limits = self.quotas(&tenant).await?.effective();
        let record = TenantRecord {
            slug: tenant.slug,
            status: tenant.status,
            plan: tenant.plan,
            limits,
            settings: tenant.settings,
        };
        let number = self.record(id, &ChangeBody::Tenant(record)).await?;
        sqlx::query!(
            "update tenants set config_revision = $2 where tenant_id = $1",
            id.as_bytes(),
            signed(number.0)?
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(number)
    }

    async fn create_policy(&mut self, tenant: TenantId) -> Result<(), StoreError> {
        let statements = serde_json::json!([{
            "effect": "allow",
            "actions": ["connect", "publish", "publish_retained", "subscribe", "subscribe_shared", "will"],
            "topics": ["#"],
        }]);
        sqlx::query!(
            "insert into policies (tenant_id, slug, statements) values ($1, $2, $3)",
            tenant.as_bytes(),
            ALLOW_ALL,
            statements
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(())
    }

    async fn known_tenant(&mut self, id: TenantId) -> Result<TenantRow, StoreError> {
        let tenant = self.tenant(&TenantRef::Id(id)).await?;
        tenant.ok_or(StoreError::Corrupt("tenant that this transaction wrote"))
    }
}

pub(crate) fn settings_of(
    shared_subscription_strategy: &str,
    queue_overflow: &str,
) -> Result<TenantSettings, StoreError> {
    let mut settings = TenantSettings::default();
    for (code, value) in [
        (
            SettingCode::SharedSubscriptionStrategy,
            shared_subscription_strategy,
        ),
        (SettingCode::QueueOverflow, queue_overflow),
    ] {
        settings
            .set(code, Some(value))
            .map_err(|_unknown| StoreError::Corrupt(code.name()))?;
    }
    Ok(settings)
}

pub(crate) fn status_of(text: &str) -> Result<TenantStatus, StoreError> {
    match text {
        "active" => Ok(TenantStatus::Active),
        "suspended" => Ok(TenantStatus::Suspended),
        _ => Err(StoreError::Corrupt("status")),
    }
}

const fn status_text(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
    }
}

impl TryFrom<Row> for TenantRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let organization = row.organization_id.map(|id| id_bytes(&id)).transpose()?;
        Ok(Self {
            id: TenantId::from_bytes(id_bytes(&row.tenant_id)?),
            slug: parsed(&row.slug, "slug")?,
            status: status_of(&row.status)?,
            plan: parsed(&row.plan, "plan")?,
            organization: organization.map(OrganizationId::from_bytes),
            labels: from_json(row.labels, "labels")?,
            settings: settings_of(&row.shared_subscription_strategy, &row.queue_overflow)?,
            revision: unsigned(row.revision)?,
            config_revision: revision(row.config_revision)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
