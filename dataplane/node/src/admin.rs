//! The operator's port: `/healthz`, `/readyz`, `/metrics`, `/tenants/{id}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tessera_config::Config;
use tessera_tenancy::IdParseError;

use crate::figures::{FiguresError, TenantFigures};
use crate::metrics::NodeMetrics;

/// What the pages show.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<NodeMetrics>,
    pub(crate) tenants: TenantFigures,
}

/// The routes.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/tenants/{tenant}", get(tenant))
        .with_state(admin)
}

/// The process lives.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The node serves devices: every shard leads, the port is open, there is a configuration.
async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.config.position() {
        (Some(_timeline), revision) => (StatusCode::OK, format!("ready at revision {revision}\n")),
        (None, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no configuration yet\n".to_owned(),
        ),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    match admin.metrics.render() {
        Ok(page) => (StatusCode::OK, kind, page),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            kind,
            format!("{error}\n"),
        ),
    }
}

/// What one tenant has on this node.
async fn tenant(State(admin): State<Admin>, Path(tenant): Path<String>) -> Response {
    let tenant = match tenant.parse() {
        Ok(tenant) => tenant,
        Err(error) => {
            let error: IdParseError = error;
            return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response();
        }
    };
    match admin.tenants.read(tenant).await {
        Ok(figures) => Json(figures).into_response(),
        Err(error @ FiguresError::Unknown) => {
            (StatusCode::NOT_FOUND, format!("{error}\n")).into_response()
        }
        Err(error @ FiguresError::Store(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
        }
    }
}
