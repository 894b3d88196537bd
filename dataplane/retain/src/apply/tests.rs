use std::collections::BTreeMap;

use proptest::prelude::*;
use tessera_mqtt::{Message, TopicFilter, TopicName};
use tessera_shard::ShardId;
use tessera_tenancy::PrincipalId;

use super::*;
use crate::body::encode_body;
use crate::memory_rows::MemoryRows;
use crate::message::MatchCursor;
use crate::path::path_of;
use crate::query;

const WRITER: PrincipalId = PrincipalId::from_bytes([0x22; 16]);
const UNBOUNDED: RetainBounds = RetainBounds {
    messages_max: u64::MAX,
    bytes_max: u64::MAX,
};

fn tenant(byte: u8) -> TenantId {
    TenantId::from_bytes([byte; 16])
}

fn cx(time_ms: u64) -> ApplyContext {
    ApplyContext {
        shard: ShardId::from_u64(1),
        term: 1,
        index: 1,
        ordinal: 0,
        time_ms,
    }
}

fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn message(text: &str, payload: &str, expiry_seconds: Option<u32>) -> Message {
    Message {
        expiry_seconds,
        ..Message::new(topic(text), payload.to_owned())
    }
}

fn put_within(
    rows: &mut MemoryRows,
    whose: TenantId,
    message: &Message,
    bounds: RetainBounds,
    time_ms: u64,
) -> PutOutcome {
    let path = path_of(&message.topic);
    let body = encode_body(message, WRITER);
    let command = if message.payload.is_empty() {
        Command::Clear { path: &path }
    } else {
        Command::Put {
            path: &path,
            bounds,
            body: &body,
        }
    };
    let (answer, _) = obey(&cx(time_ms), rows, whose, &command).unwrap();
    let Answer::Put(outcome) = answer else {
        panic!("{answer:?}")
    };
    outcome
}

fn put(rows: &mut MemoryRows, whose: TenantId, message: &Message, time_ms: u64) -> PutOutcome {
    put_within(rows, whose, message, UNBOUNDED, time_ms)
}

/// Every page of a match: topic and payload.
fn matching(
    rows: &MemoryRows,
    whose: TenantId,
    filter: &str,
    limit: usize,
    now_ms: u64,
) -> BTreeMap<String, String> {
    let filter = TopicFilter::try_from(filter).unwrap();
    let mut found = BTreeMap::new();
    let mut after: Option<MatchCursor> = None;
    loop {
        let page = query::matching(rows, whose, &filter, after.as_ref(), limit, now_ms).unwrap();
        assert!(page.messages.len() <= limit);
        for retained in page.messages {
            let payload = String::from_utf8(retained.message.payload.to_vec()).unwrap();
            let before = found.insert(retained.message.topic.to_string(), payload);
            assert_eq!(before, None, "a topic comes once");
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

#[test]
fn a_put_replaces_and_an_empty_payload_clears() {
    let mut rows = MemoryRows::default();
    let a = tenant(1);
    let outcomes = [
        (
            message("t", "1", None),
            PutOutcome::Stored { replaced: false },
        ),
        (
            message("t", "2", None),
            PutOutcome::Stored { replaced: true },
        ),
        (
            message("t", "", None),
            PutOutcome::Cleared { existed: true },
        ),
        (
            message("t", "", None),
            PutOutcome::Cleared { existed: false },
        ),
    ];
    for (message, expected) in outcomes {
        assert_eq!(put(&mut rows, a, &message, 0), expected);
    }
    assert_eq!(query::figures(&rows, a).unwrap(), TenantFigures::default());
    assert_eq!(rows.0.len(), 1, "only the figures are left");
}

/// One expire command: how many messages it removed, and whether there are more.
fn expire(rows: &mut MemoryRows, whose: TenantId, time_ms: u64) -> (u64, bool) {
    let (answer, _) = obey(&cx(time_ms), rows, whose, &Command::Expire).unwrap();
    let Answer::Expired { messages, more } = answer else {
        panic!("{answer:?}")
    };
    (messages, more)
}

#[test]
fn what_expires_is_hidden_at_once_and_removed_by_the_groups_time() {
    let mut rows = MemoryRows::default();
    let a = tenant(1);
    put(&mut rows, a, &message("short", "1", Some(1)), 1_000);
    put(&mut rows, a, &message("long", "1", Some(9)), 1_000);
    let dead = message("never", "1", Some(0));
    assert_eq!(put(&mut rows, a, &dead, 1_000), PutOutcome::Expired);
    assert_eq!(matching(&rows, a, "#", 10, 1_999).len(), 2);
    assert_eq!(matching(&rows, a, "#", 10, 2_000).len(), 1);
    let hidden = query::get(&rows, a, &topic("short"), 2_000).unwrap();
    assert!(hidden.is_none());
    assert_eq!(query::first_due(&rows, a).unwrap(), Some(2_000));
    assert_eq!(expire(&mut rows, a, 1_999), (0, false));
    assert_eq!(expire(&mut rows, a, 2_000), (1, false));
    assert_eq!(query::figures(&rows, a).unwrap().messages, 1);
    let around = query::look_around(&rows, [0; 16]).unwrap();
    assert_eq!((around.dues, around.next), (vec![(a, 10_000)], None));
}

#[test]
fn a_replaced_message_leaves_nothing_that_expires() {
    let mut rows = MemoryRows::default();
    let a = tenant(1);
    put(&mut rows, a, &message("t", "1", Some(1)), 1_000);
    put(&mut rows, a, &message("t", "2", None), 1_500);
    assert_eq!(expire(&mut rows, a, 9_000), (0, false));
    assert_eq!(matching(&rows, a, "t", 10, 9_000).len(), 1);
}

#[test]
fn a_step_of_expiry_is_bounded() {
    let mut rows = MemoryRows::default();
    let a = tenant(1);
    for at in 0..EXPIRED_MAX + 5 {
        put(&mut rows, a, &message(&format!("t/{at}"), "1", Some(1)), 0);
    }
    let full = u64::try_from(EXPIRED_MAX).unwrap();
    assert_eq!(expire(&mut rows, a, 5_000), (full, true));
    assert_eq!(expire(&mut rows, a, 5_000), (5, false));
    assert_eq!(rows.0.len(), 1, "only the figures are left");
}

#[test]
fn what_was_stored_is_noted_as_due_once_readers_see_it() {
    let mut rows = MemoryRows::default();
    let due = Arc::new(DueTenants::default());
    let machine = Machine::new(Arc::clone(&due));
    let scope = Scope::Tenant(tenant(1));
    for (name, expiry_seconds) in [("a", Some(2)), ("b", Some(1)), ("c", None)] {
        let message = message(name, "1", expiry_seconds);
        let (path, body) = (path_of(&message.topic), encode_body(&message, WRITER));
        let put = Command::Put {
            path: &path,
            bounds: UNBOUNDED,
            body: &body,
        };
        machine
            .apply(&cx(0), &mut rows, scope, &put.encode())
            .unwrap();
    }
    assert_eq!(due.take(u64::MAX), []);
    machine.committed();
    assert_eq!(due.take(999), []);
    assert_eq!(due.take(1_000), [tenant(1)]);
}

#[test]
fn bounds_refuse_what_takes_more_and_nothing_else() {
    let mut rows = MemoryRows::default();
    let a = tenant(1);
    let one = RetainBounds {
        messages_max: 1,
        ..UNBOUNDED
    };
    let put_one =
        |rows: &mut MemoryRows, text: &str| put_within(rows, a, &message(text, "1", None), one, 0);
    assert_eq!(
        put_one(&mut rows, "t"),
        PutOutcome::Stored { replaced: false }
    );
    assert_eq!(put_one(&mut rows, "u"), PutOutcome::Full);
    assert_eq!(
        put_one(&mut rows, "t"),
        PutOutcome::Stored { replaced: true }
    );
    let bytes = RetainBounds {
        bytes_max: 1,
        ..UNBOUNDED
    };
    let grown = message("t", "12", None);
    assert_eq!(put_within(&mut rows, a, &grown, bytes, 0), PutOutcome::Full);
    let same = message("t", "2", None);
    let kept = put_within(&mut rows, a, &same, bytes, 0);
    assert_eq!(
        kept,
        PutOutcome::Stored { replaced: true },
        "lowered bounds freeze nothing"
    );
}

#[test]
fn a_command_that_does_not_read_changes_nothing() {
    let mut rows = MemoryRows::default();
    let machine = Machine::new(Arc::default());
    let body = encode_body(&message("t", "1", None), WRITER);
    let bad = [
        Command::Put {
            path: b"\x05a",
            bounds: UNBOUNDED,
            body: &body,
        },
        Command::Put {
            path: b"",
            bounds: UNBOUNDED,
            body: &body,
        },
        Command::Put {
            path: b"\x01a",
            bounds: UNBOUNDED,
            body: &body[..5],
        },
        Command::Put {
            path: b"\x01#",
            bounds: UNBOUNDED,
            body: &body,
        },
        Command::Clear { path: b"\x02a" },
    ];
    for command in bad {
        let (answer, _) = obey(&cx(0), &mut rows, tenant(1), &command).unwrap();
        assert_eq!(answer, Answer::Malformed, "{command:?}");
    }
    let unread = machine
        .apply(&cx(0), &mut rows, Scope::Tenant(tenant(1)), b"\x09")
        .unwrap();
    assert_eq!(Answer::decode(&unread), Some(Answer::Malformed));
    let group = machine
        .apply(&cx(0), &mut rows, Scope::Group, &Command::Expire.encode())
        .unwrap();
    assert_eq!(Answer::decode(&group), Some(Answer::Malformed));
    assert_eq!(rows, MemoryRows::default());
}

#[test]
fn a_page_that_looked_at_enough_says_where_to_go_on() {
    let mut rows = MemoryRows::default();
    let a = tenant(1);
    for at in 0..25_000 {
        put(&mut rows, a, &message(&format!("t/{at}/x"), "1", None), 0);
    }
    put(&mut rows, a, &message("t/24999/y", "1", None), 0);
    let filter = TopicFilter::try_from("t/+/y").unwrap();
    let page = query::matching(&rows, a, &filter, None, 10, 0).unwrap();
    assert!(page.messages.is_empty() && page.next.is_some());
    assert_eq!(matching(&rows, a, "t/+/y", 10, 0).len(), 1);
}

/// One step of the model.
#[derive(Debug, Clone)]
enum Op {
    Put {
        tenant: u8,
        topic: String,
        payload: String,
        expiry_seconds: Option<u32>,
    },
    Expire {
        tenant: u8,
    },
    Wait {
        ms: u64,
    },
}

fn topics() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just(""), Just("a"), Just("b"), Just("$x"), Just("\u{1}a")];
    prop::collection::vec(level, 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |text| !text.is_empty())
}

fn filters() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just(""), Just("a"), Just("b"), Just("$x"), Just("+")];
    (prop::collection::vec(level, 0..4), any::<bool>())
        .prop_map(|(mut levels, hash)| {
            levels.extend(hash.then_some("#"));
            levels.join("/")
        })
        .prop_filter("not a filter", |text| {
            TopicFilter::try_from(&text[..]).is_ok()
        })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let put = (0_u8..2, topics(), "[xy]{0,3}", prop::option::of(0_u32..4)).prop_map(
        |(tenant, topic, payload, expiry_seconds)| Op::Put {
            tenant,
            topic,
            payload,
            expiry_seconds,
        },
    );
    let op = prop_oneof![
        6 => put,
        1 => (0_u8..2).prop_map(|tenant| Op::Expire { tenant }),
        1 => (0_u64..2_000).prop_map(|ms| Op::Wait { ms }),
    ];
    prop::collection::vec(op, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn readers_see_what_a_plain_map_would_hold(ops in ops(), filter in filters(), limit in 1_usize..4) {
        let mut rows = MemoryRows::default();
        let mut model = BTreeMap::<(u8, String), (String, Option<u64>)>::new();
        let mut now_ms = 0;
        for op in ops {
            match op {
                Op::Wait { ms } => now_ms += ms,
                Op::Expire { tenant: whose } => {
                    expire(&mut rows, tenant(whose), now_ms);
                }
                Op::Put { tenant: whose, topic, payload, expiry_seconds } => {
                    put(&mut rows, tenant(whose), &message(&topic, &payload, expiry_seconds), now_ms);
                    let due_ms = expiry_seconds.map(|seconds| now_ms + u64::from(seconds) * 1_000);
                    let key = (whose, topic);
                    if payload.is_empty() || due_ms == Some(now_ms) {
                        model.remove(&key);
                    } else {
                        model.insert(key, (payload, due_ms));
                    }
                }
            }
        }
        model.retain(|_, (_, due_ms)| due_ms.is_none_or(|due_ms| due_ms > now_ms));
        let parsed = TopicFilter::try_from(&filter[..]).unwrap();
        for whose in 0..2 {
            let expected: BTreeMap<_, _> = model
                .iter()
                .filter(|((of, name), _)| *of == whose && parsed.matches(&topic(name)))
                .map(|((_, name), (payload, _))| (name.clone(), payload.clone()))
                .collect();
            prop_assert_eq!(matching(&rows, tenant(whose), &filter, limit, now_ms), expected);
        }
        check_figures(&rows, now_ms);
    }
}

/// The figures are the sums of the rows, and everything that has a time is found by it.
fn check_figures(rows: &MemoryRows, now_ms: u64) {
    for whose in 0..2 {
        let mut sums = TenantFigures::default();
        let mut dues = 0;
        for (key, value) in &rows.0 {
            match Row::parse(key).unwrap() {
                (of, Row::Message { path }) if of == tenant(whose) => {
                    sums.messages += 1;
                    sums.bytes += cost(path, value);
                    let (stored_at_ms, body) = split_value(value).unwrap();
                    dues += usize::from(due_of(body, stored_at_ms).unwrap().is_some());
                }
                (of, Row::Due { .. }) if of == tenant(whose) => dues = dues.wrapping_sub(1),
                _ => {}
            }
        }
        assert_eq!(
            query::figures(rows, tenant(whose)).unwrap(),
            sums,
            "at {now_ms}"
        );
        assert_eq!(
            dues, 0,
            "a due row for each message with an expiry, and no other"
        );
    }
}
