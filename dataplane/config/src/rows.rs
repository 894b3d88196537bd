//! Values of the rows. Persisted: a new form needs a new [`FORMAT`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tessera_tenancy::{
    CredentialId, CredentialRecord, Revision, TenantId, TenantRecord, TimelineId,
};

use crate::disk::DiskError;
use crate::keys::Slot;

/// The form of keys and values that this version writes. A disk of another is refused.
pub(crate) const FORMAT: u32 = 1;

/// How far the configuration is, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) timeline: TimelineId,
    pub(crate) revision: Revision,
    pub(crate) slot: Slot,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPosition {
    format: u32,
    timeline: TimelineId,
    revision: Revision,
    slot: u8,
}

/// Enough of any version's position to see that it is another version's.
#[derive(Deserialize)]
struct StoredFormat {
    format: u32,
}

/// Why a position cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PositionError {
    OtherFormat(u32),
    Damaged,
}

pub(crate) fn encode_position(position: &Position) -> Vec<u8> {
    encode(&StoredPosition {
        format: FORMAT,
        timeline: position.timeline,
        revision: position.revision,
        slot: position.slot.byte(),
    })
}

pub(crate) fn decode_position(value: &[u8]) -> Result<Position, PositionError> {
    let StoredFormat { format } =
        serde_json::from_slice(value).map_err(|_not_json| PositionError::Damaged)?;
    if format != FORMAT {
        return Err(PositionError::OtherFormat(format));
    }
    let stored: StoredPosition =
        serde_json::from_slice(value).map_err(|_not_a_position| PositionError::Damaged)?;
    Ok(Position {
        timeline: stored.timeline,
        revision: stored.revision,
        slot: Slot::from_byte(stored.slot).ok_or(PositionError::Damaged)?,
    })
}

pub(crate) fn encode_tenant(record: &TenantRecord) -> Vec<u8> {
    encode(record)
}

pub(crate) fn decode_tenant(value: &[u8]) -> Result<TenantRecord, DiskError> {
    decode("tenant", value)
}

pub(crate) fn encode_credential(record: &CredentialRecord) -> Vec<u8> {
    encode(record)
}

pub(crate) fn decode_credential(value: &[u8]) -> Result<CredentialRecord, DiskError> {
    decode("credential", value)
}

/// A credential under its user name: everything that a lookup needs, in one read.
pub(crate) fn encode_named(id: CredentialId, record: &[u8]) -> Vec<u8> {
    [id.as_bytes().as_slice(), record].concat()
}

pub(crate) fn decode_named(value: &[u8]) -> Result<(CredentialId, CredentialRecord), DiskError> {
    let (id, record) = value
        .split_first_chunk()
        .ok_or_else(|| damaged("user name"))?;
    Ok((CredentialId::from_bytes(*id), decode_credential(record)?))
}

pub(crate) fn encode_owner(tenant: TenantId, id: CredentialId) -> Vec<u8> {
    [*tenant.as_bytes(), *id.as_bytes()].concat()
}

pub(crate) fn decode_owner(value: &[u8]) -> Result<(TenantId, CredentialId), DiskError> {
    let (tenant, id) = value.split_first_chunk().ok_or_else(|| damaged("key id"))?;
    let id = id.try_into().map_err(|_length| damaged("key id"))?;
    Ok((TenantId::from_bytes(*tenant), CredentialId::from_bytes(id)))
}

pub(crate) fn decode_slug_owner(value: &[u8]) -> Result<TenantId, DiskError> {
    let bytes = value.try_into().map_err(|_length| damaged("slug"))?;
    Ok(TenantId::from_bytes(bytes))
}

/// A row that this crate wrote and cannot read again.
pub(crate) fn damaged(row: &str) -> DiskError {
    DiskError(format!("a {row} row is damaged"))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Serialising these types cannot fail: no map has keys that are not text.
    serde_json::to_vec(value).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(row: &str, value: &[u8]) -> Result<T, DiskError> {
    serde_json::from_slice(value).map_err(|_not_json| damaged(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Vec<u8>) -> String {
        String::from_utf8(value).unwrap()
    }

    #[test]
    fn the_stored_position_is_golden() {
        let position = Position {
            timeline: TimelineId::from_bytes([0x11; 16]),
            revision: Revision(7),
            slot: Slot::Right,
        };
        let stored = encode_position(&position);
        assert_eq!(decode_position(&stored), Ok(position));
        assert_eq!(
            text(stored),
            r#"{"format":1,"timeline":"11111111111111111111111111111111","revision":7,"slot":2}"#
        );
    }

    #[test]
    fn a_position_of_another_format_is_named_and_a_damaged_one_told() {
        let newer = br#"{"format":2,"something":"else"}"#;
        assert_eq!(decode_position(newer), Err(PositionError::OtherFormat(2)));
        for damaged in [&b""[..], b"{}", br#"{"format":1}"#] {
            assert_eq!(decode_position(damaged), Err(PositionError::Damaged));
        }
    }

    #[test]
    fn a_stored_credential_is_golden() {
        let record = CredentialRecord {
            username: "s-7".parse().unwrap(),
            secrets: vec![tessera_tenancy::CredentialSecret {
                key_id: "01234567".parse().unwrap(),
                digest: tessera_tenancy::SecretDigest::from_bytes([0xab; 32]),
            }],
            policy: tessera_tenancy::Policy::AllowAll,
        };
        let stored = encode_credential(&record);
        let golden = format!(
            r#"{{"username":"s-7","secrets":[{{"key_id":"01234567","digest":"{}"}}],"policy":"allow_all"}}"#,
            "ab".repeat(32)
        );
        assert_eq!(text(stored.clone()), golden);
        let id = CredentialId::from_bytes([5; 16]);
        assert_eq!(decode_named(&encode_named(id, &stored)), Ok((id, record)));
        assert!(decode_named(b"short").is_err());
    }

    #[test]
    fn owners_read_back() {
        let (tenant, id) = (
            TenantId::from_bytes([1; 16]),
            CredentialId::from_bytes([2; 16]),
        );
        assert_eq!(decode_owner(&encode_owner(tenant, id)), Ok((tenant, id)));
        assert!(decode_owner(&[0; 31]).is_err());
        assert!(decode_slug_owner(&[0; 17]).is_err());
    }
}
