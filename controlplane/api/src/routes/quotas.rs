//! `/v1/tenants/{tenant}/quotas` and `/v1/platform/tenants/{tenant}/quotas`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use tessera_api_types::{QuotaOverride, Quotas, QuotasPatch, QuotasPut};
use tessera_domain::quota::{check_name, check_value};
use tessera_domain::text::{REASON_LEN_MAX, check_display};
use tessera_domain::{Override, Overrides, Scope};
use tessera_tenancy::LimitCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{At, Body};
use crate::outcome::Outcome;
use crate::read::{Read, with_etag};
use crate::routes::collect;
use crate::shape;
use crate::write::{Write, WriteParams};

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(get_quotas))
        .routes(routes!(get_quotas_of, put_quotas, patch_quotas))
}

/// Gets a tenant's quotas, as they are in effect.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/quotas", tag = "quotas",
    params(("tenant" = String, Path, description = "Its id or slug")),
    responses((status = 200, body = Quotas, description = "Every quota")))]
async fn get_quotas(read: Read, At(tenant): At<String>) -> Result<Response, ApiError> {
    quotas_of(read, Scope::QuotasRead, &tenant).await
}

/// Gets a tenant's quotas, as they are in effect.
#[utoipa::path(get, path = "/v1/platform/tenants/{tenant}/quotas", tag = "quotas",
    params(("tenant" = String, Path, description = "Its id or slug")),
    responses((status = 200, body = Quotas, description = "Every quota")))]
async fn get_quotas_of(read: Read, At(tenant): At<String>) -> Result<Response, ApiError> {
    // A tenant's key has no business under this path, whatever the tenant.
    read.caller.require(Scope::PlatformRead)?;
    quotas_of(read, Scope::QuotasRead, &tenant).await
}

/// Makes these all the overrides of a tenant's quotas. One that is not named falls back to the plan.
#[utoipa::path(put, path = "/v1/platform/tenants/{tenant}/quotas", tag = "quotas",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams,
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = QuotasPut, responses((status = 200, body = Quotas, description = "Changed"),
    (status = 202, body = Quotas, description = "Changed; some node has not applied it yet")))]
async fn put_quotas(
    write: Write,
    At(tenant): At<String>,
    body: Body<QuotasPut>,
) -> Result<Response, ApiError> {
    let QuotasPut { quotas, reason } = body.value;
    let quotas = quotas
        .into_iter()
        .map(|(name, to)| (name, Some(to)))
        .collect();
    let changes = checked(quotas, reason)?;
    change(write, &tenant, &body.bytes, changes, |_| {
        Overrides::default()
    })
    .await
}

/// Changes some overrides of a tenant's quotas.
///
/// A merge patch over the names of quotas: a name that is absent stays, `null` removes its override,
/// which gives the plan's value back, and `{"limit": null}` makes it unlimited.
#[utoipa::path(patch, path = "/v1/platform/tenants/{tenant}/quotas", tag = "quotas",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams,
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body(content((QuotasPatch = "application/json"), (QuotasPatch = "application/merge-patch+json"))),
    responses((status = 200, body = Quotas, description = "Changed"),
    (status = 202, body = Quotas, description = "Changed; some node has not applied it yet")))]
async fn patch_quotas(
    write: Write,
    At(tenant): At<String>,
    body: Body<QuotasPatch>,
) -> Result<Response, ApiError> {
    let changes = checked(body.value.quotas, body.value.reason)?;
    change(write, &tenant, &body.bytes, changes, |present| present).await
}

/// Overrides to set, or to remove where there is none.
type Changes = Vec<(LimitCode, Option<Override>)>;

async fn quotas_of(read: Read, scope: Scope, tenant: &str) -> Result<Response, ApiError> {
    let (mut tx, tenant) = read.begin_tenant(scope, tenant).await?;
    let rows = tx.quotas(&tenant).await?;
    tx.commit().await?;
    Ok(with_etag(rows.revision, shape::quotas(&rows)))
}

/// Lays changes over what `base` makes of the present overrides.
async fn change(
    write: Write,
    tenant: &str,
    body: &[u8],
    changes: Changes,
    base: fn(Overrides) -> Overrides,
) -> Result<Response, ApiError> {
    write.caller.require(Scope::QuotasWrite)?;
    let precondition = write.precondition();
    write
        .in_tenant(&[Scope::QuotasWrite], tenant, body, |tx, tenant| {
            Box::pin(async move {
                let old = tx.quotas(&tenant).await?;
                precondition.require(old.revision)?;
                let mut overrides = base(old.overrides);
                for (code, to) in changes {
                    match to {
                        Some(to) => overrides.set(code, to),
                        None => overrides.remove(code),
                    }
                }
                let rows = tx.set_overrides(&tenant, &overrides).await?;
                Ok(Outcome::ok(
                    rows.revision,
                    &shape::quotas(&rows),
                    rows.config_revision,
                ))
            })
        })
        .await
}

fn checked(
    quotas: BTreeMap<String, Option<QuotaOverride>>,
    reason: Option<String>,
) -> Result<Changes, ApiError> {
    let mut violations = Vec::new();
    if let Some(reason) = &reason {
        collect(
            &mut violations,
            check_display("/reason", reason, REASON_LEN_MAX),
        );
    }
    let mut changes = Vec::new();
    for (name, to) in quotas {
        let Some(code) = collect(&mut violations, check_name(&name)) else {
            continue;
        };
        if let Some(to) = to {
            collect(&mut violations, check_value(code, to.limit));
        }
        let to = to.map(|to| Override {
            limit: to.limit,
            reason: reason.clone(),
        });
        changes.push((code, to));
    }
    if violations.is_empty() {
        Ok(changes)
    } else {
        Err(ApiError::invalid(violations))
    }
}
