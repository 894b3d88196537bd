//! Keys of rows.
//!
//! ```text
//! tenant(16) · 01                     the tenant's figures
//! tenant(16) · 02 · path              the retained message of a topic
//! tenant(16) · 03 · due ms(8) · path  a message that expires at that time
//! ```
//! A path is the levels of a topic ([`path`](crate::path)). Numbers are big-endian.

use tessera_tenancy::TenantId;

const FIGURES: u8 = 1;
const MESSAGE: u8 = 2;
const DUE: u8 = 3;

/// Bytes before the path in the key of a message.
pub(crate) const MESSAGE_PREFIX_LEN: usize = 17;

/// What a row of one tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row<'a> {
    Figures,
    Message { path: &'a [u8] },
    Due { due_ms: u64, path: &'a [u8] },
}

impl<'a> Row<'a> {
    /// The whole key.
    pub(crate) fn key(self, tenant: TenantId) -> Vec<u8> {
        match self {
            Self::Figures => part(tenant, FIGURES),
            Self::Message { path } => [&part(tenant, MESSAGE), path].concat(),
            Self::Due { due_ms, path } => {
                [&part(tenant, DUE), &due_ms.to_be_bytes()[..], path].concat()
            }
        }
    }

    /// What [`key`](Self::key) wrote.
    pub(crate) fn parse(key: &'a [u8]) -> Option<(TenantId, Self)> {
        let (tenant, rest) = key.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let row = match *kind {
            FIGURES if rest.is_empty() => Self::Figures,
            MESSAGE => Self::Message { path: rest },
            DUE => {
                let (due, path) = rest.split_first_chunk()?;
                Self::Due {
                    due_ms: u64::from_be_bytes(*due),
                    path,
                }
            }
            _ => return None,
        };
        Some((TenantId::from_bytes(*tenant), row))
    }
}

/// What follows the tenant in the key of a message: it decides the shard.
pub(crate) fn message_key_rest(path: &[u8]) -> Vec<u8> {
    [&[MESSAGE], path].concat()
}

/// Where the messages of a tenant end.
pub(crate) fn messages_end(tenant: TenantId) -> Vec<u8> {
    part(tenant, DUE)
}

/// `from` and `until` of a scan of what expires at or before `now_ms`.
pub(crate) fn due_until(tenant: TenantId, now_ms: u64) -> (Vec<u8>, Vec<u8>) {
    let mut until = part(tenant, DUE);
    until.extend_from_slice(&now_ms.saturating_add(1).to_be_bytes());
    (part(tenant, DUE), until)
}

fn part(tenant: TenantId, kind: u8) -> Vec<u8> {
    let mut key = tenant.as_bytes().to_vec();
    key.push(kind);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::path_of;
    use proptest::prelude::*;
    use tessera_mqtt::TopicName;
    use tessera_tenancy::encode_hex;

    #[test]
    fn keys_are_golden() {
        let tenant = TenantId::from_bytes([0xAA; 16]);
        let path = path_of(&TopicName::try_from("a/bc").unwrap());
        let cases = [
            (Row::Figures, "01"),
            (Row::Message { path: &path }, "020161026263"),
            (
                Row::Due {
                    due_ms: 258,
                    path: &path,
                },
                "0300000000000001020161026263",
            ),
        ];
        for (row, golden) in cases {
            assert_eq!(
                encode_hex(&row.key(tenant)),
                format!("{}{golden}", "aa".repeat(16))
            );
        }
    }

    #[derive(Debug, Clone)]
    struct Owned {
        tenant: [u8; 16],
        kind: u8,
        due_ms: u64,
        path: Vec<u8>,
    }

    impl Owned {
        fn row(&self) -> Row<'_> {
            match self.kind {
                0 => Row::Figures,
                1 => Row::Message { path: &self.path },
                _ => Row::Due {
                    due_ms: self.due_ms,
                    path: &self.path,
                },
            }
        }

        fn key(&self) -> Vec<u8> {
            self.row().key(TenantId::from_bytes(self.tenant))
        }
    }

    /// Tenants and topics made to look like parts of each other's keys.
    fn owned() -> impl Strategy<Value = Owned> {
        let tenant = prop_oneof![
            Just([0; 16]),
            Just([2; 16]),
            Just([3; 16]),
            Just([0xFF; 16])
        ];
        let topic = "[a/\u{1}\u{2}\u{3}$]{1,12}";
        (tenant, 0_u8..3, 0_u64..4, topic).prop_map(|(tenant, kind, due_ms, topic)| Owned {
            tenant,
            kind,
            due_ms,
            path: path_of(&TopicName::try_from(&topic[..]).unwrap()),
        })
    }

    proptest! {
        #[test]
        fn a_key_reads_back(row in owned()) {
            let tenant = TenantId::from_bytes(row.tenant);
            let key = row.key();
            prop_assert_eq!(Row::parse(&key), Some((tenant, row.row())));
        }

        #[test]
        fn different_rows_have_different_keys(a in owned(), b in owned()) {
            let same = a.tenant == b.tenant && a.row() == b.row();
            prop_assert_eq!(a.key() == b.key(), same);
        }

        #[test]
        fn a_scan_of_what_expires_meets_nothing_else(a in owned(), b in owned(), now_ms in 0_u64..4) {
            let (from, until) = due_until(TenantId::from_bytes(a.tenant), now_ms);
            let own = b.tenant == a.tenant
                && matches!(b.row(), Row::Due { due_ms, .. } if due_ms <= now_ms);
            prop_assert_eq!(b.key() >= from && b.key() < until, own);
        }

        #[test]
        fn no_key_panics_the_parser(key: Vec<u8>) {
            let _ = Row::parse(&key);
        }
    }
}
