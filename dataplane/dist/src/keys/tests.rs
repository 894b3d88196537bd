use std::collections::HashMap;

use proptest::prelude::*;
use tessera_tenancy::encode_hex;

use super::*;
use crate::route::Route;
use crate::testing::{options, persistent, route, routes, tenant, transient};

fn hex_key(filter: &str, receiver: Receiver) -> String {
    let route = route(filter, receiver);
    let identity = Identity::new(&route.filter, &route.receiver);
    encode_hex(identity.as_bytes())
}

#[test]
fn identities_are_encoded_as_the_table_says() {
    let node = "01000000000000000a000000000000000b";
    for (filter, levels) in [
        ("a", "026100"),
        ("a/bc", "026103626300"),
        ("/", "010100"),
        ("+/#", "022b022300"),
    ] {
        assert_eq!(
            hex_key(filter, transient(10, 11)),
            format!("{levels}00{node}")
        );
    }
    let shared = |kind| format!("026100{kind}000167{node}");
    assert_eq!(hex_key("$share/g/a", transient(10, 11)), shared("01"));
    assert_eq!(hex_key("$oshare/g/a", transient(10, 11)), shared("02"));
    let inbox = "0261000002000263640000000000000007";
    assert_eq!(hex_key("a", persistent("cd", 7)), inbox);
}

#[test]
fn a_long_level_has_a_long_length() {
    for (len, prefix) in [(252, "fd"), (253, "fe00fd"), (65_535, "feffff")] {
        let key = hex_key(&"x".repeat(len), transient(1, 1));
        assert!(key.starts_with(&format!("{prefix}7878")), "{len}");
    }
}

#[test]
fn keys_and_values_are_encoded_as_the_table_says() {
    let session = NodeSession {
        node: NodeId(10),
        number: 11,
    };
    let tenant = tenant(0xaa);
    let tenant_hex = "aa".repeat(16);
    assert_eq!(
        encode_hex(&route_key(tenant, &[1, 2])),
        format!("{tenant_hex}010102")
    );
    assert_eq!(
        encode_hex(&node_session_key(NodeId(10))),
        "01000000000000000a"
    );
    assert_eq!(
        encode_hex(&node_session_value(NodeSessionRow {
            incarnation: Incarnation(3),
            number: 11,
            has_ended: false,
        })),
        "010000000000000003000000000000000b"
    );
    assert_eq!(
        encode_hex(&session_route_key(session, tenant, &[1, 2])),
        format!("02000000000000000a000000000000000b{tenant_hex}0102")
    );
    let mut options = route("a", transient(1, 1)).options;
    assert_eq!(encode_hex(&route_value(options)), "0101");
    options.subscription_id = SubscriptionId::new(258);
    options.no_local = true;
    options.retain_as_published = true;
    assert_eq!(encode_hex(&route_value(options)), "011d00000102");
}

#[test]
fn what_is_not_canonical_is_refused() {
    let whole = Identity::new(&"a".try_into().unwrap(), &persistent("c", 1));
    for len in 0..whole.as_bytes().len() {
        assert!(
            Identity::parse(&whole.as_bytes()[..len]).is_err(),
            "cut at {len}"
        );
    }
    let tail = &whole.as_bytes()[3..];
    for (levels, why) in [
        (&b"\x00"[..], "no level"),
        (b"\x04a/b\x00", "a slash in a level"),
        (b"\xfe\x00\x01a\x00", "a short level in the long form"),
        (b"\xffa\x00", "an unknown marker"),
        (b"\x02#\x02a\x00", "# that is not last"),
        (b"\x03a+\x00", "+ that is not a level"),
        (b"\x03a\xff\x00", "not UTF-8"),
        (b"\x07$share\x02g\x02a\x00", "a share within the levels"),
    ] {
        assert!(Identity::parse(&[levels, tail].concat()).is_err(), "{why}");
    }
    for (tail, why) in [
        (
            &b"\x03\x00\x01g\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01"[..],
            "an unknown share",
        ),
        (
            b"\x01\x00\x00\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01",
            "an empty share name",
        ),
        (
            b"\x00\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01",
            "an unknown receiver",
        ),
        (
            b"\x00\x02\x00\x00\0\0\0\0\0\0\0\x01",
            "an empty client identifier",
        ),
        (
            b"\x00\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0",
            "a byte too many",
        ),
    ] {
        let identity = [b"\x02a\x00", tail].concat();
        assert!(Identity::parse(&identity).is_err(), "{why}");
    }
    for value in [
        &b""[..],
        b"\x01",
        b"\x02\x00",
        b"\x01\x03",
        b"\x01\x20",
        b"\x01\x10\0\0\0\0",
    ] {
        assert!(parse_route_value(value).is_err(), "{value:?}");
    }
}

/// Routes of adversaries: tenants, client identifiers and levels that look like parts of keys.
fn hostile_routes() -> impl Strategy<Value = (TenantId, Route)> {
    let text = prop::collection::vec(
        prop::sample::select(&["\u{1}", "\u{2}", "a", "/", "é"][..]),
        1..8,
    );
    let tenant = prop::sample::select(&[0, 1, 2, 0xff][..]).prop_map(tenant);
    let hostile = (text.clone(), text)
        .prop_map(|(filter, client)| route(&filter.concat(), persistent(&client.concat(), 1)));
    (tenant, prop_oneof![hostile, routes()])
}

proptest! {
    #[test]
    fn a_route_reads_back_from_its_key(route in routes()) {
        let identity = Identity::new(&route.filter, &route.receiver);
        let (again, receiver) = Identity::parse(identity.as_bytes()).unwrap();
        prop_assert_eq!(&again, &identity);
        prop_assert_eq!(&receiver, &route.receiver);
        let (text, tail) = split_levels(identity.as_bytes()).unwrap();
        prop_assert_eq!(&text, route.filter.filter.as_bytes());
        prop_assert_eq!(parse_tail(tail), Ok((route.filter.share, receiver)));
    }

    #[test]
    fn options_read_back_from_their_value(options in options()) {
        prop_assert_eq!(parse_route_value(&route_value(options)), Ok(options));
    }

    #[test]
    fn two_routes_never_meet_in_a_key(
        routes in prop::collection::vec(hostile_routes(), 2..40),
    ) {
        let mut owners = HashMap::new();
        for (tenant, route) in &routes {
            let identity = Identity::new(&route.filter, &route.receiver);
            let key = route_key(*tenant, identity.as_bytes());
            prop_assert!(key >= routes_start(*tenant) && key < routes_end(*tenant));
            let owner = (*tenant, &route.filter, &route.receiver);
            prop_assert_eq!(*owners.entry(key).or_insert(owner), owner);
        }
        let keys: Vec<_> = owners.keys().collect();
        for a in &keys {
            prop_assert!(!keys.iter().any(|b| a != b && b.starts_with(a)), "a prefix of another");
        }
    }

    #[test]
    fn any_bytes_that_parse_are_canonical(
        bytes in prop::collection::vec(prop::sample::select(&[0_u8, 1, 2, 3, b'a', b'/', 0xfe][..]), 0..40),
    ) {
        if let Ok((identity, receiver)) = Identity::parse(&bytes) {
            let (text, tail) = split_levels(identity.as_bytes()).unwrap();
            let (share, _) = parse_tail(tail).unwrap();
            let filter = TopicFilter::try_from(Bytes::from(text)).unwrap();
            let again = Identity::new(&FilterSpec { share, filter }, &receiver);
            prop_assert_eq!(again.as_bytes(), &bytes);
        }
    }
}
