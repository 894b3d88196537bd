//! The operator's port: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tessera_config::Config;

use crate::metrics::NodeMetrics;

/// What the pages show.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<NodeMetrics>,
}

/// The routes.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
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
