//! Strict bodies, parameters and paths: what does not fit is refused with its place.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use serde::de::DeserializeOwned;
use tessera_api_types::ErrorCode;
use tessera_api_types::headers::MERGE_PATCH_JSON;

use crate::app::App;
use crate::error::ApiError;
use crate::json::read_json;

/// Longest body, in bytes. The largest that a request needs is a tenant with 32 labels.
pub(crate) const BODY_LEN_MAX: usize = 64 * 1024;
/// Longest part of a caller's text that a refusal repeats, in characters.
const DETAIL_LEN_MAX: usize = 200;
/// What axum puts before the name of a wrong parameter.
const AXUM_SAYS: &str = "Failed to deserialize query string: ";
/// How long a body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// A JSON body, and the bytes that it came as.
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) bytes: Bytes,
}

/// No body, or an empty object: for actions that take no arguments.
pub(crate) struct NoBody {
    pub(crate) bytes: Bytes,
}

/// The variable parts of the path.
pub(crate) struct At<T>(pub(crate) T);

/// The query's parameters.
pub(crate) struct Params<T>(pub(crate) T);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let bytes = read_body(request, BODY_LEN_MAX).await?;
        Ok(Self {
            value: read_json(&bytes)?,
            bytes,
        })
    }
}

impl FromRequest<Arc<App>> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, ApiError> {
        let typed = check_content_type(request.headers());
        let bytes = read_body(request, BODY_LEN_MAX).await?;
        if !bytes.is_empty() {
            typed?;
            let Empty {} = read_json(&bytes)?;
        }
        Ok(Self { bytes })
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for At<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, app).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(_) => Err(ApiError::malformed("the path is not percent-encoded UTF-8")),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let read = Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params));
        std::future::ready(read).await.map_err(|error| {
            let text = error.body_text();
            let text = text.strip_prefix(AXUM_SAYS).unwrap_or(&text);
            let detail = text.chars().take(DETAIL_LEN_MAX).collect::<String>();
            ApiError::new(ErrorCode::InvalidParameter, detail)
        })
    }
}

/// Reads a body of at most `len_max` bytes.
pub(crate) async fn read_body(request: Request, len_max: usize) -> Result<Bytes, ApiError> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        let detail = format!("a body of at most {len_max} bytes is taken here");
        ApiError::new(ErrorCode::BodyTooLarge, detail)
    };
    if announced.is_some_and(|len| usize::try_from(len).map_or(true, |len| len > len_max)) {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(request.into_body(), len_max + 1);
    let bytes = tokio::time::timeout(BODY_LIMIT, reading)
        .await
        .map_err(|_| ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time"))?;
    match bytes {
        Ok(bytes) if bytes.len() <= len_max => Ok(bytes),
        Ok(_) => Err(too_large()),
        Err(error) if is_over_limit(&error) => Err(too_large()),
        Err(_) => Err(ApiError::malformed("the body broke off")),
    }
}

/// axum names this error only as the source of another.
fn is_over_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.to_string().contains("length limit"))
}

/// The value of a header that may stand once.
pub(crate) fn single<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = parts.headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(ApiError::malformed(format!(
            "`{name}` is given more than once"
        )));
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| ApiError::malformed(format!("`{name}` is not visible ASCII")))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |detail| Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail));
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(given), None) = (types.next(), types.next()) else {
        return refused("`Content-Type: application/json` is needed, once");
    };
    let given = given.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = given.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if media_type != "application/json" && media_type != MERGE_PATCH_JSON {
        return refused("only JSON is taken: `Content-Type: application/json`");
    }
    if parts.any(|part| !matches!(part, "" | "charset=utf-8" | "charset=\"utf-8\"")) {
        return refused("JSON is taken in UTF-8 only");
    }
    Ok(())
}
