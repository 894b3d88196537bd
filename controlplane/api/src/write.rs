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
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tessera_api_types::headers::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};
use tessera_api_types::{Applied, ErrorCode};
use tessera_domain::idempotency::fingerprint;
use tessera_domain::{IdempotencyKey, Scope};
use tessera_store::{Claim, StoredAnswer, TenantRow, Tx, View};
use tessera_tenancy::{Revision, SecretDigest};
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::app::App;
use crate::caller::{Caller, started};
use crate::edge::Slot;
use crate::error::ApiError;
use crate::extract::{Params, single};
use crate::outcome::Outcome;
use crate::precondition::Precondition;
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
    precondition: Precondition,
    repeat: Option<IdempotencyKey>,
    wait: Option<Wait>,
    method: Method,
    target: String,
    deadline: Instant,
    slot: Option<Slot>,
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

/// A key of the caller's that makes this request repeatable.
struct Repeat<'a> {
    key: &'a IdempotencyKey,
    lookup: SecretDigest,
    fingerprint: SecretDigest,
}

impl FromRequestParts<Arc<App>> for Write {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let Params(WriteParams { wait }) = Params::from_request_parts(parts, app).await?;
        Ok(Self {
            app: app.clone(),
            caller,
            precondition: Precondition::read(parts)?,
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
        self.precondition.clone()
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

fn reused() -> ApiError {
    let detail = "this key came with another request before";
    ApiError::new(ErrorCode::IdempotencyKeyReused, detail)
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
