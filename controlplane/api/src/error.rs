//! One refusal, from wherever it comes. The edge writes it out.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tessera_api_types::headers::etag;
use tessera_api_types::{ErrorCode, FieldError};
use tessera_domain::{Scope, Violation};
use tessera_store::StoreError;

use crate::random::NoRandomness;

/// When a refused caller may come again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A refusal, without what only the edge knows: the path and the request's id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ApiError(Box<Refusal>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    pub(crate) current_etag: Option<String>,
    pub(crate) missing_scope: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            current_etag: None,
            missing_scope: None,
        }))
    }

    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthenticated, detail)
    }

    /// The same for what does not exist and for what the caller may not see.
    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "there is no such resource")
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::MalformedRequest, detail)
    }

    pub(crate) fn forbidden(scope: Scope) -> Self {
        let mut error = Self::new(
            ErrorCode::Forbidden,
            format!("this key's role lacks the scope {scope}"),
        );
        error.0.missing_scope = Some(scope.to_string());
        error
    }

    pub(crate) fn stale(current: u64) -> Self {
        let detail = format!("you did not edit r{current}, which is current");
        let mut error = Self::new(ErrorCode::StaleRevision, detail);
        error.0.current_etag = Some(etag(current));
        error
    }

    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        let count = violations.len();
        let plural = if count == 1 {
            "member is"
        } else {
            "members are"
        };
        let mut error = Self::new(
            ErrorCode::ValidationFailed,
            format!("{count} {plural} not as they must be"),
        );
        error.0.errors = violations.into_iter().map(field_error).collect();
        error
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(
            ErrorCode::StoreUnavailable,
            "the database does not answer; devices go on",
        )
    }

    pub(crate) fn internal() -> Self {
        Self::new(ErrorCode::Internal, "a defect on our side")
    }

    pub(crate) fn refusal(&self) -> &Refusal {
        &self.0
    }

    /// Whether the same request would be refused the same way: then it may be stored.
    pub(crate) fn is_final(&self) -> bool {
        self.0.code.status() < 500
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) const fn retry_after(&self) -> Option<u32> {
        match self.code.status() {
            503 => Some(RETRY_AFTER_SECONDS),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(source) => {
                tracing::warn!(error = %source, "the database does not answer");
                Self::unavailable()
            }
            StoreError::Defect(_) | StoreError::Corrupt(_) => {
                tracing::error!(%error, "a statement that should pass did not");
                Self::internal()
            }
        }
    }
}

impl From<NoRandomness> for ApiError {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "no secret can be generated");
        Self::internal()
    }
}

impl From<Violation> for ApiError {
    fn from(violation: Violation) -> Self {
        Self::invalid(vec![violation])
    }
}

fn field_error(violation: Violation) -> FieldError {
    FieldError {
        pointer: violation.pointer,
        code: violation.code.to_owned(),
        detail: violation.detail,
    }
}
