//! What the caller says it has read: `If-Match`.

use axum::http::header;
use axum::http::request::Parts;
use tessera_api_types::ErrorCode;
use tessera_api_types::headers::etag;
use tessera_domain::IfMatch;

use crate::error::ApiError;
use crate::extract::single;

/// What the caller says it has read.
#[derive(Debug, Clone)]
pub(crate) struct Precondition(Option<IfMatch>);

impl Precondition {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ApiError> {
        let Some(text) = single(parts, &header::IF_MATCH)? else {
            return Ok(Self(None));
        };
        let if_match = IfMatch::parse(text);
        if_match
            .map(|if_match| Self(Some(if_match)))
            .map_err(|error| ApiError::malformed(error.to_string()))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

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
