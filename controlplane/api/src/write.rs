//! One request that writes: authority, idempotency, transaction, waiting for the nodes.
//!
//! ```text
//! caller ─> tenant found ─> scope ─> key claimed ─┬─> effect ─> answer stored ─> commit ─> wait
//!                                                 └─> stored answer ─────────────────────> wait
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tessera_api_types::headers::{CONFIG_REVISION, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, etag};
use tessera_api_types::{Applied, ErrorCode, WriteAccepted};
use tessera_domain::idempotency::fingerprint;
use tessera_domain::{IdempotencyKey, IfMatch, Scope};
use tessera_store::{Claim, StoredAnswer, TenantRow, Tx, View};
use tessera_tenancy::{Revision, SecretDigest};
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::app::App;
use crate::caller::{Caller, started};
use crate::edge::Slot;
use crate::error::ApiError;
use crate::extract::Params;
use crate::random::random_bytes;
use crate::read::visible_tenant;

/// How long the database may take for one request, from its coming in.
pub const DATABASE_LIMIT: Duration = Duration::from_millis(1_900);
/// How long `?wait=applied` waits for the nodes.
pub const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// How a write is asked for.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WriteParams {
    /// `applied` waits up to five seconds until every live node has applied the write; 202 if one
    /// has not.
    #[param(value_type = Option<String>, inline)]
    pub(crate) wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wait {
    Applied,
}

/// A request that writes, its caller known.
pub(crate) struct Write {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    if_match: Option<IfMatch>,
    repeat: Option<IdempotencyKey>,
    wait: Option<Wait>,
    method: Method,
    target: String,
    deadline: Instant,
    slot: Option<Slot>,
}

/// What a write came to: what its answer is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    status: u16,
    /// A JSON object; empty for an answer without a body.
    body: String,
    location: Option<String>,
    etag: Option<String>,
    config_revision: u64,
}

/// What is stored under an idempotency key.
#[derive(Serialize, Deserialize)]
enum Answer {
    Done(Outcome),
    Refused(ApiError),
}

/// How a write ended.
struct Settled {
    result: Result<Outcome, ApiError>,
    /// Whether it ended so before, and this is the stored answer.
    replayed: bool,
}

/// What the caller says it has read.
#[derive(Debug, Clone)]
pub(crate) struct Precondition(Option<IfMatch>);

/// A key of the caller's that makes this request repeatable.
struct Repeat<'a> {
    key: &'a IdempotencyKey,
    lookup: SecretDigest,
    fingerprint: SecretDigest,
}

impl Outcome {
    /// 200 with a resource.
    pub(crate) fn ok<T: Serialize>(revision: u64, resource: &T, config: Revision) -> Self {
        Self::with_body(StatusCode::OK, Some(revision), resource, config)
    }

    /// 201 with a resource that now stands at `location`.
    pub(crate) fn created<T: Serialize>(
        location: String,
        revision: u64,
        resource: &T,
        config: Revision,
    ) -> Self {
        let outcome = Self::with_body(StatusCode::CREATED, Some(revision), resource, config);
        Self {
            location: Some(location),
            ..outcome
        }
    }

    /// 204: it is gone.
    pub(crate) const fn gone(config: Revision) -> Self {
        Self {
            status: StatusCode::NO_CONTENT.as_u16(),
            body: String::new(),
            location: None,
            etag: None,
            config_revision: config.0,
        }
    }

    fn with_body<T: Serialize>(
        status: StatusCode,
        revision: Option<u64>,
        resource: &T,
        config: Revision,
    ) -> Self {
        Self {
            status: status.as_u16(),
            // Serialising our own shapes cannot fail: no map has keys that are not text.
            body: serde_json::to_string(resource).unwrap_or_default(),
            location: None,
            etag: revision.map(etag),
            config_revision: config.0,
        }
    }
}

impl FromRequestParts<Arc<App>> for Write {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let Params(WriteParams { wait }) = Params::from_request_parts(parts, app).await?;
        Ok(Self {
            app: app.clone(),
            caller,
            if_match: if_match(parts)?,
            repeat: idempotency_key(parts)?,
            wait,
            method: parts.method.clone(),
            target: parts.uri.to_string(),
            deadline: started(parts) + DATABASE_LIMIT,
            slot: parts.extensions.get().cloned(),
        })
    }
}

impl Write {
    /// What the caller says it has read.
    pub(crate) fn precondition(&self) -> Precondition {
        Precondition(self.if_match.clone())
    }

    /// Writes outside any tenant.
    pub(crate) async fn on_platform<F>(
        self,
        scope: Scope,
        body: &[u8],
        effect: F,
    ) -> Result<Response, ApiError>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Outcome, ApiError>> + Send,
    {
        self.caller.require(scope)?;
        let view = self.caller.view();
        let writing = async {
            let mut tx = self.app.store.begin(view).await?;
            let repeat = self.repeat(body);
            if let Some(earlier) = self.claim(&mut tx, repeat.as_ref()).await? {
                return Ok(earlier);
            }
            let result = effect(&mut tx).await;
            self.settle(tx, view, repeat.as_ref(), result).await
        };
        let settled = self.within_limit(writing).await?;
        Ok(self.answer(settled).await)
    }

    /// Writes inside the tenant that the path names, which the caller may see. The tenant is held
    /// until the transaction ends.
    pub(crate) async fn in_tenant<F>(
        self,
        scopes: &[Scope],
        tenant: &str,
        body: &[u8],
        effect: F,
    ) -> Result<Response, ApiError>
    where
        F: for<'t> FnOnce(&'t mut Tx, TenantRow) -> BoxFuture<'t, Result<Outcome, ApiError>> + Send,
    {
        let writing = async {
            let mut tx = self.app.store.begin(self.caller.view()).await?;
            let tenant = visible_tenant(&mut tx, tenant).await?.id;
            for scope in scopes {
                self.caller.require(*scope)?;
            }
            let view = View::Tenant(tenant);
            tx.look(view).await?;
            let repeat = self.repeat(body);
            if let Some(earlier) = self.claim(&mut tx, repeat.as_ref()).await? {
                return Ok(earlier);
            }
            let result = match tx.lock_tenant(tenant).await? {
                Some(tenant) => effect(&mut tx, tenant).await,
                None => Err(ApiError::not_found()),
            };
            self.settle(tx, view, repeat.as_ref(), result).await
        };
        let settled = self.within_limit(writing).await?;
        Ok(self.answer(settled).await)
    }

    fn repeat(&self, body: &[u8]) -> Option<Repeat<'_>> {
        let (key, server) = (self.repeat.as_ref()?, &self.app.server_key);
        Some(Repeat {
            key,
            lookup: key.lookup(server, self.caller.key),
            fingerprint: fingerprint(server, self.method.as_str(), &self.target, body),
        })
    }

    /// Holds the key, or finds what the request came to before.
    async fn claim(
        &self,
        tx: &mut Tx,
        repeat: Option<&Repeat<'_>>,
    ) -> Result<Option<Settled>, ApiError> {
        let Some(repeat) = repeat else {
            return Ok(None);
        };
        match tx.claim_answer(self.caller.key, &repeat.lookup).await? {
            Claim::Fresh => Ok(None),
            Claim::Running => Err(ApiError::new(
                ErrorCode::IdempotencyInProgress,
                "the first request with this key is still running",
            )),
            Claim::Answered(stored) if stored.fingerprint.matches(&repeat.fingerprint) => {
                self.opened(repeat, &stored).map(Some)
            }
            Claim::Answered(_) => Err(reused()),
        }
    }

    fn opened(&self, repeat: &Repeat<'_>, stored: &StoredAnswer) -> Result<Settled, ApiError> {
        let opened = repeat
            .key
            .open(&self.app.server_key, self.caller.key, &stored.sealed);
        let answer = opened.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match answer {
            Some(Answer::Done(outcome)) => Ok(Settled {
                result: Ok(outcome),
                replayed: true,
            }),
            Some(Answer::Refused(error)) => Ok(Settled {
                result: Err(error),
                replayed: true,
            }),
            None => {
                tracing::error!("a stored answer does not open");
                Err(ApiError::internal())
            }
        }
    }

    /// Makes an effect so, together with its answer; or stores a final refusal by itself.
    async fn settle(
        &self,
        mut tx: Tx,
        view: View,
        repeat: Option<&Repeat<'_>>,
        result: Result<Outcome, ApiError>,
    ) -> Result<Settled, ApiError> {
        match result {
            Ok(outcome) => {
                self.store(&mut tx, view, repeat, Answer::Done(outcome.clone()))
                    .await?;
                tx.commit().await?;
                self.app.hub.committed(Revision(outcome.config_revision));
                Ok(Settled {
                    result: Ok(outcome),
                    replayed: false,
                })
            }
            Err(error) => {
                tx.rollback().await?;
                if repeat.is_some() && error.is_final() {
                    let mut tx = self.app.store.begin(view).await?;
                    if self.claim(&mut tx, repeat).await?.is_none() {
                        self.store(&mut tx, view, repeat, Answer::Refused(error.clone()))
                            .await?;
                        tx.commit().await?;
                    }
                }
                Err(error)
            }
        }
    }

    async fn store(
        &self,
        tx: &mut Tx,
        view: View,
        repeat: Option<&Repeat<'_>>,
        answer: Answer,
    ) -> Result<(), ApiError> {
        let Some(repeat) = repeat else {
            return Ok(());
        };
        let tenant = match view {
            View::Tenant(tenant) => Some(tenant),
            View::Platform | View::Key(_) => None,
        };
        // Serialising our own shapes cannot fail: no map has keys that are not text.
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        let (server, salt) = (&self.app.server_key, random_bytes()?);
        let sealed = repeat.key.seal(server, self.caller.key, salt, &text);
        let stored = StoredAnswer {
            fingerprint: repeat.fingerprint,
            sealed,
        };
        if tx
            .store_answer(self.caller.key, &repeat.lookup, tenant, &stored)
            .await?
        {
            Ok(())
        } else {
            Err(reused())
        }
    }

    async fn within_limit<T>(
        &self,
        writing: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let limited = tokio::time::timeout_at(self.deadline, writing).await;
        limited.unwrap_or_else(|_| Err(ApiError::unavailable()))
    }

    async fn answer(&self, settled: Settled) -> Response {
        let mut response = match settled.result {
            Ok(outcome) => {
                let applied = self.applied(outcome.config_revision).await;
                outcome.into_answer(applied)
            }
            Err(error) => error.into_response(),
        };
        if settled.replayed {
            let name = HeaderName::from_static(IDEMPOTENT_REPLAYED);
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static("true"));
        }
        response
    }

    async fn applied(&self, revision: u64) -> Option<Applied> {
        let Wait::Applied = self.wait?;
        if let Some(slot) = &self.slot {
            slot.give_up();
        }
        let count = self
            .app
            .hub
            .wait_applied(Revision(revision), WAIT_LIMIT)
            .await;
        Some(Applied {
            nodes: count.nodes,
            of: count.of,
        })
    }
}

impl Precondition {
    /// Refuses if the resource is not what the caller has read. Saying nothing is allowed.
    pub(crate) fn check(&self, revision: u64) -> Result<(), ApiError> {
        match &self.0 {
            Some(if_match) if !if_match.matches(revision) => Err(ApiError::stale(revision)),
            Some(_) | None => Ok(()),
        }
    }

    /// The same, where saying nothing is not allowed.
    pub(crate) fn require(&self, revision: u64) -> Result<(), ApiError> {
        if self.0.is_none() {
            let detail = format!(
                "send `If-Match: {}` if that is what you have read",
                etag(revision)
            );
            return Err(ApiError::new(ErrorCode::PreconditionRequired, detail));
        }
        self.check(revision)
    }
}

impl Outcome {
    fn into_answer(self, applied: Option<Applied>) -> Response {
        let behind = applied.is_some_and(|applied| applied.nodes < applied.of);
        let status = if behind {
            StatusCode::ACCEPTED.as_u16()
        } else {
            self.status
        };
        let body = match applied {
            None => self.body,
            Some(applied) if self.body.is_empty() && behind => {
                let accepted = WriteAccepted {
                    config_revision: self.config_revision,
                    applied,
                };
                serde_json::to_string(&accepted).unwrap_or_default()
            }
            Some(_) if self.body.is_empty() => self.body,
            Some(applied) => with_member(self.body, "applied", &applied),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let has_body = !body.is_empty();
        let mut response = if has_body {
            (status, body).into_response()
        } else {
            status.into_response()
        };
        let headers = response.headers_mut();
        if has_body {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        headers.insert(
            HeaderName::from_static(CONFIG_REVISION),
            self.config_revision.into(),
        );
        for (name, value) in [(header::LOCATION, self.location), (header::ETAG, self.etag)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A JSON object with one more member, its own left in their order.
fn with_member<T: Serialize>(mut object: String, name: &str, value: &T) -> String {
    debug_assert!(
        object.starts_with("{\"") && object.ends_with('}'),
        "an object that is not empty"
    );
    object.pop();
    let value = serde_json::to_string(value).unwrap_or_default();
    format!("{object},\"{name}\":{value}}}")
}

fn reused() -> ApiError {
    let detail = "this key came with another request before";
    ApiError::new(ErrorCode::IdempotencyKeyReused, detail)
}

fn if_match(parts: &Parts) -> Result<Option<IfMatch>, ApiError> {
    let Some(text) = single(parts, &header::IF_MATCH)? else {
        return Ok(None);
    };
    IfMatch::parse(text)
        .map(Some)
        .map_err(|error| ApiError::malformed(error.to_string()))
}

/// POST is what repeats: the other methods may be repeated as they are.
fn idempotency_key(parts: &Parts) -> Result<Option<IdempotencyKey>, ApiError> {
    if parts.method != Method::POST {
        return Ok(None);
    }
    let Some(text) = single(parts, &HeaderName::from_static(IDEMPOTENCY_KEY))? else {
        return Ok(None);
    };
    IdempotencyKey::parse(text)
        .map(Some)
        .map_err(|error| ApiError::malformed(error.to_string()))
}

/// The value of a header that may stand once.
fn single<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: &str) -> Outcome {
        Outcome {
            status: if body.is_empty() { 204 } else { 201 },
            body: body.to_owned(),
            location: None,
            etag: Some(etag(3)),
            config_revision: 9,
        }
    }

    #[test]
    fn an_object_keeps_its_order_when_it_grows() {
        let applied = Applied { nodes: 2, of: 3 };
        let grown = with_member(r#"{"id":1,"a":2}"#.into(), "applied", &applied);
        assert_eq!(grown, r#"{"id":1,"a":2,"applied":{"nodes":2,"of":3}}"#);
    }

    #[test]
    fn a_write_that_some_node_lacks_is_accepted() {
        let status = |body, nodes| {
            let response = outcome(body).into_answer(Some(Applied { nodes, of: 3 }));
            response.status().as_u16()
        };
        assert_eq!(
            (status(r#"{"a":1}"#, 3), status(r#"{"a":1}"#, 2)),
            (201, 202)
        );
        assert_eq!((status("", 3), status("", 2)), (204, 202));
    }

    #[test]
    fn a_precondition_is_optional_or_required() {
        let none = Precondition(None);
        assert!(none.check(1).is_ok());
        assert_eq!(
            none.require(1).unwrap_err().refusal().code,
            ErrorCode::PreconditionRequired
        );
        let read = Precondition(Some(IfMatch::parse("\"r1\"").unwrap()));
        assert!(read.require(1).is_ok());
        assert_eq!(
            read.check(2).unwrap_err().refusal().code,
            ErrorCode::StaleRevision
        );
    }
}
