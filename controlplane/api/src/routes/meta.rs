//! About the caller, the process and the API: `/v1/whoami`, `/healthz`, `/readyz`, `/openapi.json`,
//! `/errors/{code}`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use tessera_api_types::{ErrorCode, Health, HealthStatus, Whoami, WhoamiTenant};
use tessera_store::{TenantRef, View};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::At;
use crate::read::Read;
use crate::shape;

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(whoami))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(openapi))
        .routes(routes!(explain_error))
}

/// Tells who the caller is and what it may do.
#[utoipa::path(get, path = "/v1/whoami", tag = "meta",
    responses((status = 200, body = Whoami, description = "The caller")))]
async fn whoami(State(app): State<Arc<App>>, read: Read) -> Result<Response, ApiError> {
    let caller = read.caller;
    let tenant = match caller.tenant {
        None => None,
        Some(id) => {
            let mut tx = app.store.begin(View::Tenant(id)).await?;
            let row = tx
                .tenant(&TenantRef::Id(id))
                .await?
                .ok_or_else(ApiError::not_found)?;
            tx.commit().await?;
            Some(WhoamiTenant { id, slug: row.slug })
        }
    };
    let scopes = caller
        .role
        .scopes()
        .iter()
        .map(ToString::to_string)
        .collect();
    let role = shape::role(caller.role);
    Ok(Json(Whoami {
        api_key: caller.key,
        name: caller.name,
        role,
        scopes,
        tenant,
    })
    .into_response())
}

/// Tells whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "meta", security(()),
    responses((status = 200, body = Health, description = "It lives")))]
async fn healthz() -> Response {
    std::future::ready(health(HealthStatus::Ok)).await
}

/// Tells whether the process can serve: whether the database answers.
#[utoipa::path(get, path = "/readyz", tag = "meta", security(()),
    responses((status = 200, body = Health, description = "It can"),
    (status = 503, body = Health, description = "It cannot")))]
async fn readyz(State(app): State<Arc<App>>) -> Response {
    match app.store.ping().await {
        Ok(()) => health(HealthStatus::Ok),
        Err(error) => {
            tracing::debug!(%error, "not ready");
            health(HealthStatus::Unavailable)
        }
    }
}

/// Gets this document.
#[utoipa::path(get, path = "/openapi.json", tag = "meta", security(()),
    responses((status = 200, content_type = "application/json", description = "The OpenAPI document")))]
async fn openapi(State(app): State<Arc<App>>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    std::future::ready((json, app.document.clone()).into_response()).await
}

/// Explains an error code: where the `type` of a problem leads.
#[utoipa::path(get, path = "/errors/{code}", tag = "meta", security(()),
    params(("code" = String, Path, description = "The `code` of a problem")),
    responses((status = 200, content_type = "text/plain", description = "What it means")))]
async fn explain_error(At(code): At<String>) -> Result<Response, ApiError> {
    let code = ErrorCode::ALL.iter().find(|known| known.as_str() == code);
    let code = code.ok_or_else(ApiError::not_found)?;
    let text = format!(
        "{} {}: {}\n{}\n",
        code.status(),
        code.as_str(),
        code.title(),
        code.advice()
    );
    std::future::ready(Ok(text.into_response())).await
}

fn health(status: HealthStatus) -> Response {
    let code = match status {
        HealthStatus::Ok => StatusCode::OK,
        HealthStatus::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    (code, Json(Health { status, version })).into_response()
}
