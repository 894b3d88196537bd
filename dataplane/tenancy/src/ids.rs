//! Typed ids: 128 random bits behind a prefix (`ten_…`), and the numbers that name nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base32;

/// The text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: expected `{prefix}` followed by 26 characters of Crockford base32")]
pub struct IdParseError {
    prefix: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What its text starts with.
            pub const PREFIX: &'static str = $prefix;

            /// The id that these 16 bytes are. A new id takes them from a random source.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, as they stand in keys.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), base32::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                text.strip_prefix($prefix)
                    .and_then(base32::decode)
                    .map(Self)
                    .ok_or(IdParseError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id! {
    /// A tenant: one MQTT namespace. The first component of every stored key; random, so that
    /// key ranges cut by its first byte are even.
    TenantId, "ten_"
}
typed_id! {
    /// An organization: the customer that owns tenants.
    OrganizationId, "org_"
}
typed_id! {
    /// A device credential.
    CredentialId, "crd_"
}
typed_id! {
    /// An API key for the REST API.
    ApiKeyId, "key_"
}
typed_id! {
    /// Who acts inside a tenant. A client identifier is bound to its principal.
    PrincipalId, "prn_"
}
typed_id! {
    /// A cluster, made once by its initialisation.
    ClusterId, "clu_"
}

impl From<CredentialId> for PrincipalId {
    /// A credential acts as the principal of the same bits; rotating its secret keeps it.
    fn from(credential: CredentialId) -> Self {
        Self(credential.0)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id! {
    /// A node: random, on its disk, never used again.
    NodeId
}
number_id! {
    /// One life of a node's process: larger at each start.
    Incarnation
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_reads_back_from_its_text(bytes: [u8; 16]) {
            let id = TenantId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<TenantId>(), Ok(id));
        }

        #[test]
        fn ids_sort_as_their_texts(a: [u8; 16], b: [u8; 16]) {
            let (x, y) = (TenantId::from_bytes(a), TenantId::from_bytes(b));
            prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let id = TenantId::from_bytes([7; 16]).to_string();
        assert!(id.parse::<CredentialId>().is_err());
        assert!(
            "ten_zzzzzzzzzzzzzzzzzzzzzzzzzz"
                .parse::<TenantId>()
                .is_err(),
            "130 bits"
        );
        assert!("ten_".parse::<TenantId>().is_err());
    }
}
