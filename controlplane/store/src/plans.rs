//! Plans and what they grant.

use std::collections::BTreeMap;

use tessera_domain::{PLANS, SeedPlan};
use tessera_tenancy::{LIMITS, LimitValues, PlanSlug, TenantId};

use crate::convert::{id_bytes, parsed, signed, unsigned};
use crate::error::StoreError;
use crate::store::{Store, Tx, View};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// Its name.
    pub slug: PlanSlug,
    /// What it grants. A limit without a row is 0: it fails closed.
    pub limits: LimitValues,
}

struct LimitOfPlan {
    plan: String,
    name: String,
    value: Option<i64>,
}

impl Store {
    /// Makes sure that the built-in plans exist with a value for every limit. Values that exist
    /// stay. Tenants of a plan that got a new limit are told to the nodes again, since to a node a
    /// limit it was not told is 0.
    pub async fn seed_plans(&self) -> Result<(), StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let mut extended = Vec::new();
        for plan in &PLANS {
            if tx.seed_plan(plan).await? {
                extended.push(plan.slug.to_owned());
            }
        }
        for tenant in tx.tenants_on(&extended).await? {
            tx.quotas_changed(tenant).await?;
        }
        tx.commit().await
    }
}

impl Tx {
    /// Every plan, by slug.
    pub async fn plans(&mut self) -> Result<Vec<PlanRow>, StoreError> {
        let rows = sqlx::query_as!(
            LimitOfPlan,
            r#"select p.slug as "plan!", coalesce(l.name, '') as "name!", l.value
            from plans p left join plan_limits l on l.plan = p.slug order by p.slug"#
        )
        .fetch_all(&mut *self.sql)
        .await?;
        let mut plans = BTreeMap::new();
        for row in rows {
            let limits = plans.entry(row.plan).or_insert(LimitValues::CLOSED);
            *limits = with_row(*limits, &row.name, row.value)?;
        }
        plans
            .into_iter()
            .map(|(slug, limits)| {
                Ok(PlanRow {
                    slug: parsed(&slug, "plan")?,
                    limits,
                })
            })
            .collect()
    }

    /// One plan.
    pub async fn plan(&mut self, slug: &PlanSlug) -> Result<Option<PlanRow>, StoreError> {
        let rows = sqlx::query_as!(
            LimitOfPlan,
            r#"select p.slug as "plan!", coalesce(l.name, '') as "name!", l.value
            from plans p left join plan_limits l on l.plan = p.slug where p.slug = $1"#,
            slug.as_str()
        )
        .fetch_all(&mut *self.sql)
        .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let limits = rows.iter().try_fold(LimitValues::CLOSED, |limits, row| {
            with_row(limits, &row.name, row.value)
        })?;
        Ok(Some(PlanRow {
            slug: slug.clone(),
            limits,
        }))
    }

    /// Whether the plan was there before and lacked a limit.
    async fn seed_plan(&mut self, plan: &SeedPlan) -> Result<bool, StoreError> {
        let created = sqlx::query!(
            "insert into plans (slug) values ($1) on conflict do nothing",
            plan.slug
        )
        .execute(&mut *self.sql)
        .await?;
        let mut added = 0;
        for row in &LIMITS {
            let value = plan.limits().get(row.code).map(signed).transpose()?;
            let inserted = sqlx::query!(
                "insert into plan_limits (plan, name, value) values ($1, $2, $3) on conflict do nothing",
                plan.slug,
                row.name,
                value
            )
            .execute(&mut *self.sql)
            .await?;
            added += inserted.rows_affected();
        }
        Ok(created.rows_affected() == 0 && added > 0)
    }

    async fn tenants_on(&mut self, plans: &[String]) -> Result<Vec<TenantId>, StoreError> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        let ids = sqlx::query_scalar!(
            "select tenant_id from tenants where plan = any($1) order by tenant_id",
            plans
        )
        .fetch_all(&mut *self.sql)
        .await?;
        ids.iter()
            .map(|id| id_bytes(id).map(TenantId::from_bytes))
            .collect()
    }
}

/// The values with a stored row laid over them. A limit of a newer version is not ours to enforce.
pub(crate) fn with_row(
    limits: LimitValues,
    name: &str,
    value: Option<i64>,
) -> Result<LimitValues, StoreError> {
    match name.parse() {
        Ok(code) => Ok(limits.with(code, value.map(unsigned).transpose()?)),
        Err(_) => Ok(limits),
    }
}
