use proptest::prelude::*;
use tessera_mqtt::{Qos, SubscriptionId};
use tessera_tenancy::encode_hex;

use super::*;

const FENCE: Fence<'_> = Fence {
    client: b"c1",
    incarnation: 3,
    epoch: 4,
};
const PRINCIPAL: PrincipalId = PrincipalId::from_bytes([0x11; 16]);

fn insert() -> Command<'static> {
    let origin = Origin {
        client: b"p",
        incarnation: 1,
        number: 2,
        floor: 1,
        after: None,
        last: true,
    };
    let delivery = Delivery {
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: SubscriptionId::new(7).into_iter().collect(),
    };
    Command::Insert(Insert {
        body: b"body",
        bounds: QueueBounds {
            messages_max: 10,
            bytes_max: 300,
            overflow: OverflowPolicy::DropNewest,
        },
        origin: Some(origin),
        targets: vec![InsertTarget {
            client: b"c1",
            incarnation: 3,
            delivery,
            sent_below: 5,
        }],
    })
}

/// Not the first command of its publish.
fn part(overflow: OverflowPolicy, last: bool) -> Command<'static> {
    Command::Insert(Insert {
        body: b"body",
        bounds: QueueBounds {
            messages_max: 10,
            bytes_max: 300,
            overflow,
        },
        origin: Some(Origin {
            client: b"p",
            incarnation: 1,
            number: 2,
            floor: 1,
            after: Some(b"a"),
            last,
        }),
        targets: Vec::new(),
    })
}

/// One of each kind, as the log has it for good.
fn golden() -> Vec<(Command<'static>, &'static str)> {
    [
        golden_of_sessions(),
        golden_of_wills(),
        golden_of_registrations(),
        golden_of_messages(),
    ]
    .concat()
}

fn golden_of_sessions() -> Vec<(Command<'static>, &'static str)> {
    let (fence, client, filter) = (FENCE, &b"c1"[..], &b"a/#"[..]);
    let attach = Attach {
        client,
        principal: PRINCIPAL,
        clean_start: true,
        create: false,
        expiry_seconds: 60,
        will: None,
        owner: None,
    };
    let detach = Command::Detach {
        fence,
        expiry_seconds: Some(9),
        sent_below: 200,
        will: WillEnd::Dropped,
    };
    let subscribe = Command::Subscribe {
        fence,
        filter,
        options: 0x2E,
        subscription_id: 0,
    };
    vec![
        (
            Command::Attach(attach),
            "01010002633111111111111111111111111111111111 0100 0000003c",
        ),
        (detach, "0102000263310304 01 00000009 c801"),
        (
            Command::Release {
                client,
                registration: None,
            },
            "010300026331",
        ),
        (Command::Expire { client }, "010400026331"),
        (subscribe, "0105000263310304 0003612f23 2e 00"),
        (
            Command::Unsubscribe { fence, filter },
            "0106000263310304 0003612f23",
        ),
        (
            Command::Confirm { fence, filter },
            "0107000263310304 0003612f23",
        ),
    ]
}

fn golden_of_registrations() -> Vec<(Command<'static>, &'static str)> {
    let client = &b"c1"[..];
    let attach = Attach {
        client,
        principal: PRINCIPAL,
        clean_start: true,
        create: false,
        expiry_seconds: 60,
        will: None,
        owner: Some(OwnerNode {
            node: NodeId(200),
            number: 3,
        }),
    };
    let with_will = Attach {
        will: Some(NewWill {
            delay_seconds: 5,
            body: b"bye",
        }),
        ..attach
    };
    let release = Command::Release {
        client,
        registration: Some(7),
    };
    let leave = Command::Leave {
        client,
        registration: 7,
    };
    vec![
        (
            Command::Attach(attach),
            "01120002633111111111111111111111111111111111 0100 0000003c c801 03 00",
        ),
        (
            Command::Attach(with_will),
            "01120002633111111111111111111111111111111111 0100 0000003c c801 03 01 00000005 03627965",
        ),
        (release, "011300026331 07"),
        (leave, "011400026331 07"),
    ]
}

fn golden_of_wills() -> Vec<(Command<'static>, &'static str)> {
    let (fence, client) = (FENCE, &b"c1"[..]);
    let with_will = Attach {
        client,
        principal: PRINCIPAL,
        clean_start: true,
        create: false,
        expiry_seconds: 60,
        will: Some(NewWill {
            delay_seconds: 5,
            body: b"bye",
        }),
        owner: None,
    };
    let detach_with_will = |will| Command::Detach {
        fence,
        expiry_seconds: None,
        sent_below: 0,
        will,
    };
    let leave_will = |end| Command::LeaveWill {
        client,
        number: 300,
        end,
    };
    vec![
        (
            Command::Attach(with_will),
            "010e0002633111111111111111111111111111111111 0100 0000003c 00000005 03627965",
        ),
        (
            detach_with_will(WillEnd::Published),
            "010f01000263310304 00 00000000 00",
        ),
        (
            detach_with_will(WillEnd::PublishedUnlessBack),
            "010f02000263310304 00 00000000 00",
        ),
        (leave_will(WillEnd::Dropped), "011000026331 ac02 00"),
        (leave_will(WillEnd::Published), "011000026331 ac02 01"),
        (
            leave_will(WillEnd::PublishedUnlessBack),
            "011000026331 ac02 02",
        ),
        (
            Command::ForgetWill {
                client,
                number: 300,
            },
            "011100026331 ac02",
        ),
    ]
}

fn golden_of_messages() -> Vec<(Command<'static>, &'static str)> {
    let fence = FENCE;
    let mark = Command::Mark {
        fence,
        sequence: 5,
        mark: Mark::Released,
    };
    vec![
        (
            insert(),
            "0108 04626f6479 0000000a ac02 01 01 000170 01 02 01 01 01 00026331 03 05 09 01 07",
        ),
        (
            part(OverflowPolicy::RefusePublisher, true),
            "0108 04626f6479 0000000a ac02 02 01 000170 01 02 01 03 000161 00",
        ),
        (
            part(OverflowPolicy::DropOldest, false),
            "0108 04626f6479 0000000a ac02 00 01 000170 01 02 01 02 000161 00",
        ),
        (
            Command::Acknowledge { fence, below: 5 },
            "0109000263310304 05",
        ),
        (mark, "010a000263310304 05 0100"),
        (
            Command::Publishing { fence, id: 258 },
            "010b000263310304 0102",
        ),
        (
            Command::PublishReceived { fence, id: 1 },
            "010c000263310304 0001",
        ),
        (
            Command::PublishReleased { fence, id: 1 },
            "010d000263310304 0001",
        ),
    ]
}

#[test]
fn commands_are_golden_and_read_back() {
    for (command, golden) in golden() {
        let bytes = command.encode();
        assert_eq!(encode_hex(&bytes), golden.replace(' ', ""), "{command:?}");
        assert_eq!(Command::decode(&bytes), Some(command));
    }
}

#[test]
fn a_cut_or_longer_command_is_none() {
    for (command, _) in golden() {
        let bytes = command.encode();
        for len in 0..bytes.len() {
            assert_eq!(
                Command::decode(&bytes[..len]),
                None,
                "{command:?} cut to {len}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Command::decode(&longer), None, "{command:?}");
    }
}

fn overflow() -> impl Strategy<Value = OverflowPolicy> {
    prop_oneof![
        Just(OverflowPolicy::DropOldest),
        Just(OverflowPolicy::DropNewest),
        Just(OverflowPolicy::RefusePublisher),
    ]
}

proptest! {
    #[test]
    fn an_insert_reads_back(
        body: Vec<u8>,
        bounds: (u32, u64),
        overflow in overflow(),
        origin: Option<(Vec<u8>, u64, u64, u64, Option<Vec<u8>>, bool)>,
        targets: Vec<(Vec<u8>, u64, u64, bool, bool, Vec<u16>)>,
    ) {
        let command = Command::Insert(Insert {
            body: &body,
            bounds: QueueBounds {
                messages_max: bounds.0,
                bytes_max: bounds.1,
                overflow,
            },
            origin: origin.as_ref().map(|(client, incarnation, number, floor, after, last)| Origin {
                client,
                incarnation: *incarnation,
                number: *number,
                floor: *floor,
                after: after.as_deref(),
                last: *last,
            }),
            targets: targets
                .iter()
                .map(|(client, incarnation, sent_below, twice, retain, ids)| InsertTarget {
                    client,
                    incarnation: *incarnation,
                    sent_below: *sent_below,
                    delivery: Delivery {
                        qos: if *twice { Qos::ExactlyOnce } else { Qos::AtLeastOnce },
                        retain: *retain,
                        subscription_ids: ids
                            .iter()
                            .filter_map(|id| SubscriptionId::new(u32::from(*id)))
                            .collect(),
                    },
                })
                .collect(),
        });
        let bytes = command.encode();
        prop_assert_eq!(Command::decode(&bytes), Some(command));
    }

    #[test]
    fn no_command_panics_the_reader(bytes: Vec<u8>, kind: u8) {
        let _ = Command::decode(&bytes);
        let _ = Command::decode(&[&[FORM, kind], &bytes[..]].concat());
    }
}
