use proptest::prelude::*;
use tessera_tenancy::encode_hex;

use super::*;
use crate::route::Route;
use crate::testing::{route, routes, transient};

fn add(route: &Route) -> Command {
    Command::AddRoute {
        identity: Identity::new(&route.filter, &route.receiver),
        receiver: route.receiver.clone(),
        options: route.options,
    }
}

fn remove(route: &Route) -> Command {
    Command::RemoveRoute {
        identity: Identity::new(&route.filter, &route.receiver),
        receiver: route.receiver.clone(),
    }
}

#[test]
fn commands_are_encoded_as_the_table_says() {
    let route = route("a", transient(10, 11));
    let identity = "000000150261000001000000000000000a000000000000000b";
    for (command, expected) in [
        (
            Command::OpenNodeSession {
                node: NodeId(10),
                incarnation: Incarnation(3),
                number_min: 2,
            },
            "0101000000000000000a00000000000000030000000000000002".to_owned(),
        ),
        (add(&route), format!("0102{identity}01")),
        (remove(&route), format!("0103{identity}")),
        (
            Command::RemoveEndedRoutes {
                node: NodeId(10),
                limit: 500,
            },
            "0104000000000000000a000001f4".to_owned(),
        ),
        (
            Command::EndNodeSession {
                session: NodeSession {
                    node: NodeId(10),
                    number: 11,
                },
                term: 12,
            },
            "0105000000000000000a000000000000000b000000000000000c".to_owned(),
        ),
    ] {
        let bytes = command.encode();
        assert_eq!(encode_hex(&bytes), expected);
        assert_eq!(Command::decode(&bytes), Ok(command));
    }
}

#[test]
fn replies_are_encoded_as_the_table_says() {
    for (reply, expected) in [
        (Reply::Done, "0101"),
        (Reply::Opened { number: 11 }, "0102000000000000000b"),
        (
            Reply::Removed {
                routes: 500,
                more: true,
            },
            "0103000001f401",
        ),
        (Reply::Refused(Refusal::SessionEnded), "018001"),
        (Reply::Refused(Refusal::Superseded), "018002"),
        (Reply::Refused(Refusal::TooLong), "018003"),
        (Reply::Refused(Refusal::Malformed), "018004"),
    ] {
        assert_eq!(encode_hex(&reply.encode()), expected);
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}

#[test]
fn another_version_or_ordinal_is_not_read() {
    for bytes in [
        &b""[..],
        b"\x01",
        b"\x02\x01",
        b"\x01\x00",
        b"\x01\x7f",
        b"\x01\x80\x05",
    ] {
        assert!(Command::decode(bytes).is_err(), "{bytes:?}");
        assert!(Reply::decode(bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn route_commands_read_back(route in routes()) {
        for command in [add(&route), remove(&route)] {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn no_cut_or_longer_command_is_read(route in routes(), cut in any::<prop::sample::Index>()) {
        for command in [add(&route), remove(&route)] {
            let mut bytes = command.encode();
            let cut_at = cut.index(bytes.len());
            prop_assert!(Command::decode(&bytes[..cut_at]).is_err());
            bytes.push(0);
            prop_assert!(Command::decode(&bytes).is_err());
        }
    }

    #[test]
    fn any_bytes_that_decode_encode_to_themselves(
        ordinal in 0..7_u8,
        body in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..40),
    ) {
        let bytes = [&[1, ordinal], &*body].concat();
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(command.encode(), bytes);
        }
    }
}
