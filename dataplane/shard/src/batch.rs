//! One Raft entry: a numbered batch of commands.
//!
//! ```text
//! form u8 | node u64 | incarnation u64 | making u64 | number u64 | time_ms u64 | epoch u64 | count u32
//! command…
//! command: 0 | len u32 | bytes            a command of the group
//!          1 | tenant [16] | len u32 | bytes
//! ```

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tessera_tenancy::{Incarnation, NodeId, TenantId};

use crate::bytes_io::Reader;
use crate::machine::Scope;

/// The form that is written. A reader refuses a larger one.
const FORM: u8 = 3;
/// The form before a replica could be made twice in a life: without a making, which was 0.
const FORM_WITHOUT_MAKING: u8 = 2;
/// The form before ranges could be split: also without an epoch, which was 1.
const FORM_WITHOUT_EPOCH: u8 = 1;
const SCOPE_GROUP: u8 = 0;
const SCOPE_TENANT: u8 = 1;
const HEADER_LEN: usize = 1 + 6 * 8 + 4;
/// Bytes around one command, at most: scope, tenant and length.
pub(crate) const COMMAND_OVERHEAD: usize = 1 + 16 + 4;

/// Who numbered a batch. Numbers are dense within it and start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProposerId {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Which of the replicas that the node has made in this life: one that leaves a group and comes
    /// back numbers from 1 again, and is another proposer.
    pub(crate) making: u64,
}

/// What stands before the commands of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) proposer: ProposerId,
    pub(crate) number: u64,
    pub(crate) time_ms: u64,
    /// The epoch of the range as its proposer knew it: a batch for another one is not applied.
    pub(crate) epoch: u64,
}

/// A batch in its stored form. Cheap to clone; commands are slices of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EncodedBatch(Bytes);

impl EncodedBatch {
    /// Encodes a batch.
    pub(crate) fn new<'a>(
        header: &BatchHeader,
        commands: impl ExactSizeIterator<Item = (Scope, &'a [u8])>,
        commands_bytes: usize,
    ) -> Self {
        let count = commands.len();
        let mut out =
            BytesMut::with_capacity(HEADER_LEN + commands_bytes + count * COMMAND_OVERHEAD);
        out.extend_from_slice(&[FORM]);
        for number in [
            header.proposer.node.0,
            header.proposer.incarnation.0,
            header.proposer.making,
            header.number,
            header.time_ms,
            header.epoch,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_u32(&mut out, count);
        for (scope, command) in commands {
            match scope {
                Scope::Group => out.extend_from_slice(&[SCOPE_GROUP]),
                Scope::Tenant(tenant) => {
                    out.extend_from_slice(&[SCOPE_TENANT]);
                    out.extend_from_slice(tenant.as_bytes());
                }
            }
            put_u32(&mut out, command.len());
            out.extend_from_slice(command);
        }
        Self(out.freeze())
    }

    /// A batch as it was stored; decoded when it is applied.
    pub(crate) const fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The first byte: which form it has.
    pub(crate) fn form(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The header, and the commands one after the other.
    pub(crate) fn decode(&self) -> Option<(BatchHeader, Commands<'_>)> {
        let mut reader = Reader::new(&self.0);
        let form = reader.u8()?;
        let (has_making, has_epoch) = match form {
            FORM => (true, true),
            FORM_WITHOUT_MAKING => (false, true),
            FORM_WITHOUT_EPOCH => (false, false),
            0 | 4.. => return None,
        };
        let proposer = ProposerId {
            node: NodeId(reader.u64()?),
            incarnation: Incarnation(reader.u64()?),
            making: if has_making { reader.u64()? } else { 0 },
        };
        let (number, time_ms) = (reader.u64()?, reader.u64()?);
        let epoch = if has_epoch { reader.u64()? } else { 1 };
        let left = reader.u32()?;
        let header = BatchHeader {
            proposer,
            number,
            time_ms,
            epoch,
        };
        Some((header, Commands { reader, left }))
    }
}

impl fmt::Debug for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Display for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for EncodedBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for EncodedBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

/// The commands of a batch in order. An item is `None` if the batch is cut or has bytes left over.
#[derive(Debug, Clone)]
pub(crate) struct Commands<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for Commands<'a> {
    type Item = Option<(Scope, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(left) = self.left.checked_sub(1) else {
            let is_whole = self.reader.is_empty();
            self.reader = Reader::new(&[]);
            return (!is_whole).then_some(None);
        };
        self.left = left;
        let command = read_command(&mut self.reader);
        if command.is_none() {
            self.left = 0;
            self.reader = Reader::new(&[]);
        }
        Some(command)
    }
}

fn read_command<'a>(reader: &mut Reader<'a>) -> Option<(Scope, &'a [u8])> {
    let scope = match reader.u8()? {
        SCOPE_GROUP => Scope::Group,
        SCOPE_TENANT => Scope::Tenant(TenantId::from_bytes(reader.array()?)),
        2.. => return None,
    };
    Some((scope, reader.part()?))
}

fn put_u32(out: &mut BytesMut, value: usize) {
    out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> BatchHeader {
        BatchHeader {
            proposer: ProposerId {
                node: NodeId(1),
                incarnation: Incarnation(2),
                making: 6,
            },
            number: 3,
            time_ms: 4,
            epoch: 5,
        }
    }

    fn encode(commands: &[(Scope, Vec<u8>)]) -> EncodedBatch {
        let bytes = commands.iter().map(|(_, command)| command.len()).sum();
        let commands = commands
            .iter()
            .map(|(scope, command)| (*scope, &command[..]));
        EncodedBatch::new(&header(), commands, bytes)
    }

    fn any_command() -> impl Strategy<Value = (Scope, Vec<u8>)> {
        let scope = prop_oneof![
            Just(Scope::Group),
            any::<[u8; 16]>().prop_map(|id| Scope::Tenant(TenantId::from_bytes(id))),
        ];
        (scope, prop::collection::vec(any::<u8>(), 0..40))
    }

    proptest! {
        #[test]
        fn a_batch_reads_back(commands in prop::collection::vec(any_command(), 0..20)) {
            let batch = encode(&commands);
            let (read, items) = batch.decode().unwrap();
            prop_assert_eq!(read, header());
            let read: Vec<_> = items.map(|item| item.unwrap()).collect();
            let written: Vec<_> = commands.iter().map(|(s, c)| (*s, &c[..])).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn a_cut_batch_is_seen(
            commands in prop::collection::vec(any_command(), 1..5),
            cut: prop::sample::Index,
        ) {
            let whole = encode(&commands).0;
            let batch = EncodedBatch(whole.slice(..cut.index(whole.len())));
            let is_whole = batch
                .decode()
                .is_some_and(|(_, mut items)| items.all(|item| item.is_some()));
            prop_assert!(!is_whole);
        }
    }

    #[test]
    fn the_stored_form_is_this() {
        let tenant = TenantId::from_bytes([0xaa; 16]);
        let batch = encode(&[
            (Scope::Group, b"g".to_vec()),
            (Scope::Tenant(tenant), b"tt".to_vec()),
        ]);
        let golden = [
            "03",
            "0100000000000000",
            "0200000000000000",
            "0600000000000000",
            "0300000000000000",
            "0400000000000000",
            "0500000000000000",
            "02000000",
            "000100000067",
            "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa020000007474",
        ]
        .concat();
        assert_eq!(tessera_tenancy::encode_hex(batch.as_bytes()), golden);
    }

    /// What was written under a form of before.
    fn check_older(golden: &[&str], expected: BatchHeader) {
        let golden = golden.concat();
        let digits = |at: usize| u8::from_str_radix(&golden[at..at + 2], 16).unwrap();
        let bytes: Vec<_> = (0..golden.len()).step_by(2).map(digits).collect();
        let batch = EncodedBatch(bytes.into());
        let (read, mut commands) = batch.decode().unwrap();
        assert_eq!(read, expected);
        assert_eq!(commands.next().unwrap().unwrap(), (Scope::Group, &b"g"[..]));
        assert!(commands.next().is_none());
    }

    #[test]
    fn the_forms_before_makings_and_before_epochs_are_read() {
        let proposer = ProposerId {
            making: 0,
            ..header().proposer
        };
        let expected = BatchHeader {
            proposer,
            ..header()
        };
        let numbers = ["0100000000000000", "0200000000000000", "0300000000000000"];
        let numbers = [&numbers[..], &["0400000000000000"]].concat().concat();
        let command = "01000000000100000067";
        check_older(&["02", &numbers, "0500000000000000", command], expected);
        let first = BatchHeader {
            epoch: 1,
            ..expected
        };
        check_older(&["01", &numbers, command], first);
    }

    #[test]
    fn bytes_after_the_last_command_and_a_newer_form_are_seen() {
        let whole = encode(&[(Scope::Group, vec![1])]).0;
        let longer = EncodedBatch([&whole[..], b"x"].concat().into());
        assert!(longer.decode().unwrap().1.any(|item| item.is_none()));
        let mut newer = whole.to_vec();
        newer[0] = FORM + 1;
        assert!(EncodedBatch(newer.into()).decode().is_none());
    }
}
