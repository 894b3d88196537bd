//! `/v1/tenants`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use tessera_api_types::{
    ErrorCode, Page, Tenant, TenantCreate, TenantEnsure, TenantPatch, TenantStatus as StatusShape,
    WriteAccepted,
};
use tessera_domain::text::{
    check_label_count, check_label_key, check_label_value, check_plan, check_slug, member,
};
use tessera_domain::{Scope, Violation, setting};
use tessera_store::{CreateTenantError, TenantNew, TenantRef, TenantRow, TenantUpdate, Tx};
use tessera_tenancy::{PlanSlug, TenantId, TenantSettings, TenantSlug, TenantStatus};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{At, Body, NoBody, Params};
use crate::list::{ListParams, Paging};
use crate::outcome::Outcome;
use crate::random::random_bytes;
use crate::read::{Read, with_etag};
use crate::routes::collect;
use crate::routes::organizations::organization_ref;
use crate::shape;
use crate::write::{Write, WriteParams};

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create_tenant, list_tenants))
        .routes(routes!(
            get_tenant,
            ensure_tenant,
            patch_tenant,
            delete_tenant
        ))
        .routes(routes!(suspend_tenant))
        .routes(routes!(resume_tenant))
}

/// Which tenants.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantListParams {
    /// Items at most: 1 to 500, 50 unless given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those with this status.
    #[param(value_type = Option<String>)]
    status: Option<StatusShape>,
}

/// What a body says of a new tenant, once it is well formed.
struct Wanted {
    slug: TenantSlug,
    plan: PlanSlug,
    organization: Option<String>,
    labels: BTreeMap<String, String>,
}

/// Creates a tenant.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", params(WriteParams),
    request_body = TenantCreate, responses((status = 201, body = Tenant, description = "Created"),
    (status = 202, body = Tenant, description = "Created; some node has not applied it yet")))]
async fn create_tenant(write: Write, body: Body<TenantCreate>) -> Result<Response, ApiError> {
    let TenantCreate {
        slug,
        plan,
        organization,
        labels,
    } = body.value;
    let wanted = checked(&slug, &plan, organization, labels)?;
    write
        .on_platform(Scope::TenantsManage, &body.bytes, |tx| {
            Box::pin(async move {
                let new = resolved(tx, wanted).await?;
                let row = tx.create_tenant(&new).await?;
                Ok(created(row))
            })
        })
        .await
}

/// Creates a tenant, or returns the one that has the slug, unchanged.
#[utoipa::path(put, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "Its slug"), WriteParams),
    request_body = TenantEnsure, responses((status = 200, body = Tenant, description = "It was there"),
    (status = 201, body = Tenant, description = "Created"),
    (status = 202, body = Tenant, description = "Some node has not applied it yet")))]
async fn ensure_tenant(
    write: Write,
    At(slug): At<String>,
    body: Body<TenantEnsure>,
) -> Result<Response, ApiError> {
    let TenantEnsure {
        plan,
        organization,
        labels,
    } = body.value;
    let wanted = checked(&slug, &plan, organization, labels)?;
    write
        .on_platform(Scope::TenantsManage, &body.bytes, |tx| {
            Box::pin(async move {
                let reference = TenantRef::Slug(wanted.slug.clone());
                if let Some(row) = tx.tenant(&reference).await? {
                    return Ok(unchanged(row));
                }
                let new = resolved(tx, wanted).await?;
                match tx.create_tenant(&new).await {
                    Ok(row) => Ok(created(row)),
                    // Another request has created it since we looked.
                    Err(CreateTenantError::SlugTaken) => {
                        let row = tx
                            .tenant(&reference)
                            .await?
                            .ok_or_else(ApiError::not_found)?;
                        Ok(unchanged(row))
                    }
                    Err(CreateTenantError::Store(error)) => Err(error.into()),
                }
            })
        })
        .await
}

/// Lists the tenants that the caller may see, by slug.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", params(TenantListParams),
    responses((status = 200, body = Page<Tenant>, description = "A page")))]
async fn list_tenants(
    State(app): State<Arc<App>>,
    read: Read,
    Params(params): Params<TenantListParams>,
) -> Result<Response, ApiError> {
    let mut tx = read.begin(Scope::TenantsRead).await?;
    let TenantListParams {
        limit,
        cursor,
        status,
    } = params;
    let name = format!("tenants of {:?} with {status:?}", read.caller.tenant);
    let paging = Paging::new(&app, name, ListParams { limit, cursor })?;
    let status = status.map(status_of);
    let rows = tx.tenants(&paging.after, paging.rows(), status).await?;
    tx.commit().await?;
    Ok(Json(paging.page(rows, |row| row.slug.to_string(), shape::tenant)).into_response())
}

/// Gets a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "Its id or slug")),
    responses((status = 200, body = Tenant, description = "The tenant")))]
async fn get_tenant(read: Read, At(name): At<String>) -> Result<Response, ApiError> {
    let (tx, row) = read.begin_tenant(Scope::TenantsRead, &name).await?;
    tx.commit().await?;
    Ok(with_etag(row.revision, shape::tenant(row)))
}

/// Changes a tenant's plan, labels or settings.
///
/// A merge patch: what is absent stays, a label that is null is removed, a setting that is null goes
/// back to its default. Changing the plan needs the scope `plans:assign`. Overrides of quotas stay.
/// Connected devices meet a changed setting at their next message.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read")),
    request_body(content((TenantPatch = "application/json"), (TenantPatch = "application/merge-patch+json"))),
    responses((status = 200, body = Tenant, description = "Changed"),
    (status = 202, body = Tenant, description = "Changed; some node has not applied it yet")))]
async fn patch_tenant(
    write: Write,
    At(name): At<String>,
    body: Body<TenantPatch>,
) -> Result<Response, ApiError> {
    let TenantPatch {
        plan,
        labels,
        settings,
    } = body.value;
    let plan = plan.map(|plan| check_plan("/plan", &plan)).transpose()?;
    let scopes: &[Scope] = match (&plan, labels.is_some() || settings.is_some()) {
        (Some(_), true) => &[Scope::PlansAssign, Scope::TenantsWrite],
        (Some(_), false) => &[Scope::PlansAssign],
        (None, _) => &[Scope::TenantsWrite],
    };
    let precondition = write.precondition();
    write
        .in_tenant(scopes, &name, &body.bytes, |tx, old| {
            Box::pin(async move {
                precondition.check(old.revision)?;
                let labels = merged(&old.labels, labels.unwrap_or_default())?;
                let settings = with_settings(old.settings, settings.unwrap_or_default())?;
                let plan = match plan {
                    Some(plan) => known_plan(tx, plan).await?,
                    None => old.plan.clone(),
                };
                let update = TenantUpdate {
                    status: old.status,
                    plan,
                    labels,
                    settings,
                };
                let row = tx.update_tenant(&old, &update).await?;
                Ok(changed(row))
            })
        })
        .await
}

/// Deletes a tenant with all that is its.
///
/// At once and for good: its credentials, keys and quotas, and on the nodes its sessions, queues and
/// retained messages.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read")),
    responses((status = 204, description = "Gone"),
    (status = 202, body = WriteAccepted, description = "Gone; some node has not applied it yet")))]
async fn delete_tenant(
    write: Write,
    At(name): At<String>,
    body: NoBody,
) -> Result<Response, ApiError> {
    let precondition = write.precondition();
    write
        .in_tenant(&[Scope::TenantsManage], &name, &body.bytes, |tx, old| {
            Box::pin(async move {
                precondition.check(old.revision)?;
                Ok(Outcome::gone(tx.delete_tenant(old.id).await?))
            })
        })
        .await
}

/// Suspends a tenant: its devices are refused and disconnected; what it stored is kept.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/suspend", tag = "tenants",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams),
    responses((status = 200, body = Tenant, description = "Suspended"),
    (status = 202, body = Tenant, description = "Suspended; some node has not applied it yet")))]
async fn suspend_tenant(
    write: Write,
    At(name): At<String>,
    body: NoBody,
) -> Result<Response, ApiError> {
    set_status(write, &name, body, TenantStatus::Suspended).await
}

/// Resumes a suspended tenant.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/resume", tag = "tenants",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams),
    responses((status = 200, body = Tenant, description = "Active"),
    (status = 202, body = Tenant, description = "Active; some node has not applied it yet")))]
async fn resume_tenant(
    write: Write,
    At(name): At<String>,
    body: NoBody,
) -> Result<Response, ApiError> {
    set_status(write, &name, body, TenantStatus::Active).await
}

async fn set_status(
    write: Write,
    name: &str,
    body: NoBody,
    status: TenantStatus,
) -> Result<Response, ApiError> {
    let precondition = write.precondition();
    write
        .in_tenant(
            &[Scope::TenantsManage],
            name,
            &body.bytes,
            move |tx, old| {
                Box::pin(async move {
                    precondition.check(old.revision)?;
                    if old.status == status {
                        return Ok(changed(old));
                    }
                    let (plan, labels) = (old.plan.clone(), old.labels.clone());
                    let row = tx
                        .update_tenant(
                            &old,
                            &TenantUpdate {
                                status,
                                plan,
                                labels,
                                settings: old.settings,
                            },
                        )
                        .await?;
                    Ok(changed(row))
                })
            },
        )
        .await
}

fn created(row: TenantRow) -> Outcome {
    let location = format!("/v1/tenants/{}", row.id);
    let (revision, config) = (row.revision, row.config_revision);
    Outcome::created(location, revision, &shape::tenant(row), config)
}

fn changed(row: TenantRow) -> Outcome {
    let (revision, config) = (row.revision, row.config_revision);
    Outcome::ok(revision, &shape::tenant(row), config)
}

fn unchanged(row: TenantRow) -> Outcome {
    changed(row)
}

fn checked(
    slug: &str,
    plan: &str,
    organization: Option<String>,
    labels: BTreeMap<String, String>,
) -> Result<Wanted, ApiError> {
    let mut violations = Vec::new();
    let slug = collect(&mut violations, check_slug("/slug", slug));
    let plan = collect(&mut violations, check_plan("/plan", plan));
    violations.extend(check_labels(&labels));
    match (slug, plan) {
        (Some(slug), Some(plan)) if violations.is_empty() => Ok(Wanted {
            slug,
            plan,
            organization,
            labels,
        }),
        _ => Err(ApiError::invalid(violations)),
    }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Vec<Violation> {
    let mut violations = Vec::new();
    collect(&mut violations, check_label_count("/labels", labels.len()));
    for (key, value) in labels {
        let pointer = member("/labels", key);
        collect(&mut violations, check_label_key(&pointer, key));
        collect(&mut violations, check_label_value(&pointer, value));
    }
    violations
}

fn merged(
    old: &BTreeMap<String, String>,
    patch: BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut labels = old.clone();
    for (key, value) in patch {
        match value {
            Some(value) => labels.insert(key, value),
            None => labels.remove(&key),
        };
    }
    let violations = check_labels(&labels);
    if violations.is_empty() {
        Ok(labels)
    } else {
        Err(ApiError::invalid(violations))
    }
}

fn with_settings(
    mut settings: TenantSettings,
    patch: BTreeMap<String, Option<String>>,
) -> Result<TenantSettings, ApiError> {
    let mut violations = Vec::new();
    for (name, value) in patch {
        let changed = setting::set(&mut settings, &name, value.as_deref());
        collect(&mut violations, changed);
    }
    if violations.is_empty() {
        Ok(settings)
    } else {
        Err(ApiError::invalid(violations))
    }
}

/// What a body names, found.
async fn resolved(tx: &mut Tx, wanted: Wanted) -> Result<TenantNew, ApiError> {
    let organization = match &wanted.organization {
        None => None,
        Some(name) => {
            let found = match organization_ref(name) {
                Some(reference) => tx.organization(&reference).await?,
                None => None,
            };
            let unknown = || {
                Violation::new(
                    "/organization",
                    "unknown_organization",
                    "there is no such organization",
                )
            };
            Some(found.ok_or_else(unknown)?.id)
        }
    };
    Ok(TenantNew {
        id: TenantId::from_bytes(random_bytes()?),
        slug: wanted.slug,
        plan: known_plan(tx, wanted.plan).await?,
        organization,
        labels: wanted.labels,
    })
}

async fn known_plan(tx: &mut Tx, slug: PlanSlug) -> Result<PlanSlug, ApiError> {
    match tx.plan(&slug).await? {
        Some(plan) => Ok(plan.slug),
        None => Err(Violation::new("/plan", "unknown_plan", "there is no such plan").into()),
    }
}

const fn status_of(shape: StatusShape) -> TenantStatus {
    match shape {
        StatusShape::Active => TenantStatus::Active,
        StatusShape::Suspended => TenantStatus::Suspended,
    }
}

impl From<CreateTenantError> for ApiError {
    fn from(error: CreateTenantError) -> Self {
        match error {
            CreateTenantError::SlugTaken => {
                Self::new(ErrorCode::SlugTaken, "another tenant has this slug")
            }
            CreateTenantError::Store(error) => error.into(),
        }
    }
}
