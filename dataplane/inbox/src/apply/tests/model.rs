//! Random commands against a plain model: what a fetch brings is what a list would hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::rows::Mark;

const TENANTS: u8 = 2;
const CLIENTS: [&str; 3] = ["a", "b", "a\u{1}"];

/// A session as one would write it down.
#[derive(Debug, Clone, Default)]
struct Session {
    incarnation: u64,
    epoch: u64,
    online: bool,
    next: u64,
    /// A former owner may have sent what is below.
    sent_below: u64,
    queue: VecDeque<Entry>,
    marks: BTreeMap<u64, Mark>,
    subscriptions: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    sequence: u64,
    payload: String,
    qos: Qos,
    bytes: u64,
}

type Model = BTreeMap<(u8, usize), Session>;

#[derive(Debug, Clone)]
enum Op {
    Attach {
        who: (u8, usize),
        clean_start: bool,
    },
    Detach {
        who: (u8, usize),
    },
    Subscribe {
        who: (u8, usize),
        filter: String,
    },
    Insert {
        tenant: u8,
        payload: String,
        targets: Vec<(usize, bool)>,
        bounds: QueueBounds,
        same_entry: bool,
    },
    Acknowledge {
        who: (u8, usize),
        ahead: u64,
    },
    Mark {
        who: (u8, usize),
        ahead: u64,
        completed: bool,
    },
    /// Whatever an owner may do, by one who no longer is.
    Stale {
        who: (u8, usize),
    },
}

fn who() -> impl Strategy<Value = (u8, usize)> {
    (0..TENANTS, 0..CLIENTS.len())
}

fn bounds() -> impl Strategy<Value = QueueBounds> {
    let overflow = prop_oneof![
        3 => Just(OverflowPolicy::DropOldest),
        1 => Just(OverflowPolicy::DropNewest),
        1 => Just(OverflowPolicy::RefusePublisher),
    ];
    (0_u32..6, 0_u64..400, overflow).prop_map(|(messages_max, bytes_max, overflow)| QueueBounds {
        messages_max,
        bytes_max,
        overflow,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let insert = (
        0..TENANTS,
        prop_oneof![8 => "[a-z]{0,20}", 1 => "[a-z]{5000}"],
        prop::collection::vec((0..CLIENTS.len(), any::<bool>()), 0..4),
        prop_oneof![2 => Just(ROOMY), 1 => bounds()],
        any::<bool>(),
    );
    prop_oneof![
        3 => (who(), prop::bool::weighted(0.2))
            .prop_map(|(who, clean_start)| Op::Attach { who, clean_start }),
        1 => who().prop_map(|who| Op::Detach { who }),
        1 => (who(), "[a-c]").prop_map(|(who, filter)| Op::Subscribe { who, filter }),
        10 => insert.prop_map(|(tenant, payload, targets, bounds, same_entry)| Op::Insert {
            tenant,
            payload,
            targets,
            bounds,
            same_entry,
        }),
        4 => (who(), 0_u64..8).prop_map(|(who, ahead)| Op::Acknowledge { who, ahead }),
        2 => (who(), 0_u64..8, any::<bool>())
            .prop_map(|(who, ahead, completed)| Op::Mark { who, ahead, completed }),
        1 => who().prop_map(|who| Op::Stale { who }),
    ]
}

impl Session {
    fn owned(&self, (of, client): (u8, usize)) -> Owned {
        Owned {
            tenant: tenant(of),
            client: CLIENTS[client].to_owned(),
            incarnation: self.incarnation,
            epoch: self.epoch,
        }
    }

    fn cursor(&self) -> u64 {
        self.queue.front().map_or(self.next, |entry| entry.sequence)
    }

    fn bytes(&self) -> u64 {
        self.queue.iter().map(|entry| entry.bytes).sum()
    }

    fn insert(
        &mut self,
        payload: &str,
        qos: Qos,
        bytes: u64,
        bounds: &QueueBounds,
    ) -> InsertOutcome {
        let count = |queue: &VecDeque<Entry>| u64::try_from(queue.len()).unwrap();
        let fits = |session: &Self| {
            count(&session.queue) < u64::from(bounds.messages_max)
                && session.bytes() + bytes <= bounds.bytes_max
        };
        let hopeless = bounds.messages_max == 0 || bytes > bounds.bytes_max;
        if bounds.overflow == OverflowPolicy::RefusePublisher && !fits(self) {
            let full = if count(&self.queue) < u64::from(bounds.messages_max) {
                QueueBound::Bytes
            } else {
                QueueBound::Messages
            };
            return InsertOutcome::Refused { full };
        }
        if hopeless || (bounds.overflow == OverflowPolicy::DropNewest && !fits(self)) {
            return InsertOutcome::Overflowed {
                dropped: 1,
                stored: false,
            };
        }
        let mut dropped = 0;
        while !fits(self) {
            let entry = self.queue.pop_front().unwrap();
            if entry.qos == Qos::ExactlyOnce && entry.sequence < self.sent_below {
                self.marks.entry(entry.sequence).or_insert(Mark::Released);
            }
            dropped += 1;
        }
        self.queue.push_back(Entry {
            sequence: self.next,
            payload: payload.to_owned(),
            qos,
            bytes,
        });
        self.next += 1;
        match dropped {
            0 => InsertOutcome::Stored,
            dropped => InsertOutcome::Overflowed {
                dropped,
                stored: true,
            },
        }
    }

    /// What a fetch of everything brings, and what it skips besides what was dropped.
    fn fetched(&self) -> Vec<(u64, String)> {
        let unmarked = self
            .queue
            .iter()
            .filter(|entry| !self.marks.contains_key(&entry.sequence));
        unmarked
            .map(|entry| (entry.sequence, entry.payload.clone()))
            .collect()
    }
}

fn step(world: &mut World, model: &mut Model, op: Op) {
    match op {
        Op::Attach { who, clean_start } => attach(world, model, who, clean_start),
        Op::Detach { who } => {
            let Some(session) = model.get_mut(&who).filter(|session| session.online) else {
                return;
            };
            let owned = session.owned(who);
            // The owner knows all that it fetched; here it fetched nothing.
            let detach = Command::Detach {
                fence: owned.fence(),
                expiry_seconds: None,
                sent_below: 0,
                will: WillEnd::Dropped,
            };
            let expected = Answer::Ended {
                done: true,
                removed: Removed::default(),
            };
            assert_eq!(world.obey(owned.tenant, &detach), expected);
            session.online = false;
        }
        Op::Subscribe { who, filter } => {
            let Some(session) = model.get_mut(&who).filter(|session| session.online) else {
                return;
            };
            let owned = session.owned(who);
            let command = Command::Subscribe {
                fence: owned.fence(),
                filter: filter.as_bytes(),
                options: 1,
                subscription_id: 0,
            };
            let existed = !session.subscriptions.insert(filter.clone());
            assert_eq!(world.obey(owned.tenant, &command), Answer::Existed(existed));
        }
        Op::Insert {
            tenant,
            payload,
            targets,
            bounds,
            same_entry,
        } => {
            insert(world, model, tenant, &payload, &targets, bounds, same_entry);
        }
        Op::Acknowledge { who, ahead } => acknowledge(world, model, who, ahead),
        Op::Mark {
            who,
            ahead,
            completed,
        } => mark(world, model, who, ahead, completed),
        Op::Stale { who } => stale(world, model, who),
    }
}

fn attach(world: &mut World, model: &mut Model, who: (u8, usize), clean_start: bool) {
    let before = model.get(&who).cloned().filter(|_| !clean_start);
    let (owned, resumed) = world.attach(tenant(who.0), CLIENTS[who.1], clean_start);
    assert_eq!(resumed, before.is_some());
    let mut session = before.unwrap_or_default();
    if resumed {
        assert_eq!(owned.incarnation, session.incarnation);
        assert!(owned.epoch > session.epoch);
    }
    if session.online {
        session.sent_below = session.next;
    }
    session.incarnation = owned.incarnation;
    session.epoch = owned.epoch;
    session.online = true;
    model.insert(who, session);
}

fn insert(
    world: &mut World,
    model: &mut Model,
    of: u8,
    payload: &str,
    targets: &[(usize, bool)],
    bounds: QueueBounds,
    same_entry: bool,
) {
    let body = body(payload, None);
    let bytes = u64::try_from(body.len()).unwrap();
    let mut expected = Vec::new();
    let mut commanded = Vec::new();
    for (client, twice) in targets {
        let qos = if *twice {
            Qos::ExactlyOnce
        } else {
            Qos::AtLeastOnce
        };
        let session = model.get_mut(&(of, *client));
        let incarnation = session.as_ref().map_or(7, |session| session.incarnation);
        commanded.push(target(CLIENTS[*client], incarnation, qos));
        expected.push(match session {
            None => InsertOutcome::NoSubscription,
            Some(session) => session.insert(payload, qos, bytes, &bounds),
        });
    }
    let insert = Insert {
        body: &body,
        bounds,
        origin: None,
        targets: commanded,
    };
    let command = Command::Insert(insert);
    let answer = match same_entry {
        true => world.obey_same_entry(tenant(of), &command),
        false => world.obey(tenant(of), &command),
    };
    assert_eq!(answer, Answer::Inserted(expected));
}

fn acknowledge(world: &mut World, model: &mut Model, who: (u8, usize), ahead: u64) {
    let Some(session) = model.get_mut(&who).filter(|session| session.online) else {
        return;
    };
    let owned = session.owned(who);
    let below = session.cursor() + ahead;
    let command = Command::Acknowledge {
        fence: owned.fence(),
        below,
    };
    for _ in 0..2 {
        assert_eq!(world.obey(owned.tenant, &command), Answer::Done);
        session.queue.retain(|entry| entry.sequence >= below);
        let next = session.next;
        session
            .marks
            .retain(|sequence, _| *sequence >= below.min(next));
        session.sent_below = session.sent_below.max(session.cursor());
    }
}

fn mark(world: &mut World, model: &mut Model, who: (u8, usize), ahead: u64, completed: bool) {
    let Some(session) = model.get_mut(&who).filter(|session| session.online) else {
        return;
    };
    let owned = session.owned(who);
    let sequence = session.cursor() + ahead;
    let mark = if completed {
        Mark::Completed
    } else {
        Mark::Released
    };
    let command = Command::Mark {
        fence: owned.fence(),
        sequence,
        mark,
    };
    let answer = world.obey(owned.tenant, &command);
    if sequence >= session.next {
        assert_eq!(answer, Answer::Unknown);
        return;
    }
    assert_eq!(answer, Answer::Done);
    let known = session.marks.entry(sequence).or_insert(mark);
    if mark == Mark::Completed {
        *known = mark;
    }
}

fn stale(world: &mut World, model: &Model, who: (u8, usize)) {
    let session = model.get(&who).cloned().unwrap_or_default();
    let former = Owned {
        epoch: session.epoch.wrapping_sub(1),
        ..session.owned(who)
    };
    let before = world.rows.clone();
    let fence = former.fence();
    let filter = b"a";
    let commands = [
        Command::Detach {
            fence,
            expiry_seconds: Some(0),
            sent_below: 9,
            will: WillEnd::Dropped,
        },
        Command::Subscribe {
            fence,
            filter,
            options: 0,
            subscription_id: 0,
        },
        Command::Unsubscribe { fence, filter },
        Command::Confirm { fence, filter },
        Command::Acknowledge {
            fence,
            below: u64::MAX,
        },
        Command::Mark {
            fence,
            sequence: 0,
            mark: Mark::Released,
        },
        Command::Publishing { fence, id: 1 },
        Command::PublishReceived { fence, id: 1 },
        Command::PublishReleased { fence, id: 1 },
    ];
    for command in commands {
        assert_eq!(
            world.obey(former.tenant, &command),
            Answer::Stale,
            "{command:?}"
        );
    }
    assert_eq!(world.rows, before, "a former owner changes nothing");
}

fn check(world: &World, model: &Model) {
    invariants::check(&world.rows);
    for (who, session) in model {
        let owned = session.owned(*who);
        assert_eq!(world.queue(&owned), session.fetched());
        check_fetches(world, &owned, session);
        let subscriptions =
            query::subscriptions(&world.rows, owned.tenant, owned.client.as_bytes()).unwrap();
        let filters: BTreeSet<_> = subscriptions
            .iter()
            .map(|stored| stored.filter.to_string())
            .collect();
        assert_eq!(filters, session.subscriptions);
    }
}

/// Fetching in small steps meets every sequence exactly once: delivered, skipped, or released.
fn check_fetches(world: &World, owned: &Owned, session: &Session) {
    let mut met = Vec::new();
    let mut from = 0;
    loop {
        let bounds = FetchBounds {
            messages_max: 2,
            bytes_max: 100,
        };
        let fetched = world.fetch_within(owned, from, bounds);
        assert!(fetched.messages.len() <= 2);
        met.extend(fetched.messages.iter().map(|queued| queued.sequence));
        met.extend(fetched.skipped.iter().cloned().flatten());
        if fetched.next == from {
            break;
        }
        from = fetched.next;
    }
    let released = session
        .marks
        .iter()
        .filter(|(_, mark)| **mark == Mark::Released);
    met.extend(released.map(|(sequence, _)| *sequence));
    met.sort_unstable();
    assert_eq!(met, (0..session.next).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_queue_is_what_a_plain_list_would_be(ops in prop::collection::vec(op(), 0..80)) {
        let mut world = World::new();
        let mut model = Model::new();
        for op in ops {
            step(&mut world, &mut model, op);
            check(&world, &model);
        }
    }

    #[test]
    fn the_same_commands_make_the_same_rows(ops in prop::collection::vec(op(), 0..40)) {
        let run = |ops: &[Op]| {
            let mut world = World::new();
            let mut model = Model::new();
            for op in ops {
                step(&mut world, &mut model, op.clone());
            }
            world.rows
        };
        prop_assert_eq!(run(&ops), run(&ops));
    }
}
