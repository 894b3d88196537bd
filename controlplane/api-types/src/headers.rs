//! Names of headers and parameters that the API gives a meaning to.

/// Request: makes a POST safe to repeat. 1 to 255 visible ASCII characters, kept for 24 hours.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Answer: `true` if it is the stored answer to an earlier request with the same key.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// Both ways: names one request in logs and problems.
pub const REQUEST_ID: &str = "x-request-id";
/// Answer to a write: the number that `config_revision` holds where there is a body.
pub const CONFIG_REVISION: &str = "tessera-config-revision";
/// Requests of nodes: the frame key's signature.
pub const SIGNATURE: &str = "x-tessera-signature";
/// The media type of every refusal (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The media type of a PATCH (RFC 7396). `application/json` is taken as well.
pub const MERGE_PATCH_JSON: &str = "application/merge-patch+json";

/// Items of a list unless `limit` says otherwise.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;
/// The largest `limit` of a list.
pub const PAGE_LIMIT_MAX: u32 = 500;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;

/// The `ETag` of a resource at a revision: `"r42"`, with its quotation marks.
pub fn etag(revision: u64) -> String {
    format!("\"r{revision}\"")
}
