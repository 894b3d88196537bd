//! Refusals: `application/problem+json` (RFC 9457) with a stable code.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A page about the code, relative to the API's address.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What is wrong with this very request, and what would be right.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// The stable word for programs.
    pub code: ErrorCode,
    /// Name it when you ask for help.
    pub request_id: String,
    /// Each wrong member of the body; empty for other refusals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// With `stale_revision`: the `ETag` that is current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_etag: Option<String>,
    /// With `forbidden`: the scope that the key lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_scope: Option<String>,
}

/// One wrong member of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Where it stands (RFC 6901). The empty text is the whole body.
    pub pointer: String,
    /// A stable word.
    pub code: String,
    /// What is wrong with it.
    pub detail: String,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal, $advice:literal;)*) => {
        /// The stable word of a refusal. More may come inside v1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[doc = $advice] #[serde(rename = $code)] $name,)*
            /// A code that this version of the library does not know. The server never sends it.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl ErrorCode {
            /// Every code that the server sends.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word as it stands in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* Self::Unknown => "unknown" }
            }

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* Self::Unknown => 500 }
            }

            /// The code in words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* Self::Unknown => "Unknown" }
            }

            /// What to do about it: one or two sentences.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* Self::Unknown => "Update the library." }
            }
        }
    };
}

error_codes! {
    MalformedRequest = "malformed_request", 400, "Malformed request",
        "A header or the path is not well formed; the detail names it.";
    MalformedJson = "malformed_json", 400, "Malformed JSON",
        "The body is not one JSON text in UTF-8 without repeated keys.";
    InvalidParameter = "invalid_parameter", 400, "Invalid parameter",
        "A query parameter is unknown, repeated or out of its range.";
    InvalidCursor = "invalid_cursor", 400, "Invalid cursor",
        "Start the list again without a cursor: this one is altered, too old, or of another list.";
    Unauthenticated = "unauthenticated", 401, "Unauthenticated",
        "Send `Authorization: Bearer tsk_…` with a key that exists.";
    Forbidden = "forbidden", 403, "Forbidden",
        "The key's role lacks the scope that `missing_scope` names.";
    QuotaExceeded = "quota_exceeded", 403, "Quota exceeded",
        "There are as many of these as may be. Delete some, or ask for more.";
    NotFound = "not_found", 404, "Not found",
        "Nothing that this key may see has that name.";
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed",
        "The path exists, but not with this method; see the `Allow` header.";
    RequestTimeout = "request_timeout", 408, "Request timeout",
        "The request did not arrive whole in time.";
    SlugTaken = "slug_taken", 409, "Slug taken",
        "Slugs are unique in the installation: choose another.";
    UsernameTaken = "username_taken", 409, "User name taken",
        "User names are unique in their tenant: choose another, or rotate the existing credential.";
    IdempotencyInProgress = "idempotency_in_progress", 409, "Still running",
        "The first request with this `Idempotency-Key` is still running: repeat it in a second.";
    HistoryLost = "history_lost", 409, "History lost",
        "A node has applied revisions that this database does not have: it was set back. Begin a new \
         timeline, knowing what is lost.";
    StaleRevision = "stale_revision", 412, "Stale revision",
        "It changed since you read it. Read it again and repeat with the `ETag` that is current.";
    BodyTooLarge = "body_too_large", 413, "Body too large",
        "No request of this API needs so large a body.";
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported media type",
        "Send `Content-Type: application/json` in UTF-8, uncompressed.";
    ValidationFailed = "validation_failed", 422, "Validation failed",
        "`errors` names each wrong member by its pointer.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "Idempotency key reused",
        "This `Idempotency-Key` came with another request before: take a new one.";
    PreconditionRequired = "precondition_required", 428, "Precondition required",
        "Send `If-Match` with the `ETag` that you read, so that nobody's edit is lost.";
    Internal = "internal", 500, "Internal error",
        "A defect on our side. Repeat the request, and name its `request_id` to us if it stays.";
    StoreUnavailable = "store_unavailable", 503, "Store unavailable",
        "The database does not answer; devices go on. Repeat after `Retry-After`.";
    Overloaded = "overloaded", 503, "Overloaded",
        "Too many requests at once. Repeat after `Retry-After`.";
}

// A text rather than an enumeration, since generated readers refuse a value that they do not know,
// and more may come.
impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        let known: Vec<_> = Self::ALL
            .iter()
            .map(|code| format!("`{}`", code.as_str()))
            .collect();
        let description = format!(
            "The stable word of a refusal. More may come inside v1. Known: {}.",
            known.join(", ")
        );
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(description));
        RefOr::T(text.into())
    }
}

impl ToSchema for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_server_is_tolerated() {
        let code: ErrorCode = serde_json::from_str(r#""from_the_future""#).unwrap();
        assert_eq!(code, ErrorCode::Unknown);
    }

    #[test]
    fn codes_read_back_and_fit_their_status() {
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{}\"", code.as_str()));
            assert_eq!(&serde_json::from_str::<ErrorCode>(&text).unwrap(), code);
            assert!((400..600).contains(&code.status()), "{text}");
        }
    }
}
