//! Values of rows. Each starts with [`FORM`]; a newer form is not read.

use tessera_tenancy::PrincipalId;

use crate::encoding::{Reader, Writer};

/// The form of every value that this version writes.
const FORM: u8 = 1;

/// A tenant's figures, and where its next rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TenantRow {
    pub(crate) sessions: u64,
    pub(crate) subscriptions: u64,
    pub(crate) queue_messages: u64,
    pub(crate) queue_bytes: u64,
    /// The last session incarnation that was given out.
    pub(crate) last_incarnation: u64,
    /// The log index of the entry that last stored a body …
    pub(crate) block_index: u64,
    /// … and the number of the block that it went to.
    pub(crate) block_chunk: u32,
}

impl TenantRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::with_capacity(64);
        row.byte(FORM)
            .number(self.sessions)
            .number(self.subscriptions);
        row.number(self.queue_messages).number(self.queue_bytes);
        row.number(self.last_incarnation).number(self.block_index);
        row.number(u64::from(self.block_chunk));
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = open(value)?;
        let decoded = Self {
            sessions: row.number()?,
            subscriptions: row.number()?,
            queue_messages: row.number()?,
            queue_bytes: row.number()?,
            last_incarnation: row.number()?,
            block_index: row.number()?,
            block_chunk: row.small()?,
        };
        row.end(decoded)
    }
}

/// Where a session is in its life.
///
/// ```text
/// (none) ─ attach ─> Online ── detach, owner's process gone ──> Offline ── due ──┐
///                      ^ └──────── clean start, expiry 0 ──────────────────────> Ended ── emptied ─> (none)
///                      └───────────────── attach ──────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// An owner has it.
    Online,
    /// Nobody has it; it ends at this time, or never.
    Offline { due_ms: Option<u64> },
    /// It is no more; its rows are being removed in steps.
    Ended,
}

/// A stored session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) principal: PrincipalId,
    pub(crate) presence: Presence,
    pub(crate) expiry_seconds: u32,
    /// The first sequence in the queue; the queue holds `cursor..next` without a gap.
    pub(crate) cursor: u64,
    pub(crate) next: u64,
    pub(crate) queue_bytes: u64,
    /// Sequences from here on were certainly not sent to the client yet.
    pub(crate) sent_below: u64,
    pub(crate) subscriptions: u32,
    /// The number of the client's next QoS 2 publish.
    pub(crate) publish_next: u64,
}

impl SessionRow {
    pub(crate) fn new(incarnation: u64, principal: PrincipalId, expiry_seconds: u32) -> Self {
        Self {
            incarnation,
            epoch: 1,
            principal,
            presence: Presence::Online,
            expiry_seconds,
            cursor: 0,
            next: 0,
            queue_bytes: 0,
            sent_below: 0,
            subscriptions: 0,
            publish_next: 0,
        }
    }

    /// Whether it takes messages and owners at this time.
    pub(crate) fn is_alive(&self, now_ms: u64) -> bool {
        match self.presence {
            Presence::Online | Presence::Offline { due_ms: None } => true,
            Presence::Offline {
                due_ms: Some(due_ms),
            } => due_ms > now_ms,
            Presence::Ended => false,
        }
    }

    pub(crate) fn queue_messages(&self) -> u64 {
        self.next.saturating_sub(self.cursor)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::with_capacity(96);
        row.byte(FORM)
            .long(self.incarnation)
            .long(self.epoch)
            .raw(self.principal.as_bytes());
        match self.presence {
            Presence::Online => row.byte(0),
            Presence::Offline { due_ms: None } => row.byte(1),
            Presence::Offline {
                due_ms: Some(due_ms),
            } => row.byte(2).long(due_ms),
            Presence::Ended => row.byte(3),
        };
        row.word(self.expiry_seconds)
            .number(self.cursor)
            .number(self.next);
        row.number(self.queue_bytes).number(self.sent_below);
        row.number(u64::from(self.subscriptions))
            .number(self.publish_next);
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = open(value)?;
        let decoded = Self {
            incarnation: row.long()?,
            epoch: row.long()?,
            principal: PrincipalId::from_bytes(row.id()?),
            presence: match row.byte()? {
                0 => Presence::Online,
                1 => Presence::Offline { due_ms: None },
                2 => Presence::Offline {
                    due_ms: Some(row.long()?),
                },
                3 => Presence::Ended,
                _ => return None,
            },
            expiry_seconds: row.word()?,
            cursor: row.number()?,
            next: row.number()?,
            queue_bytes: row.number()?,
            sent_below: row.number()?,
            subscriptions: row.small()?,
            publish_next: row.number()?,
        };
        row.end(decoded)
    }
}

/// How far a subscription is: [`SubscriptionState`](crate::SubscriptionState) as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Intended,
    Confirmed,
    Leaving,
}

/// A subscription; its filter is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionRow {
    pub(crate) stage: Stage,
    /// As the command brought them.
    pub(crate) options: u8,
    /// 0: none.
    pub(crate) subscription_id: u32,
}

impl SubscriptionRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let stage = match self.stage {
            Stage::Intended => 0,
            Stage::Confirmed => 1,
            Stage::Leaving => 2,
        };
        let mut row = Writer::with_capacity(8);
        row.byte(FORM)
            .byte(stage)
            .byte(self.options)
            .number(u64::from(self.subscription_id));
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = open(value)?;
        let decoded = Self {
            stage: match row.byte()? {
                0 => Stage::Intended,
                1 => Stage::Confirmed,
                2 => Stage::Leaving,
                _ => return None,
            },
            options: row.byte()?,
            subscription_id: row.small()?,
        };
        row.end(decoded)
    }
}

/// A message between its PUBREC and the acknowledgement of everything up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// PUBREC came: PUBREL is owed, the message is not sent again.
    Released,
    /// PUBCOMP came too, before that of an earlier message.
    Completed,
}

impl Mark {
    pub(crate) fn encode(self) -> [u8; 2] {
        match self {
            Self::Released => [FORM, 0],
            Self::Completed => [FORM, 1],
        }
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        match value {
            [FORM, 0] => Some(Self::Released),
            [FORM, 1] => Some(Self::Completed),
            _ => None,
        }
    }
}

/// A QoS 2 packet identifier that the client has not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceivedId {
    pub(crate) id: u16,
    pub(crate) number: u64,
    /// Every receiver has the message: PUBREC may leave.
    pub(crate) done: bool,
}

/// All of them, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReceivedRow(pub(crate) Vec<ReceivedId>);

impl ReceivedRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::with_capacity(8 + 6 * self.0.len());
        row.byte(FORM).count(self.0.len());
        for received in &self.0 {
            row.short(received.id)
                .number(received.number)
                .flag(received.done);
        }
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = open(value)?;
        let count = row.count()?;
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(ReceivedId {
                id: row.short()?,
                number: row.number()?,
                done: row.flag()?,
            });
        }
        row.end(Self(ids))
    }
}

/// How much of one QoS 2 publish this shard has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The targets up to this client, in the order of their bytes.
    UpTo(Vec<u8>),
    /// All.
    Complete,
}

/// What a shard has stored of one publisher's QoS 2 messages: nothing below `floor` comes again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PublisherRow {
    pub(crate) floor: u64,
    pub(crate) stored: Vec<(u64, Progress)>,
}

impl PublisherRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::with_capacity(16 + 4 * self.stored.len());
        row.byte(FORM).number(self.floor).count(self.stored.len());
        for (number, progress) in &self.stored {
            row.number(*number);
            match progress {
                Progress::Complete => row.byte(0),
                Progress::UpTo(client) => row.byte(1).name(client),
            };
        }
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = open(value)?;
        let floor = row.number()?;
        let count = row.count()?;
        let mut stored = Vec::with_capacity(count);
        for _ in 0..count {
            let number = row.number()?;
            let progress = match row.byte()? {
                0 => Progress::Complete,
                1 => Progress::UpTo(row.name()?.to_vec()),
                _ => return None,
            };
            stored.push((number, progress));
        }
        row.end(Self { floor, stored })
    }
}

/// How many runs refer to a block.
pub(crate) fn encode_refs(refs: u32) -> Vec<u8> {
    let mut row = Writer::with_capacity(8);
    row.byte(FORM).word(refs);
    row.finish()
}

/// What [`encode_refs`] wrote.
pub(crate) fn decode_refs(value: &[u8]) -> Option<u32> {
    let mut row = open(value)?;
    let refs = row.word()?;
    row.end(refs)
}

/// A block without bodies. Offsets count from its first byte, this one.
pub(crate) fn empty_block() -> Vec<u8> {
    vec![FORM]
}

/// The body of that place in a block.
pub(crate) fn body_in_block(block: &bytes::Bytes, offset: u32, len: u32) -> Option<bytes::Bytes> {
    let (from, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
    let until = from.checked_add(len)?;
    let known = block.first() == Some(&FORM) && from >= 1 && until <= block.len();
    known.then(|| block.slice(from..until))
}

fn open(value: &[u8]) -> Option<Reader<'_>> {
    let mut row = Reader::new(value);
    (row.byte()? == FORM).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::encode_hex;

    fn session() -> SessionRow {
        SessionRow {
            incarnation: 3,
            epoch: 4,
            principal: PrincipalId::from_bytes([0x11; 16]),
            presence: Presence::Offline {
                due_ms: Some(0x0102),
            },
            expiry_seconds: 60,
            cursor: 5,
            next: 300,
            queue_bytes: 7,
            sent_below: 8,
            subscriptions: 9,
            publish_next: 10,
        }
    }

    #[test]
    fn values_are_golden() {
        let received = ReceivedRow(vec![ReceivedId {
            id: 258,
            number: 2,
            done: true,
        }]);
        let publisher = PublisherRow {
            floor: 1,
            stored: vec![(2, Progress::Complete), (3, Progress::UpTo(b"c".to_vec()))],
        };
        let tenant = TenantRow {
            sessions: 1,
            subscriptions: 2,
            queue_messages: 3,
            queue_bytes: 200,
            last_incarnation: 5,
            block_index: 6,
            block_chunk: 7,
        };
        let subscription = SubscriptionRow {
            stage: Stage::Confirmed,
            options: 0x2E,
            subscription_id: 300,
        };
        let cases = [
            (
                session().encode(),
                "010000000000000003000000000000000411111111111111111111111111111111\
                 0200000000000001020000003c05ac020708090a",
            ),
            (tenant.encode(), "01010203c801050607"),
            (subscription.encode(), "01012eac02"),
            (Mark::Completed.encode().to_vec(), "0101"),
            (received.encode(), "010101020201"),
            (publisher.encode(), "0101020200030100 0163"),
            (encode_refs(2), "0100000002"),
        ];
        for (value, golden) in cases {
            assert_eq!(encode_hex(&value), golden.replace(' ', ""));
        }
    }

    proptest! {
        #[test]
        fn a_session_reads_back(numbers: [u64; 7], words: [u32; 2], principal: [u8; 16], kind in 0..4) {
            let [incarnation, epoch, due, cursor, next, queue_bytes, publish_next] = numbers;
            let row = SessionRow {
                incarnation,
                epoch,
                principal: PrincipalId::from_bytes(principal),
                presence: match kind {
                    0 => Presence::Online,
                    1 => Presence::Offline { due_ms: None },
                    2 => Presence::Offline { due_ms: Some(due) },
                    _ => Presence::Ended,
                },
                expiry_seconds: words[0],
                cursor,
                next,
                queue_bytes,
                sent_below: cursor,
                subscriptions: words[1],
                publish_next,
            };
            prop_assert_eq!(SessionRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn a_publisher_reads_back(floor: u64, stored: Vec<(u64, Option<Vec<u8>>)>) {
            let stored = stored
                .into_iter()
                .map(|(number, up_to)| (number, up_to.map_or(Progress::Complete, Progress::UpTo)))
                .collect();
            let row = PublisherRow { floor, stored };
            prop_assert_eq!(PublisherRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn received_identifiers_read_back(ids: Vec<(u16, u64, bool)>) {
            let row = ReceivedRow(
                ids.into_iter().map(|(id, number, done)| ReceivedId { id, number, done }).collect(),
            );
            prop_assert_eq!(ReceivedRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn no_value_panics_a_reader(value: Vec<u8>) {
            let _ = TenantRow::decode(&value);
            let _ = SessionRow::decode(&value);
            let _ = SubscriptionRow::decode(&value);
            let _ = Mark::decode(&value);
            let _ = ReceivedRow::decode(&value);
            let _ = PublisherRow::decode(&value);
            let _ = decode_refs(&value);
        }
    }
}
