//! Names that people choose, parsed once at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused. The text names the bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than the bound.
    #[error("must have 1 to {max} characters, has {len}")]
    Length {
        /// What was given, in bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// A character that the name may not hold.
    #[error("may not hold {found:?} at position {at}; allowed: {allowed}")]
    Character {
        /// The first such character.
        found: char,
        /// Its index in characters.
        at: usize,
        /// What is allowed there.
        allowed: &'static str,
    },
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
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

name_type! {
    /// A tenant's slug: a DNS label of 1 to 63 of `a-z 0-9 -`, a letter first, no hyphen last.
    TenantSlug, check_label
}
name_type! {
    /// A plan's slug: of the same form as a tenant's.
    PlanSlug, check_label
}
name_type! {
    /// A device's user name inside its tenant: 1 to 128 of `A-Z a-z 0-9 . _ ~ : @ -`. It holds none
    /// of `+ # /`, so that no policy variable can widen a topic filter.
    DeviceUsername, check_username
}

/// Longest DNS label (RFC 1035, 2.3.4).
pub const LABEL_LEN_MAX: usize = 63;
/// Longest user name of a device inside its tenant.
pub const USERNAME_LEN_MAX: usize = 128;

fn check_label(text: &str) -> Result<(), NameError> {
    check_length(text, LABEL_LEN_MAX)?;
    let last = text.chars().count() - 1;
    for (at, found) in text.chars().enumerate() {
        let allowed = match at {
            0 => found.is_ascii_lowercase(),
            _ if at == last => found.is_ascii_lowercase() || found.is_ascii_digit(),
            _ => found.is_ascii_lowercase() || found.is_ascii_digit() || found == '-',
        };
        if !allowed {
            let allowed = "a-z 0-9 and - inside, a letter first";
            return Err(NameError::Character { found, at, allowed });
        }
    }
    Ok(())
}

fn check_username(text: &str) -> Result<(), NameError> {
    check_length(text, USERNAME_LEN_MAX)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._~:@-".contains(c);
    match text.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        None => Ok(()),
        Some((at, found)) => Err(NameError::Character {
            found,
            at,
            allowed: "A-Z a-z 0-9 . _ ~ : @ -",
        }),
    }
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length {
            len: text.len(),
            max,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_dns_labels() {
        for good in ["a", "demo", "a-b", "acme2", &"a".repeat(63)] {
            assert!(good.parse::<TenantSlug>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "1a",
            "A",
            "a.b",
            "a_b",
            "ä",
            "a/b",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<TenantSlug>().is_err(), "{bad}");
        }
    }

    #[test]
    fn usernames_hold_no_topic_characters() {
        for good in ["sensor-7", "a.b.c", "x@y", "A_~:"] {
            assert!(good.parse::<DeviceUsername>().is_ok(), "{good}");
        }
        for bad in ["", "a/b", "#", "+", "a b", "a\0b", "ü", &"a".repeat(129)] {
            assert!(bad.parse::<DeviceUsername>().is_err(), "{bad}");
        }
    }
}
