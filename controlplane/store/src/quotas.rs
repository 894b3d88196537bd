//! Quota overrides.

use tessera_domain::{Override, Overrides};
use tessera_tenancy::{LimitValues, PlanSlug, Revision, TenantId};

use crate::convert::{revision, signed, unsigned};
use crate::error::StoreError;
use crate::store::Tx;
use crate::tenants::TenantRow;

/// The quotas of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRows {
    /// The tenant's plan.
    pub plan: PlanSlug,
    /// What the plan grants.
    pub granted: LimitValues,
    /// What overrides it.
    pub overrides: Overrides,
    /// Their own number.
    pub revision: u64,
    /// The pushed change that made them so.
    pub config_revision: Revision,
}

impl QuotaRows {
    /// What nodes enforce.
    pub fn effective(&self) -> LimitValues {
        self.overrides.effective(self.granted)
    }
}

impl Tx {
    /// The quotas of a tenant. To change them, lock the tenant first.
    pub async fn quotas(&mut self, tenant: &TenantRow) -> Result<QuotaRows, StoreError> {
        let plan = self
            .plan(&tenant.plan)
            .await?
            .ok_or(StoreError::Corrupt("plan"))?;
        let numbers = sqlx::query!(
            "select quotas_revision, quotas_config_revision from tenants where tenant_id = $1",
            tenant.id.as_bytes()
        )
        .fetch_one(&mut *self.sql)
        .await?;
        Ok(QuotaRows {
            plan: plan.slug,
            granted: plan.limits,
            overrides: self.overrides(tenant.id).await?,
            revision: unsigned(numbers.quotas_revision)?,
            config_revision: revision(numbers.quotas_config_revision)?,
        })
    }

    /// Makes these all the overrides of a tenant that this transaction has locked, and tells the
    /// nodes.
    pub async fn set_overrides(
        &mut self,
        tenant: &TenantRow,
        overrides: &Overrides,
    ) -> Result<QuotaRows, StoreError> {
        sqlx::query!(
            "delete from quota_overrides where tenant_id = $1",
            tenant.id.as_bytes()
        )
        .execute(&mut *self.sql)
        .await?;
        for (code, to) in overrides.iter() {
            sqlx::query!(
                "insert into quota_overrides (tenant_id, name, value, reason) values ($1, $2, $3, $4)",
                tenant.id.as_bytes(),
                code.name(),
                to.limit.map(signed).transpose()?,
                to.reason
            )
            .execute(&mut *self.sql)
            .await?;
        }
        self.quotas_changed(tenant.id).await?;
        self.quotas(tenant).await
    }

    /// Moves the number of a tenant's quotas and tells the nodes the tenant as it is now.
    pub(crate) async fn quotas_changed(&mut self, id: TenantId) -> Result<(), StoreError> {
        let number = self.announce_tenant(id).await?;
        sqlx::query!(
            r#"update tenants set quotas_revision = quotas_revision + 1,
                quotas_config_revision = $2 where tenant_id = $1"#,
            id.as_bytes(),
            signed(number.0)?
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(())
    }

    async fn overrides(&mut self, tenant: TenantId) -> Result<Overrides, StoreError> {
        let rows = sqlx::query!(
            "select name, value, reason from quota_overrides where tenant_id = $1",
            tenant.as_bytes()
        )
        .fetch_all(&mut *self.sql)
        .await?;
        let mut overrides = Overrides::default();
        for row in rows {
            // A limit of a newer version is not ours to enforce.
            if let Ok(code) = row.name.parse() {
                let limit = row.value.map(unsigned).transpose()?;
                overrides.set(
                    code,
                    Override {
                        limit,
                        reason: row.reason,
                    },
                );
            }
        }
        Ok(overrides)
    }
}
