//! What happens to every request, before and after its route.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tessera_api_types::headers::{PROBLEM_JSON, REQUEST_ID};
use tessera_api_types::{ErrorCode, Problem};
use tessera_tenancy::encode_hex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::app::App;
use crate::error::ApiError;
use crate::random::random_bytes;

/// How long a request that only reads may take.
const READ_LIMIT: Duration = Duration::from_millis(1_900);
/// Longest request id that a caller may bring.
const REQUEST_ID_LEN_MAX: usize = 128;
/// Longest path that a problem repeats.
const INSTANCE_LEN_MAX: usize = 256;

/// When the request came in: what its time limits count from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started(pub(crate) Instant);

/// A request's place among those that are worked on at once. A request that only waits for the nodes
/// gives it up, so that many of them cannot keep others out.
#[derive(Debug, Clone)]
pub(crate) struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    pub(crate) fn give_up(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Names the request, bounds it, and writes its refusal out.
pub(crate) async fn edge(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path: String = request
        .uri()
        .path()
        .chars()
        .take(INSTANCE_LEN_MAX)
        .collect();
    let started = Instant::now();
    request.extensions_mut().insert(Started(started));
    let answer = match check_head(request.headers()) {
        Ok(()) => bounded(&app, request, next).await,
        Err(refused) => refused.into_response(),
    };
    let mut response = written_out(answer, &path, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // Answers hold secrets and rights: no cache in between may keep any.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tracing::debug!(
        %method, path, request_id = id, status = response.status().as_u16(),
        millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}

/// A path that no route has.
pub(crate) async fn no_route() -> ApiError {
    std::future::ready(ApiError::not_found()).await
}

/// A method that the path does not have.
pub(crate) async fn no_method(method: Method) -> ApiError {
    let detail = format!("this path does not take {method}");
    std::future::ready(ApiError::new(ErrorCode::MethodNotAllowed, detail)).await
}

async fn bounded(app: &App, mut request: Request, next: Next) -> Response {
    let Ok(permit) = app.requests.clone().try_acquire_owned() else {
        return ApiError::new(ErrorCode::Overloaded, "too many requests at once").into_response();
    };
    let slot = Slot(Arc::new(Mutex::new(Some(permit))));
    request.extensions_mut().insert(slot.clone());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let route = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if reads {
        match tokio::time::timeout(READ_LIMIT, route).await {
            Ok(outcome) => outcome,
            Err(_) => return ApiError::unavailable().into_response(),
        }
    } else {
        route.await
    };
    slot.give_up();
    // The panic hook has logged it.
    outcome.unwrap_or_else(|_| ApiError::internal().into_response())
}

/// What no route wants to see.
fn check_head(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .nth(1)
        .is_some()
    {
        return Err(ApiError::malformed(
            "`Authorization` is given more than once",
        ));
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        let detail = "bodies are taken uncompressed only";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail));
    }
    Ok(())
}

/// The caller's own id where it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |text: &&str| {
        (1..=REQUEST_ID_LEN_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(harmless);
    given.map_or_else(
        || {
            format!(
                "req_{}",
                encode_hex(&random_bytes::<16>().unwrap_or_default())
            )
        },
        ToOwned::to_owned,
    )
}

/// A response that carries a refusal gets its body.
fn written_out(mut response: Response, path: &str, id: &str) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let refusal = error.refusal();
    let problem = Problem {
        kind: format!("/errors/{}", refusal.code.as_str()),
        title: refusal.code.title().to_owned(),
        status: refusal.code.status(),
        detail: refusal.detail.clone(),
        instance: path.to_owned(),
        code: refusal.code,
        request_id: id.to_owned(),
        errors: refusal.errors.clone(),
        current_etag: refusal.current_etag.clone(),
        missing_scope: refusal.missing_scope.clone(),
    };
    // Serialising it cannot fail: no map has keys that are not text.
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let mut written = (refusal.status(), body).into_response();
    let headers = written.headers_mut();
    // What the route added, such as `Allow`, stays; the length is the new body's.
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if refusal.code == ErrorCode::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    written
}
