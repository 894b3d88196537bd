//! `/v1/tenants/{tenant}/api-keys` and `/v1/platform/api-keys`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use tessera_api_types::{ApiKey, ApiKeyCreate, ApiKeyWithSecret, ErrorCode, Page, Secret};
use tessera_domain::text::{NAME_LEN_MAX, check_display};
use tessera_domain::{Scope, Violation};
use tessera_store::{ApiKeyNew, ApiKeyRow, CreateApiKeyError, Tx};
use tessera_tenancy::{ApiKeyId, GeneratedSecret, SecretKind, ServerKey, TenantId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{At, Body, NoBody, Params};
use crate::list::{ListParams, Paging};
use crate::outcome::Outcome;
use crate::random::{random_bytes, random_secret};
use crate::read::{Read, with_etag};
use crate::routes::collect;
use crate::shape::{self, role_of};
use crate::write::{Write, WriteParams};

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create_api_key, list_api_keys))
        .routes(routes!(get_api_key, delete_api_key))
        .routes(routes!(create_platform_api_key, list_platform_api_keys))
        .routes(routes!(get_platform_api_key, delete_platform_api_key))
}

/// Creates an API key of a tenant. Its secret is shown here only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/api-keys", tag = "api keys",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams),
    request_body = ApiKeyCreate,
    responses((status = 201, body = ApiKeyWithSecret, description = "Created")))]
async fn create_api_key(
    write: Write,
    At(tenant): At<String>,
    body: Body<ApiKeyCreate>,
) -> Result<Response, ApiError> {
    let wanted = Wanted::checked(&body.value, Owner::Tenant)?;
    let key = write.app.server_key.clone();
    write
        .in_tenant(
            &[Scope::ApiKeysWrite],
            &tenant,
            &body.bytes,
            |tx, tenant| Box::pin(async move { create(tx, wanted, &key, Some(tenant.id)).await }),
        )
        .await
}

/// Creates an API key of the platform. Its secret is shown here only.
#[utoipa::path(post, path = "/v1/platform/api-keys", tag = "api keys", params(WriteParams),
    request_body = ApiKeyCreate,
    responses((status = 201, body = ApiKeyWithSecret, description = "Created")))]
async fn create_platform_api_key(
    write: Write,
    body: Body<ApiKeyCreate>,
) -> Result<Response, ApiError> {
    let wanted = Wanted::checked(&body.value, Owner::Platform)?;
    let key = write.app.server_key.clone();
    write
        .on_platform(Scope::PlatformKeysWrite, &body.bytes, |tx| {
            Box::pin(async move { create(tx, wanted, &key, None).await })
        })
        .await
}

/// Lists the API keys of a tenant, by id.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/api-keys", tag = "api keys",
    params(("tenant" = String, Path, description = "Its id or slug"), ListParams),
    responses((status = 200, body = Page<ApiKey>, description = "A page")))]
async fn list_api_keys(
    State(app): State<Arc<App>>,
    read: Read,
    At(tenant): At<String>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let (tx, tenant) = read.begin_tenant(Scope::ApiKeysRead, &tenant).await?;
    list(&app, tx, Some(tenant.id), params).await
}

/// Lists the API keys of the platform, by id.
#[utoipa::path(get, path = "/v1/platform/api-keys", tag = "api keys", params(ListParams),
    responses((status = 200, body = Page<ApiKey>, description = "A page")))]
async fn list_platform_api_keys(
    State(app): State<Arc<App>>,
    read: Read,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let tx = read.begin(Scope::PlatformKeysRead).await?;
    list(&app, tx, None, params).await
}

/// Gets an API key of a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/api-keys/{api_key}", tag = "api keys",
    params(("tenant" = String, Path, description = "Its id or slug"),
        ("api_key" = String, Path, description = "Its id")),
    responses((status = 200, body = ApiKey, description = "The key")))]
async fn get_api_key(
    read: Read,
    At((tenant, id)): At<(String, String)>,
) -> Result<Response, ApiError> {
    let (tx, tenant) = read.begin_tenant(Scope::ApiKeysRead, &tenant).await?;
    get(tx, Some(tenant.id), &id).await
}

/// Gets an API key of the platform.
#[utoipa::path(get, path = "/v1/platform/api-keys/{api_key}", tag = "api keys",
    params(("api_key" = String, Path, description = "Its id")),
    responses((status = 200, body = ApiKey, description = "The key")))]
async fn get_platform_api_key(read: Read, At(id): At<String>) -> Result<Response, ApiError> {
    let tx = read.begin(Scope::PlatformKeysRead).await?;
    get(tx, None, &id).await
}

/// Deletes an API key of a tenant: it opens nothing any more.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/api-keys/{api_key}", tag = "api keys",
    params(("tenant" = String, Path, description = "Its id or slug"),
        ("api_key" = String, Path, description = "Its id"), WriteParams),
    responses((status = 204, description = "Gone")))]
async fn delete_api_key(
    write: Write,
    At((tenant, id)): At<(String, String)>,
    body: NoBody,
) -> Result<Response, ApiError> {
    write
        .in_tenant(
            &[Scope::ApiKeysWrite],
            &tenant,
            &body.bytes,
            |tx, tenant| Box::pin(async move { delete(tx, Some(tenant.id), &id).await }),
        )
        .await
}

/// Deletes an API key of the platform: it opens nothing any more.
#[utoipa::path(delete, path = "/v1/platform/api-keys/{api_key}", tag = "api keys",
    params(("api_key" = String, Path, description = "Its id"), WriteParams),
    responses((status = 204, description = "Gone")))]
async fn delete_platform_api_key(
    write: Write,
    At(id): At<String>,
    body: NoBody,
) -> Result<Response, ApiError> {
    write
        .on_platform(Scope::PlatformKeysWrite, &body.bytes, |tx| {
            Box::pin(async move { delete(tx, None, &id).await })
        })
        .await
}

/// Whose keys a path is about.
#[derive(Clone, Copy)]
enum Owner {
    Tenant,
    Platform,
}

/// What a body says of a new key, once it is well formed.
struct Wanted {
    name: String,
    role: tessera_domain::Role,
    secret: GeneratedSecret,
}

impl Wanted {
    fn checked(body: &ApiKeyCreate, owner: Owner) -> Result<Self, ApiError> {
        let mut violations = Vec::new();
        collect(
            &mut violations,
            check_display("/name", &body.name, NAME_LEN_MAX),
        );
        let role = role_of(body.role);
        let fits = match owner {
            Owner::Tenant => !role.is_platform(),
            Owner::Platform => role.is_platform(),
        };
        if !fits {
            let detail = "a role of the platform is for platform keys, a tenant's for its own";
            violations.push(Violation::new("/role", "role_of_another_owner", detail));
        }
        if !violations.is_empty() {
            return Err(ApiError::invalid(violations));
        }
        let secret = random_secret(SecretKind::ApiKey)?;
        Ok(Self {
            name: body.name.clone(),
            role,
            secret,
        })
    }
}

async fn create(
    tx: &mut Tx,
    wanted: Wanted,
    key: &ServerKey,
    tenant: Option<TenantId>,
) -> Result<Outcome, ApiError> {
    let new = ApiKeyNew {
        id: ApiKeyId::from_bytes(random_bytes()?),
        tenant,
        name: wanted.name,
        role: wanted.role,
        key_id: wanted.secret.key_id(),
        digest: key.digest(wanted.secret.expose().as_bytes()),
    };
    let row = tx.create_api_key(&new).await?;
    let config = tx.config_revision().await?;
    let (location, revision) = (location(&row), row.revision);
    let created = ApiKeyWithSecret {
        key: shape::api_key(row, Some(config)),
        secret: Secret::new(wanted.secret.expose().to_owned()),
    };
    Ok(Outcome::created(location, revision, &created, config))
}

async fn list(
    app: &App,
    mut tx: Tx,
    tenant: Option<TenantId>,
    params: ListParams,
) -> Result<Response, ApiError> {
    let paging = Paging::new(app, format!("api keys of {tenant:?}"), params)?;
    let rows = tx
        .api_keys(tenant, paging.after.parse().ok(), paging.rows())
        .await?;
    tx.commit().await?;
    let page = paging.page(
        rows,
        |row| row.id.to_string(),
        |row| shape::api_key(row, None),
    );
    Ok(Json(page).into_response())
}

async fn get(mut tx: Tx, tenant: Option<TenantId>, id: &str) -> Result<Response, ApiError> {
    let row = found(&mut tx, tenant, id).await?;
    tx.commit().await?;
    Ok(with_etag(row.revision, shape::api_key(row, None)))
}

async fn delete(tx: &mut Tx, tenant: Option<TenantId>, id: &str) -> Result<Outcome, ApiError> {
    let row = found(tx, tenant, id).await?;
    tx.delete_api_key(tenant, row.id).await?;
    Ok(Outcome::gone(tx.config_revision().await?))
}

async fn found(tx: &mut Tx, tenant: Option<TenantId>, id: &str) -> Result<ApiKeyRow, ApiError> {
    let id = id.parse().map_err(|_| ApiError::not_found())?;
    tx.api_key(tenant, id)
        .await?
        .ok_or_else(ApiError::not_found)
}

fn location(row: &ApiKeyRow) -> String {
    match row.tenant {
        Some(tenant) => format!("/v1/tenants/{tenant}/api-keys/{}", row.id),
        None => format!("/v1/platform/api-keys/{}", row.id),
    }
}

impl From<CreateApiKeyError> for ApiError {
    fn from(error: CreateApiKeyError) -> Self {
        match error {
            CreateApiKeyError::TooMany => Self::new(ErrorCode::QuotaExceeded, error.to_string()),
            CreateApiKeyError::Store(error) => error.into(),
        }
    }
}
