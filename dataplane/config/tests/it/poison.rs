//! Pushes that must change nothing: each is refused whole, with its reason, and what was in force
//! stays in force, also on disk. Afterwards a good push is taken.

use tessera_config::{InvalidChange as Invalid, MemoryDisk, PushRefused as Refused, PushStream};
use tessera_tenancy::{ChangeBody, Frame, FrameKey, FrameOpenError, LimitCode, TenantId};

use crate::support::*;

/// A tenant that is not in force.
const UNKNOWN: TenantId = TenantId::from_bytes([0xc0; 16]);

/// What is in force before and after each push: revision 5.
fn in_force() -> Vec<(TenantId, ChangeBody)> {
    vec![
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "s-1", &[1]),
        set_credential(ACME, 2, "s-2", &[2]),
        set_tenant(GLOBEX, "globex"),
        set_credential(GLOBEX, 3, "s-1", &[3, 4]),
    ]
}

/// The last of `lines` must be refused, as `refused` says; the others are taken.
struct Poison {
    name: &'static str,
    lines: Vec<String>,
    refused: Box<dyn Fn(&Refused) -> bool>,
}

fn poison(
    name: &'static str,
    lines: Vec<String>,
    refused: impl Fn(&Refused) -> bool + 'static,
) -> Poison {
    Poison {
        name,
        lines,
        refused: Box::new(refused),
    }
}

/// After a good hello.
fn frames(
    name: &'static str,
    frames: impl IntoIterator<Item = Frame>,
    refused: impl Fn(&Refused) -> bool + 'static,
) -> Poison {
    poison(name, lines([hello(9)].into_iter().chain(frames)), refused)
}

/// Refused for one change in it.
fn because(cause: fn(&Invalid) -> bool) -> impl Fn(&Refused) -> bool {
    move |refused| matches!(refused, Refused::Change { cause: found, .. } if cause(found))
}

/// A good frame, its JSON changed, and signed again.
fn edited(name: &'static str, from: &str, to: &str) -> Poison {
    let bodies = vec![
        set_tenant(ACME, "edited"),
        set_credential(ACME, 1, "s-9", &[9]),
    ];
    let good = line(1, changes(5, bodies));
    let (_, json) = good.split_once(' ').unwrap();
    assert!(json.contains(from), "{name}: {json}");
    let lines = vec![line(0, hello(9)), signed(&json.replacen(from, to, 1))];
    poison(name, lines, is_json)
}

fn signed(json: &str) -> String {
    format!("{} {json}", key().sign(json.as_bytes()))
}

const fn is_json(refused: &Refused) -> bool {
    matches!(refused, Refused::Line(FrameOpenError::Json(_)))
}

const fn is_form(refused: &Refused) -> bool {
    matches!(refused, Refused::Line(FrameOpenError::Form))
}

const fn is_signature(refused: &Refused) -> bool {
    matches!(refused, Refused::Line(FrameOpenError::Signature))
}

const fn is_revision(refused: &Refused) -> bool {
    matches!(refused, Refused::RevisionTooLarge { .. })
}

const fn is_order(refused: &Refused) -> bool {
    matches!(refused, Refused::Order { .. })
}

fn good(after: u64) -> Frame {
    changes(after, vec![set_tenant(ACME, "poisoned")])
}

fn unreadable_lines() -> Vec<Poison> {
    let sealed = line(0, hello(9));
    let other_key = FrameKey::from_bytes([8; 32]);
    let json = sealed.split_once(' ').unwrap().1;
    let oversized = "x".repeat(2 * Frame::LINE_BYTES_MAX);
    let padded = signed(&format!("{}{json}", " ".repeat(Frame::LINE_BYTES_MAX)));
    vec![
        poison("blank line", vec![String::new()], is_form),
        poison("no signature", vec!["{}".to_owned()], is_form),
        poison("over the line bound", vec![oversized], is_form),
        poison("signed, over the line bound", vec![padded], is_form),
        poison("wrong signature", vec![format!("00 {json}")], is_signature),
        poison(
            "another key",
            vec![format!("{} {json}", other_key.sign(json.as_bytes()))],
            is_signature,
        ),
        poison(
            "changed on its way",
            vec![sealed.replace("\"head\":9", "\"head\":8")],
            is_signature,
        ),
        poison(
            "cut off",
            vec![sealed[..sealed.len() - 1].to_owned()],
            is_signature,
        ),
        poison("null", vec![signed("null")], is_json),
        poison("empty text", vec![signed("")], is_json),
        poison("an empty object", vec![signed("{}")], is_json),
    ]
}

fn edited_frames() -> Vec<Poison> {
    vec![
        edited(
            "unknown frame",
            r#""frame":"changes""#,
            r#""frame":"charges""#,
        ),
        edited(
            "unknown change",
            r#""kind":"tenant""#,
            r#""kind":"tenants""#,
        ),
        edited(
            "unknown status",
            r#""status":"active""#,
            r#""status":"frozen""#,
        ),
        edited(
            "unknown policy",
            r#""policy":"allow_all""#,
            r#""policy":"deny""#,
        ),
        edited("unknown limit", r#""connections""#, r#""conections""#),
        edited("unknown field", r#""plan":"#, r#""plan2":1,"plan":"#),
        edited("repeated field", r#""plan":"#, r#""plan":"pro","plan":"#),
        edited("missing field", r#""plan":"free","#, ""),
        edited("blank slug", r#""slug":"edited""#, r#""slug":"""#),
        edited("null slug", r#""slug":"edited""#, r#""slug":null"#),
        edited("null limits", r#""limits":{"#, r#""limits":null,"x":{"#),
        edited(
            "negative limit",
            r#""connections":100"#,
            r#""connections":-1"#,
        ),
        edited(
            "limit out of range",
            r#""connections":100"#,
            r#""connections":1e99"#,
        ),
        edited(
            "limit as text",
            r#""connections":100"#,
            r#""connections":"100""#,
        ),
        edited("wildcard in a user name", r#""s-9""#, r##""s/#""##),
        edited("blank user name", r#""s-9""#, r#""""#),
        edited("short key id", "00000009", "9"),
        edited("short digest", "d1d1", "d1"),
        edited("negative revision", r#""revision":6"#, r#""revision":-6"#),
        edited("foreign id", r#""tenant":"ten_"#, r#""tenant":"org_"#),
        edited("changes of null", r#""changes":["#, r#""changes":[null,"#),
    ]
}

fn misplaced_frames() -> Vec<Poison> {
    let foreign = Frame::Hello {
        timeline: OTHER_TIMELINE,
        head: tessera_tenancy::Revision(9),
    };
    vec![
        poison(
            "another stream's nonce",
            vec![{
                let json = line(0, hello(9)).split_once(' ').unwrap().1.to_owned();
                signed(&json.replace(NONCE, "beef"))
            }],
            |refused| matches!(refused, Refused::Nonce),
        ),
        poison(
            "a number left out",
            vec![line(0, hello(9)), line(2, good(5))],
            |refused| {
                matches!(
                    refused,
                    Refused::Number {
                        expected: 1,
                        found: 2
                    }
                )
            },
        ),
        poison(
            "a line repeated",
            vec![line(0, hello(9)), line(0, hello(9))],
            |refused| {
                matches!(
                    refused,
                    Refused::Number {
                        expected: 1,
                        found: 0
                    }
                )
            },
        ),
        poison(
            "the largest number",
            vec![line(u64::MAX, hello(9))],
            |refused| matches!(refused, Refused::Number { .. }),
        ),
        poison("a foreign timeline", lines([foreign]), |refused| {
            matches!(refused, Refused::ForeignTimeline { .. })
        }),
        poison("an older head", lines([hello(4)]), |refused| {
            matches!(refused, Refused::HistoryTooShort { .. })
        }),
        poison("the largest head", lines([hello(u64::MAX)]), is_revision),
        poison("changes first", lines([good(5)]), is_order),
        poison("a heartbeat first", lines([heartbeat(9)]), is_order),
        poison("a snapshot first", lines([begin(9)]), is_order),
        frames("hello twice", [hello(9)], is_order),
        frames("an end without a begin", [end(9)], is_order),
        frames("a begin inside a snapshot", [begin(9), begin(9)], is_order),
        frames(
            "a begin after changes",
            [changes(5, vec![]), begin(9)],
            is_order,
        ),
        frames("hello inside a snapshot", [begin(9), hello(9)], is_order),
        frames(
            "a heartbeat below what is applied",
            [heartbeat(4)],
            |refused| matches!(refused, Refused::HistoryTooShort { .. }),
        ),
        frames("the largest heartbeat", [heartbeat(u64::MAX)], is_revision),
    ]
}

fn bad_revisions() -> Vec<Poison> {
    let frame = |revisions: &[u64]| Frame::Changes {
        changes: revisions
            .iter()
            .map(|revision| change(*revision, set_tenant(ACME, "poisoned")))
            .collect(),
    };
    vec![
        frames("a gap at the start", [frame(&[7])], |refused| {
            matches!(refused, Refused::Gap { .. })
        }),
        frames("a gap inside", [frame(&[6, 8])], |refused| {
            matches!(refused, Refused::Gap { .. })
        }),
        frames("descending revisions", [frame(&[7, 6])], |refused| {
            matches!(refused, Refused::NotAscending { .. })
        }),
        frames("a revision twice", [frame(&[6, 6])], |refused| {
            matches!(refused, Refused::NotAscending { .. })
        }),
        frames("the largest revision", [frame(&[u64::MAX])], is_revision),
        frames(
            "more changes than a frame holds",
            [frame(&(6..=6 + 256).collect::<Vec<_>>())],
            |refused| matches!(refused, Refused::TooManyChanges { count: 257 }),
        ),
        frames("an older snapshot", [begin(4)], |refused| {
            matches!(refused, Refused::HistoryTooShort { .. })
        }),
        frames("the largest snapshot", [begin(u64::MAX)], is_revision),
        frames(
            "another revision inside a snapshot",
            [begin(9), staged(8, vec![set_tenant(ACME, "poisoned")])],
            |refused| matches!(refused, Refused::SnapshotRevision { .. }),
        ),
        frames(
            "another revision at its end",
            [begin(9), end(8)],
            |refused| matches!(refused, Refused::SnapshotRevision { .. }),
        ),
    ]
}

type BadChange = (&'static str, (TenantId, ChangeBody), fn(&Invalid) -> bool);

/// Bad in changes and in snapshots alike.
fn bad_changes() -> [BadChange; 8] {
    let nobody = TenantId::from_bytes([0; 16]);
    let mut huge = tenant("huge");
    huge.limits = huge.limits.with(LimitCode::Connections, Some(u64::MAX));
    [
        ("no tenant id", set_tenant(nobody, "nobody"), |cause| {
            matches!(cause, Invalid::NoTenantId)
        }),
        (
            "a slug of another tenant's",
            set_tenant(UNKNOWN, "globex"),
            |cause| matches!(cause, Invalid::SlugTaken { owner, .. } if *owner == GLOBEX),
        ),
        (
            "a limit above the registry's",
            (UNKNOWN, ChangeBody::Tenant(huge)),
            |cause| matches!(cause, Invalid::LimitTooLarge { .. }),
        ),
        (
            "a user name of another's",
            set_credential(ACME, 9, "s-1", &[9]),
            |cause| matches!(cause, Invalid::UsernameTaken { .. }),
        ),
        (
            "three secrets",
            set_credential(ACME, 9, "s-9", &[7, 8, 9]),
            |cause| matches!(cause, Invalid::TooManySecrets { count: 3 }),
        ),
        (
            "one key id twice",
            set_credential(ACME, 9, "s-9", &[9, 9]),
            |cause| matches!(cause, Invalid::KeyIdTaken { .. }),
        ),
        (
            "a key id of the same tenant's",
            set_credential(ACME, 9, "s-9", &[2]),
            |cause| matches!(cause, Invalid::KeyIdTaken { .. }),
        ),
        (
            "a key id of another tenant's",
            set_credential(ACME, 9, "s-9", &[4]),
            |cause| matches!(cause, Invalid::KeyIdTaken { .. }),
        ),
    ]
}

/// Each behind good changes in the same frame.
fn bad_in_changes() -> Vec<Poison> {
    let unknown: BadChange = (
        "a credential of an unknown tenant",
        set_credential(UNKNOWN, 9, "s-9", &[9]),
        |cause| matches!(cause, Invalid::UnknownTenant),
    );
    let bad = bad_changes().into_iter().chain([unknown]);
    bad.map(|(name, body, cause)| {
        let bodies = vec![set_tenant(ACME, "poisoned"), remove_tenant(UNKNOWN), body];
        frames(name, [changes(5, bodies)], because(cause))
    })
    .collect()
}

/// Each in its own frame behind a good one.
fn bad_in_snapshots() -> Vec<Poison> {
    let repeated: fn(&Invalid) -> bool = |cause| matches!(cause, Invalid::Repeated);
    let removal: fn(&Invalid) -> bool = |cause| matches!(cause, Invalid::RemovalInSnapshot);
    let only_in_snapshots = [
        ("a tenant twice", set_tenant(ACME, "twice"), repeated),
        (
            "a credential twice",
            set_credential(ACME, 1, "twice", &[9]),
            repeated,
        ),
        ("a tenant's removal", remove_tenant(ACME), removal),
        (
            "a credential's removal",
            remove_credential(ACME, 1),
            removal,
        ),
    ];
    let bad = bad_changes().into_iter().chain(only_in_snapshots);
    let mut poisons: Vec<_> = bad
        .map(|(name, body, cause)| {
            let sent = [begin(9), staged(9, in_force()), staged(9, vec![body])];
            frames(name, sent, because(cause))
        })
        .collect();
    let orphan = staged(9, vec![set_credential(UNKNOWN, 1, "s-1", &[9])]);
    poisons.push(frames(
        "a snapshot that leaves a tenant out",
        [begin(9), staged(9, in_force()), orphan, end(9)],
        |refused| matches!(refused, Refused::SnapshotIncomplete { tenant } if *tenant == UNKNOWN),
    ));
    poisons
}

#[test]
fn poison_is_refused_whole_with_its_reason() {
    let poisons = [
        unreadable_lines(),
        edited_frames(),
        misplaced_frames(),
        bad_revisions(),
        bad_in_changes(),
        bad_in_snapshots(),
    ];
    let mut count = 0;
    for poison in poisons.into_iter().flatten() {
        check(&poison);
        count += 1;
    }
    assert!(count >= 70, "{count}");
}

fn check(poison: &Poison) {
    let name = poison.name;
    let disk = MemoryDisk::new();
    let config = open(&disk);
    Stream::open(&config, 5)
        .send(changes(0, in_force()))
        .unwrap();
    let mut expected = Expected::default();
    for (tenant, body) in in_force() {
        expected.apply(tenant, &body);
    }
    let told = Told::by(&config);
    let events = told.events.lock().len();

    let mut stream = PushStream::new(&config, key(), NONCE);
    let (last, before) = poison.lines.split_last().unwrap();
    for line in before {
        let progress = stream.handle_line(line);
        assert_eq!(progress.map(|one| one.applied), Ok(None), "{name}");
    }
    let refused = stream.handle_line(last).unwrap_err();
    assert!((poison.refused)(&refused), "{name}: {refused:?}");
    assert!(!refused.is_fatal(), "{name}");
    assert_eq!(stream.handle_line(last), Err(Refused::Over), "{name}");

    assert_eq!(told.events.lock().len(), events, "{name}");
    for config in [&config, &open(&disk)] {
        assert_eq!(config.position().1.0, 5, "{name}");
        check_lookups(config, &expected);
    }
    let mut next = Stream::open(&config, 6);
    next.send(good(5)).unwrap();
    next.sweep(&disk, 6);
    assert_eq!(disk.row_count(), expected.row_count(), "{name}");
}

#[test]
fn any_signed_text_is_refused_or_taken_without_a_panic() {
    let json = line(1, changes(5, in_force()));
    let json = json.split_once(' ').unwrap().1;
    let mut config = open(&MemoryDisk::new());
    for at in (0..json.len()).step_by(3) {
        for replaced in ["", "0", "\"", "null", "{", "99999999999999999999"] {
            let text = format!("{}{replaced}{}", &json[..at], &json[at + 1..]);
            let mut stream = PushStream::new(&config, key(), NONCE);
            stream.handle_line(&line(0, hello(9))).unwrap();
            let taken = stream.handle_line(&signed(&text)).is_ok();
            assert!(taken || config.position().1.0 == 0);
            assert!(taken || config.tenant_count() == 0);
            if taken {
                config = open(&MemoryDisk::new());
            }
        }
    }
}
