//! `/v1/organizations`

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use std::sync::Arc;
use tessera_api_types::{ErrorCode, Organization, OrganizationCreate, Page};
use tessera_domain::Scope;
use tessera_domain::text::{NAME_LEN_MAX, check_display, check_slug};
use tessera_store::{CreateOrganizationError, OrganizationNew, OrganizationRef};
use tessera_tenancy::OrganizationId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{At, Body, Params};
use crate::list::{ListParams, Paging};
use crate::outcome::Outcome;
use crate::random::random_bytes;
use crate::read::{Read, with_etag};
use crate::routes::collect;
use crate::shape;
use crate::write::{Write, WriteParams};

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create_organization, list_organizations))
        .routes(routes!(get_organization))
}

/// Creates an organization.
#[utoipa::path(post, path = "/v1/organizations", tag = "organizations", params(WriteParams),
    request_body = OrganizationCreate, responses((status = 201, body = Organization, description = "Created")))]
async fn create_organization(
    write: Write,
    body: Body<OrganizationCreate>,
) -> Result<Response, ApiError> {
    let new = checked(&body.value)?;
    write
        .on_platform(Scope::OrganizationsWrite, &body.bytes, |tx| {
            Box::pin(async move {
                let row = tx.create_organization(&new).await?;
                let config = tx.config_revision().await?;
                let location = format!("/v1/organizations/{}", row.id);
                let revision = row.revision;
                let created = shape::organization(row, Some(config));
                Ok(Outcome::created(location, revision, &created, config))
            })
        })
        .await
}

/// Lists organizations, by slug.
#[utoipa::path(get, path = "/v1/organizations", tag = "organizations", params(ListParams),
    responses((status = 200, body = Page<Organization>, description = "A page")))]
async fn list_organizations(
    State(app): State<Arc<App>>,
    read: Read,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let mut tx = read.begin(Scope::OrganizationsRead).await?;
    let paging = Paging::new(&app, "organizations".into(), params)?;
    let rows = tx.organizations(&paging.after, paging.rows()).await?;
    tx.commit().await?;
    let page = paging.page(
        rows,
        |row| row.slug.clone(),
        |row| shape::organization(row, None),
    );
    Ok(Json(page).into_response())
}

/// Gets an organization.
#[utoipa::path(get, path = "/v1/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path, description = "Its id or slug")),
    responses((status = 200, body = Organization, description = "The organization")))]
async fn get_organization(read: Read, At(name): At<String>) -> Result<Response, ApiError> {
    let mut tx = read.begin(Scope::OrganizationsRead).await?;
    let reference = organization_ref(&name).ok_or_else(ApiError::not_found)?;
    let row = tx
        .organization(&reference)
        .await?
        .ok_or_else(ApiError::not_found)?;
    tx.commit().await?;
    Ok(with_etag(row.revision, shape::organization(row, None)))
}

/// How a text names an organization; `None` if it can name none.
pub(crate) fn organization_ref(name: &str) -> Option<OrganizationRef> {
    if let Ok(id) = name.parse() {
        return Some(OrganizationRef::Id(id));
    }
    let slug: tessera_tenancy::TenantSlug = name.parse().ok()?;
    Some(OrganizationRef::Slug(slug.as_str().to_owned()))
}

fn checked(body: &OrganizationCreate) -> Result<OrganizationNew, ApiError> {
    let mut violations = Vec::new();
    let slug = collect(&mut violations, check_slug("/slug", &body.slug));
    let name = body.name.as_deref().unwrap_or(&body.slug);
    collect(&mut violations, check_display("/name", name, NAME_LEN_MAX));
    match slug {
        Some(slug) if violations.is_empty() => {
            let id = OrganizationId::from_bytes(random_bytes()?);
            Ok(OrganizationNew {
                id,
                slug,
                name: name.to_owned(),
            })
        }
        Some(_) | None => Err(ApiError::invalid(violations)),
    }
}

impl From<CreateOrganizationError> for ApiError {
    fn from(error: CreateOrganizationError) -> Self {
        match error {
            CreateOrganizationError::SlugTaken => {
                Self::new(ErrorCode::SlugTaken, "another organization has this slug")
            }
            CreateOrganizationError::Store(error) => error.into(),
        }
    }
}
