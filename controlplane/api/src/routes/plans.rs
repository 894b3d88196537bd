//! `/v1/plans`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use tessera_api_types::{Page, Plan};
use tessera_domain::Scope;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{At, Params};
use crate::list::{ListParams, Paging};
use crate::read::Read;
use crate::shape;

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list_plans))
        .routes(routes!(get_plan))
}

/// Lists plans, by slug.
#[utoipa::path(get, path = "/v1/plans", tag = "plans", params(ListParams),
    responses((status = 200, body = Page<Plan>, description = "A page")))]
async fn list_plans(
    State(app): State<Arc<App>>,
    read: Read,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let mut tx = read.begin(Scope::PlansRead).await?;
    let paging = Paging::new(&app, "plans".into(), params)?;
    let mut rows = tx.plans().await?;
    tx.commit().await?;
    rows.retain(|row| row.slug.as_str() > paging.after.as_str());
    let page = paging.page(rows, |row| row.slug.to_string(), shape::plan);
    Ok(Json(page).into_response())
}

/// Gets a plan.
#[utoipa::path(get, path = "/v1/plans/{plan}", tag = "plans",
    params(("plan" = String, Path, description = "Its slug")),
    responses((status = 200, body = Plan, description = "The plan")))]
async fn get_plan(read: Read, At(slug): At<String>) -> Result<Response, ApiError> {
    let mut tx = read.begin(Scope::PlansRead).await?;
    let slug = slug.parse().map_err(|_| ApiError::not_found())?;
    let row = tx.plan(&slug).await?.ok_or_else(ApiError::not_found)?;
    tx.commit().await?;
    Ok(Json(shape::plan(row)).into_response())
}
