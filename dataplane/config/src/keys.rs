//! Keys of the rows. Persisted: a new form needs a new format number.
//!
//! ```text
//! tenant (16) · slot (1) · kind (1) · rest
//! ```
//! | kind | tenant | rest | value |
//! |---|---|---|---|
//! | position | nobody's, no slot | | format, timeline, revision, slot in force |
//! | tenant | nobody's | tenant (16) | tenant record |
//! | slug | nobody's | slug | tenant (16) |
//! | key id | nobody's | key id (8) | tenant (16) · credential (16) |
//! | orphan | nobody's | tenant (16) | nothing |
//! | credential | its own | credential (16) | credential record |
//! | user name | its own | user name | credential (16) · credential record |
//!
//! A tenant's own rows begin with its id. Rows that find tenants cannot; they begin with sixteen
//! zeros, an id that no tenant has. A variable part stands last, so no key is another's prefix by
//! accident: all the parts before it are of fixed length.

use tessera_tenancy::{CredentialId, DeviceUsername, KeyId, TenantId, TenantSlug};

/// The first component of the rows that are no tenant's. Never a tenant's id.
pub(crate) const NOBODY: TenantId = TenantId::from_bytes([0; 16]);

/// Which of the two places on disk a row stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Left,
    Right,
}

impl Slot {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Persisted.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Left => 1,
            Self::Right => 2,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Left),
            2 => Some(Self::Right),
            _ => None,
        }
    }
}

/// What a row is. Persisted: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tenant = 1,
    Slug = 2,
    KeyId = 3,
    /// The tenant has credential rows in this slot but no tenant row: it was removed and is not yet
    /// swept, or the snapshot being staged has not named it yet.
    Orphan = 4,
    Credential = 5,
    Username = 6,
}

/// Bytes before the rest of a key.
const HEAD_LEN: usize = 18;

/// Where the position stands: in no slot.
pub(crate) fn position() -> Vec<u8> {
    NOBODY.as_bytes().to_vec()
}

/// Every row of a kind of a tenant's (or of nobody's) in a slot.
pub(crate) fn kind(tenant: TenantId, slot: Slot, kind: Kind) -> Vec<u8> {
    let mut key = owned(tenant, slot);
    key.push(kind as u8);
    key
}

/// Every row of a tenant's (or of nobody's) in a slot.
pub(crate) fn owned(tenant: TenantId, slot: Slot) -> Vec<u8> {
    let mut key = Vec::with_capacity(HEAD_LEN + 16);
    key.extend_from_slice(tenant.as_bytes());
    key.push(slot.byte());
    key
}

pub(crate) fn tenant(slot: Slot, tenant: TenantId) -> Vec<u8> {
    with(NOBODY, slot, Kind::Tenant, tenant.as_bytes())
}

pub(crate) fn slug(slot: Slot, slug: &TenantSlug) -> Vec<u8> {
    with(NOBODY, slot, Kind::Slug, slug.as_str().as_bytes())
}

pub(crate) fn key_id(slot: Slot, key_id: KeyId) -> Vec<u8> {
    with(NOBODY, slot, Kind::KeyId, key_id.as_bytes())
}

pub(crate) fn orphan(slot: Slot, tenant: TenantId) -> Vec<u8> {
    with(NOBODY, slot, Kind::Orphan, tenant.as_bytes())
}

pub(crate) fn credential(tenant: TenantId, slot: Slot, id: CredentialId) -> Vec<u8> {
    with(tenant, slot, Kind::Credential, id.as_bytes())
}

pub(crate) fn username(tenant: TenantId, slot: Slot, name: &DeviceUsername) -> Vec<u8> {
    with(tenant, slot, Kind::Username, name.as_str().as_bytes())
}

/// The sixteen bytes that end a tenant's, an orphan's or a credential's key.
pub(crate) fn id_at_end(key: &[u8]) -> Option<[u8; 16]> {
    key.get(HEAD_LEN..)?.try_into().ok()
}

fn with(tenant: TenantId, slot: Slot, of: Kind, rest: &[u8]) -> Vec<u8> {
    let mut key = kind(tenant, slot, of);
    key.extend_from_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACME: TenantId = TenantId::from_bytes([0xaa; 16]);
    const DEVICE: CredentialId = CredentialId::from_bytes([0xcc; 16]);

    fn hex(key: &[u8]) -> String {
        tessera_tenancy::encode_hex(key)
    }

    #[test]
    fn the_stored_form_is_golden() {
        let (zeros, aa, cc) = ("00".repeat(16), "aa".repeat(16), "cc".repeat(16));
        let cases = [
            (position(), zeros.clone()),
            (tenant(Slot::Left, ACME), format!("{zeros}0101{aa}")),
            (
                slug(Slot::Right, &"ab".parse().unwrap()),
                format!("{zeros}02026162"),
            ),
            (
                key_id(Slot::Left, "01234567".parse().unwrap()),
                format!("{zeros}01033031323334353637"),
            ),
            (orphan(Slot::Left, ACME), format!("{zeros}0104{aa}")),
            (
                credential(ACME, Slot::Right, DEVICE),
                format!("{aa}0205{cc}"),
            ),
            (
                username(ACME, Slot::Left, &"s-7".parse().unwrap()),
                format!("{aa}0106732d37"),
            ),
        ];
        for (key, golden) in cases {
            assert_eq!(hex(&key), golden);
        }
    }

    #[test]
    fn slots_read_back() {
        for slot in [Slot::Left, Slot::Right] {
            assert_eq!(Slot::from_byte(slot.byte()), Some(slot));
            assert_eq!(slot.other().other(), slot);
        }
        assert_eq!(Slot::from_byte(0), None);
    }

    proptest! {
        #[test]
        fn keys_of_two_tenants_never_meet(
            a: [u8; 16], b: [u8; 16], x in "[a-z]{1,9}", y in "[a-z]{1,9}",
        ) {
            let (a, b) = (TenantId::from_bytes(a), TenantId::from_bytes(b));
            let (x, y) = (x.parse().unwrap(), y.parse().unwrap());
            let same = username(a, Slot::Left, &x) == username(b, Slot::Left, &y);
            prop_assert_eq!(same, a == b && x == y);
        }

        #[test]
        fn ids_read_back(bytes: [u8; 16]) {
            let id = TenantId::from_bytes(bytes);
            prop_assert_eq!(id_at_end(&tenant(Slot::Left, id)), Some(bytes));
            prop_assert_eq!(id_at_end(&orphan(Slot::Right, id)), Some(bytes));
        }
    }
}
