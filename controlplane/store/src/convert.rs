//! Between the types of the product and those of Postgres.

use tessera_tenancy::{Revision, TimelineId};

use crate::error::StoreError;

/// The 16 bytes of an id.
pub(crate) fn id_bytes(bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("id"))
}

/// The 32 bytes of a digest.
pub(crate) fn digest_bytes(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("digest"))
}

/// A timeline.
pub(crate) fn timeline(bytes: &[u8]) -> Result<TimelineId, StoreError> {
    id_bytes(bytes).map(TimelineId::from_bytes)
}

/// A number that is never negative.
pub(crate) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("number"))
}

/// A number for a `bigint`. Revisions, limits and incarnations stay below 2^63.
pub(crate) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Corrupt("number over 2^63"))
}

/// A revision.
pub(crate) fn revision(number: i64) -> Result<Revision, StoreError> {
    unsigned(number).map(Revision)
}

/// A text that was well formed when it was written.
pub(crate) fn parsed<T: std::str::FromStr>(
    text: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(what))
}

/// JSON that was well formed when it was written.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    value: serde_json::Value,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|_| StoreError::Corrupt(what))
}

/// JSON of types whose serialising cannot fail: no map of theirs has keys that are not text.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(value).map_err(|_| StoreError::Corrupt("value without a JSON form"))
}
