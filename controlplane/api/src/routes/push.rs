//! `/internal/v1/push`: the nodes' streams, and what they applied. Signed by the frame key rather
//! than by an API key, and not part of the API document.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde::Deserialize;
use tessera_api_types::ErrorCode;
use tessera_api_types::headers::SIGNATURE;
use tessera_push::stream::LINES_WAITING_MAX;
use tessera_push::{
    Ahead, NodeReport, Position, ReportRefused, StreamRequest, serve_stream, start_for,
};
use tessera_tenancy::{Incarnation, NodeId, Revision, TimelineId, decode_hex};
use tokio::sync::mpsc;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Params, read_body};
use crate::json::read_json;
use crate::push_source::StoreSource;

/// Longest report of a node, in bytes.
const REPORT_LEN_MAX: usize = 4 * 1024;
/// Characters of a nonce: 128 bits.
const NONCE_LEN: usize = 32;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/internal/v1/push", get(open_stream))
        .route("/internal/v1/push/applied", post(take_report))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamParams {
    node: u64,
    incarnation: u64,
    nonce: String,
    timeline: String,
    after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    node: NodeId,
    incarnation: Incarnation,
    timeline: TimelineId,
    revision: Revision,
}

async fn open_stream(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    params: Result<Params<StreamParams>, ApiError>,
) -> Result<Response, ApiError> {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    check_signature(&app, &headers, format!("GET {target}").as_bytes())?;
    let Params(params) = params?;
    let request = requested(params)?;
    let start = start_for(request.position, &app.hub.head())?;
    let Ok(permit) = app.streams.clone().try_acquire_owned() else {
        return Err(ApiError::new(
            ErrorCode::Overloaded,
            "too many streams at once",
        ));
    };
    let (sender, receiver) = mpsc::channel(LINES_WAITING_MAX);
    let serving = app.clone();
    app.tasks.spawn(async move {
        let _permit = permit;
        let node = request.node;
        tracing::info!(%node, ?start, "a node opened its stream");
        let reads = serving.stream_reads.clone();
        let source = StoreSource {
            store: serving.store.clone(),
            reads,
        };
        let key = serving.push_key.clone();
        let stream = serve_stream(&source, &serving.hub, key, request, start, sender);
        match serving.stopping.run_until_cancelled(stream).await {
            Some(end) => tracing::info!(%node, ?end, "the stream of a node ended"),
            None => tracing::debug!(%node, "the stream of a node ends with this process"),
        }
    });
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), receiver))
    });
    let form = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((form, Body::from_stream(lines)).into_response())
}

async fn take_report(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let headers = request.headers().clone();
    let bytes = read_body(request, REPORT_LEN_MAX).await?;
    check_signature(&app, &headers, &bytes)?;
    let report: Report = read_json(&bytes)?;
    app.hub.hear(NodeReport {
        node: report.node,
        incarnation: report.incarnation,
        applied: Some((report.timeline, report.revision)),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_signature(app: &App, headers: &HeaderMap, text: &[u8]) -> Result<(), ApiError> {
    let given = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    match given {
        Some(given) if app.push_key.verifies(text, given) => Ok(()),
        Some(_) | None => Err(ApiError::unauthenticated(
            "the signature of a node is needed",
        )),
    }
}

fn requested(params: StreamParams) -> Result<StreamRequest, ApiError> {
    let invalid = |detail| ApiError::new(ErrorCode::InvalidParameter, detail);
    if params.nonce.len() != NONCE_LEN || decode_hex(&params.nonce).is_none() {
        return Err(invalid("`nonce` is 32 hexadecimal digits"));
    }
    let timeline = match params.timeline.as_str() {
        "" => None,
        text => {
            let bytes = decode_hex(text).and_then(|bytes| bytes.try_into().ok());
            let known = bytes.map(TimelineId::from_bytes);
            Some(known.ok_or_else(|| invalid("`timeline` is 32 hexadecimal digits, or empty"))?)
        }
    };
    Ok(StreamRequest {
        node: NodeId(params.node),
        incarnation: Incarnation(params.incarnation),
        nonce: params.nonce,
        position: Position {
            timeline,
            after: Revision(params.after),
        },
    })
}

impl From<Ahead> for ApiError {
    fn from(ahead: Ahead) -> Self {
        tracing::error!(%ahead, "a node is refused");
        Self::new(ErrorCode::HistoryLost, ahead.to_string())
    }
}

impl From<ReportRefused> for ApiError {
    fn from(refused: ReportRefused) -> Self {
        tracing::error!(%refused, "a node's report is refused");
        Self::new(ErrorCode::HistoryLost, refused.to_string())
    }
}
