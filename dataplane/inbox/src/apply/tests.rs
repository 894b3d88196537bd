//! `apply` and `query` over rows in memory.

mod invariants;
mod messages;
mod model;
mod refusals;
mod registrations;
mod sessions;
mod wills;

use bytes::Bytes;
use tessera_mqtt::{Message, Qos, TopicName};
use tessera_shard::ShardId;
use tessera_tenancy::PrincipalId;

use super::*;
use crate::answer::{AttachOutcome, Removed};
use crate::body::encode_body;
use crate::command::{Attach, Fence, Insert, InsertTarget, Origin};
use crate::keys::Row;
use crate::memory_rows::MemoryRows;
use crate::query::{self, FetchBounds};
use crate::queue::{Fetched, InsertOutcome, OverflowPolicy, QueueBound, QueueBounds};
use crate::registry::{Ownership, Registered, SessionKey};
use crate::run::Delivery;
use crate::session::{EXPIRY_NEVER, OwnerEpoch, SessionIncarnation, WillEnd};

const OWN: PrincipalId = PrincipalId::from_bytes([0x11; 16]);
const OTHER: PrincipalId = PrincipalId::from_bytes([0x12; 16]);
const ROOMY: QueueBounds = QueueBounds {
    messages_max: u32::MAX,
    bytes_max: u64::MAX,
    overflow: OverflowPolicy::DropOldest,
};

/// Rows, a log index and a time.
#[derive(Debug, Clone)]
struct World {
    rows: MemoryRows,
    index: u64,
    time_ms: u64,
}

/// A fence that owns its client's name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    tenant: TenantId,
    client: String,
    incarnation: u64,
    epoch: u64,
}

impl Owned {
    fn fence(&self) -> Fence<'_> {
        Fence {
            client: self.client.as_bytes(),
            incarnation: self.incarnation,
            epoch: self.epoch,
        }
    }
}

fn tenant(byte: u8) -> TenantId {
    TenantId::from_bytes([byte; 16])
}

fn body(payload: &str, expiry_seconds: Option<u32>) -> Vec<u8> {
    let topic = TopicName::try_from("t").unwrap();
    let message = Message {
        expiry_seconds,
        ..Message::new(topic, Bytes::from(payload.to_owned()))
    };
    encode_body(&message, OWN)
}

fn target<'a>(client: &'a str, incarnation: u64, qos: Qos) -> InsertTarget<'a> {
    let delivery = Delivery {
        qos,
        retain: false,
        subscription_ids: [].into_iter().collect(),
    };
    InsertTarget {
        client: client.as_bytes(),
        incarnation,
        delivery,
        sent_below: 0,
    }
}

impl World {
    fn new() -> Self {
        Self {
            rows: MemoryRows::default(),
            index: 1,
            time_ms: 1_000,
        }
    }

    /// Obeys a command of the next entry.
    fn obey(&mut self, tenant: TenantId, command: &Command<'_>) -> Answer {
        self.index += 1;
        self.obey_same_entry(tenant, command)
    }

    /// Obeys another command of the last entry.
    fn obey_same_entry(&mut self, tenant: TenantId, command: &Command<'_>) -> Answer {
        let bytes = command.encode();
        let command = Command::decode(&bytes).unwrap();
        let cx = ApplyContext {
            shard: ShardId::from_u64(1),
            term: 1,
            index: self.index,
            ordinal: 0,
            time_ms: self.time_ms,
        };
        let (answer, _) = obey(&cx, &mut self.rows, tenant, &command).unwrap();
        Answer::decode(&answer.encode()).unwrap()
    }

    fn attach_as(
        &mut self,
        whose: TenantId,
        client: &str,
        principal: PrincipalId,
        clean_start: bool,
        expiry_seconds: u32,
    ) -> (AttachOutcome, Removed) {
        let client = client.as_bytes();
        let attach = Attach {
            client,
            principal,
            clean_start,
            create: true,
            expiry_seconds,
            will: None,
            owner: None,
        };
        let answer = self.obey(whose, &Command::Attach(attach));
        let Answer::Attach {
            outcome, removed, ..
        } = answer
        else {
            panic!("{answer:?}")
        };
        (outcome, removed)
    }

    /// The session, whether it was there before.
    fn attach(&mut self, whose: TenantId, client: &str, clean_start: bool) -> (Owned, bool) {
        let (outcome, _) = self.attach_as(whose, client, OWN, clean_start, EXPIRY_NEVER);
        let AttachOutcome::Owned {
            incarnation,
            epoch,
            resumed,
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        let owned = Owned {
            tenant: whose,
            client: client.into(),
            incarnation,
            epoch,
        };
        (owned, resumed)
    }

    fn insert_within(
        &mut self,
        owned: &Owned,
        payload: &str,
        bounds: QueueBounds,
    ) -> InsertOutcome {
        let body = body(payload, None);
        let targets = vec![target(&owned.client, owned.incarnation, Qos::AtLeastOnce)];
        let insert = Insert {
            body: &body,
            bounds,
            origin: None,
            targets,
        };
        let answer = self.obey(owned.tenant, &Command::Insert(insert));
        let Answer::Inserted(outcomes) = answer else {
            panic!("{answer:?}")
        };
        outcomes[0]
    }

    fn insert(&mut self, owned: &Owned, payload: &str) -> InsertOutcome {
        self.insert_within(owned, payload, ROOMY)
    }

    fn fetch_within(&self, owned: &Owned, from: u64, bounds: FetchBounds) -> Fetched {
        let client = owned.client.as_bytes();
        let session = query::session(&self.rows, owned.tenant, client)
            .unwrap()
            .unwrap();
        query::fetch(
            &self.rows,
            owned.tenant,
            client,
            &session,
            from,
            bounds,
            self.time_ms,
        )
        .unwrap()
    }

    fn fetch(&self, owned: &Owned, from: u64) -> Fetched {
        self.fetch_within(
            owned,
            from,
            FetchBounds {
                messages_max: 100,
                bytes_max: usize::MAX,
            },
        )
    }

    /// Sequences and payloads in the queue.
    fn queue(&self, owned: &Owned) -> Vec<(u64, String)> {
        let queued = self.fetch(owned, 0).messages.into_iter();
        queued
            .map(|queued| (queued.sequence, text(&queued.message.payload)))
            .collect()
    }
}

fn text(payload: &Bytes) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}

fn rows_of(world: &World, is: impl Fn(Row<'_>) -> bool) -> usize {
    world
        .rows
        .0
        .keys()
        .filter(|key| is(Row::parse(key).unwrap().1))
        .count()
}

fn blocks(world: &World) -> usize {
    rows_of(world, |row| matches!(row, Row::Block(_)))
}

fn runs(world: &World) -> usize {
    rows_of(world, |row| matches!(row, Row::Queue { .. }))
}

fn subscribe(world: &mut World, owned: &Owned, filter: &str) -> Answer {
    let (fence, filter) = (owned.fence(), filter.as_bytes());
    let command = Command::Subscribe {
        fence,
        filter,
        options: 1,
        subscription_id: 0,
    };
    world.obey(owned.tenant, &command)
}
