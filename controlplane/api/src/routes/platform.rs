//! `/v1/platform/nodes` and `/v1/platform/config-revisions`

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use tessera_api_types::{ConfigHead, Node, Page};
use tessera_domain::Scope;
use tessera_push::NodeView;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Params;
use crate::list::{ListParams, Paging};
use crate::read::Read;

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list_nodes))
        .routes(routes!(get_config_head))
}

/// Lists the data nodes that were ever heard from, by id.
#[utoipa::path(get, path = "/v1/platform/nodes", tag = "platform", params(ListParams),
    responses((status = 200, body = Page<Node>, description = "A page")))]
async fn list_nodes(
    State(app): State<Arc<App>>,
    read: Read,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    read.caller.require(Scope::PlatformRead)?;
    let paging = Paging::new(&app, "nodes".into(), params)?;
    let after = paging.after.parse().ok();
    let mut nodes = app.hub.nodes();
    nodes.retain(|view| after.is_none_or(|after: u64| view.node.0 > after));
    let page = paging.page(nodes, |view| view.node.to_string(), |view| node(&view));
    Ok(Json(page).into_response())
}

/// Gets the head of the configuration, which nodes follow.
#[utoipa::path(get, path = "/v1/platform/config-revisions", tag = "platform",
    responses((status = 200, body = ConfigHead, description = "The head")))]
async fn get_config_head(State(app): State<Arc<App>>, read: Read) -> Result<Response, ApiError> {
    let mut tx = read.begin(Scope::PlatformRead).await?;
    let head = tx.config_head().await?;
    tx.commit().await?;
    app.hub.advance(crate::push_source::head_of(head));
    let head = ConfigHead {
        timeline: head.timeline.to_string(),
        revision: head.revision.0,
        oldest_change: head.oldest_change.map(|revision| revision.0),
    };
    Ok(Json(head).into_response())
}

fn node(view: &NodeView) -> Node {
    let now = Instant::now();
    Node {
        id: view.node.to_string(),
        incarnation: view.incarnation.0,
        applied_revision: view.applied.map(|(_, revision)| revision.0),
        live: view.is_live(now),
        last_seen_at: OffsetDateTime::now_utc() - now.saturating_duration_since(view.heard_at),
    }
}
