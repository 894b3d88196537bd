use super::*;
use proptest::prelude::*;
use tessera_tenancy::encode_hex;

const ACME: TenantId = TenantId::from_bytes([0xAA; 16]);

#[test]
fn keys_are_golden() {
    let block = BlockId { index: 7, chunk: 2 };
    let cases = [
        (Row::Tenant, "01"),
        (Row::Session { client: b"c1" }, "020002633101"),
        (Row::Received { client: b"c1" }, "020002633102"),
        (
            Row::Subscription {
                client: b"c1",
                filter: b"a/#",
            },
            "0200026331030003612f23",
        ),
        (
            Row::Queue {
                client: b"c1",
                last: 258,
            },
            "0200026331040000000000000102",
        ),
        (
            Row::Mark {
                client: b"c1",
                sequence: 1,
            },
            "0200026331050000000000000001",
        ),
        (Row::Block(block), "03000000000000000700000002"),
        (Row::BlockRefs(block), "04000000000000000700000002"),
        (
            Row::Due {
                due_ms: 9,
                client: b"c1",
            },
            "05000000000000000900026331",
        ),
        (Row::Online { client: b"c1" }, "0600026331"),
        (Row::Registration { client: b"c1" }, "0900026331"),
        (
            Row::Publisher {
                client: b"c1",
                incarnation: 3,
            },
            "07000263310000000000000003",
        ),
        (
            Row::Will {
                client: b"c1",
                number: 4,
            },
            "0200026331060000000000000004",
        ),
        (
            Row::WillDue {
                due_ms: 9,
                client: b"c1",
                number: 4,
            },
            "080000000000000009000263310000000000000004",
        ),
    ];
    for (row, golden) in cases {
        assert_eq!(
            encode_hex(&row.key(ACME)),
            format!("{}{golden}", "aa".repeat(16))
        );
    }
}

/// Bytes that look like the separators, lengths and kinds of keys.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![0_u8..8, Just(0xFF), Just(b'/'), any::<u8>()],
        0..24,
    )
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    tenant: [u8; 16],
    kind: u8,
    client: Vec<u8>,
    filter: Vec<u8>,
    number: u64,
    chunk: u32,
}

impl Owned {
    fn row(&self) -> Row<'_> {
        let client = &self.client[..];
        let block = BlockId {
            index: self.number,
            chunk: self.chunk,
        };
        match self.kind {
            0 => Row::Tenant,
            1 => Row::Session { client },
            2 => Row::Received { client },
            3 => Row::Subscription {
                client,
                filter: &self.filter,
            },
            4 => Row::Queue {
                client,
                last: self.number,
            },
            5 => Row::Mark {
                client,
                sequence: self.number,
            },
            6 => Row::Block(block),
            7 => Row::BlockRefs(block),
            8 => Row::Due {
                due_ms: self.number,
                client,
            },
            9 => Row::Online { client },
            10 => Row::Publisher {
                client,
                incarnation: self.number,
            },
            11 => Row::Will {
                client,
                number: self.number,
            },
            12 => Row::Registration { client },
            _ => Row::WillDue {
                due_ms: self.number,
                client,
                number: u64::from(self.chunk),
            },
        }
    }

    fn tenant(&self) -> TenantId {
        TenantId::from_bytes(self.tenant)
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    let tenant = prop_oneof![
        Just([0; 16]),
        Just([2; 16]),
        Just([0xFF; 16]),
        any::<[u8; 16]>()
    ];
    (tenant, 0_u8..14, hostile(), hostile(), 0_u64..4, 0_u32..3).prop_map(
        |(tenant, kind, client, filter, number, chunk)| Owned {
            tenant,
            kind,
            client,
            filter,
            number,
            chunk,
        },
    )
}

fn within(key: &[u8], (from, until): &Span) -> bool {
    key >= &from[..] && key < &until[..]
}

proptest! {
    #[test]
    fn a_key_reads_back(row in owned()) {
        let key = row.row().key(row.tenant());
        prop_assert_eq!(Row::parse(&key), Some((row.tenant(), row.row())));
    }

    #[test]
    fn different_rows_have_different_keys(a in owned(), b in owned()) {
        let same = a.tenant == b.tenant && a.row() == b.row();
        prop_assert_eq!(a.row().key(a.tenant()) == b.row().key(b.tenant()), same);
    }

    #[test]
    fn a_scan_of_a_client_meets_no_other_client_and_no_other_tenant(
        mine in owned(),
        other in owned(),
    ) {
        let span = belongings_of(mine.tenant(), &mine.client);
        let own_kind = matches!(
            other.row(),
            Row::Received { .. } | Row::Subscription { .. } | Row::Queue { .. } | Row::Mark { .. }
        );
        let own = own_kind && other.tenant == mine.tenant && other.client == mine.client;
        prop_assert_eq!(within(&other.row().key(other.tenant()), &span), own);
    }

    #[test]
    fn a_scan_of_a_clients_wills_meets_nothing_else(mine in owned(), other in owned()) {
        let span = wills_of(mine.tenant(), &mine.client);
        let own = matches!(other.row(), Row::Will { .. })
            && other.tenant == mine.tenant
            && other.client == mine.client;
        prop_assert_eq!(within(&other.row().key(other.tenant()), &span), own);
    }

    #[test]
    fn a_scan_of_a_queue_starts_with_the_run_that_holds_the_sequence(
        row in owned(),
        from in 0_u64..4,
        client in hostile(),
    ) {
        let span = queue_from(ACME, &client, from);
        let own = matches!(row.row(), Row::Queue { last, .. } if last >= from)
            && row.client == client;
        prop_assert_eq!(within(&row.row().key(ACME), &span), own);
    }

    #[test]
    fn no_key_panics_the_parser(key: Vec<u8>) {
        let _ = Row::parse(&key);
    }
}
