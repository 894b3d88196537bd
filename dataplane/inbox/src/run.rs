//! A run: the messages that one log entry put into one queue, as references into blocks.
//!
//! ```text
//! 01 · log index(8) · stored at ms(8) · references(4) · block of the last one(4) · reference…
//! reference = block · offset · length · flags(1) · [identifiers · identifier…]     (numbers)
//! ```
//! A run is keyed by its last sequence and holds as many sequences as references, without a gap.

use tessera_mqtt::{Qos, SubscriptionId, SubscriptionIds};

use crate::encoding::{Reader, Writer};
use crate::keys::BlockId;

/// References in one run: bounds what an append rewrites. A fuller entry starts another run.
pub(crate) const RUN_REFERENCES_MAX: u32 = 256;

const FORM: u8 = 1;
const HEADER_LEN: usize = 25;

const FLAG_QOS: u8 = 0b0000_0011;
const FLAG_RETAIN: u8 = 0b0000_0100;
const FLAG_IDS: u8 = 0b0000_1000;

/// How a queued message is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// At least 1.
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: SubscriptionIds,
}

impl Delivery {
    pub(crate) fn write(&self, out: &mut Writer) {
        let ids = if self.subscription_ids.is_empty() {
            0
        } else {
            FLAG_IDS
        };
        let retain = if self.retain { FLAG_RETAIN } else { 0 };
        out.byte(self.qos.as_u8() | retain | ids);
        if ids != 0 {
            out.count(self.subscription_ids.len());
            for id in &self.subscription_ids {
                out.number(u64::from(id.get()));
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let flags = reader.byte()?;
        if flags & !(FLAG_QOS | FLAG_RETAIN | FLAG_IDS) != 0 {
            return None;
        }
        let mut subscription_ids = SubscriptionIds::new();
        if flags & FLAG_IDS != 0 {
            for _ in 0..reader.count()? {
                subscription_ids.push(SubscriptionId::new(reader.small()?)?);
            }
        }
        let qos = Qos::try_from(flags & FLAG_QOS).ok()?;
        let queued = qos != Qos::AtMostOnce;
        queued.then_some(Self {
            qos,
            retain: flags & FLAG_RETAIN != 0,
            subscription_ids,
        })
    }
}

/// One queued message: where its body is, and how it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) chunk: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) delivery: Delivery,
}

/// The messages of one entry in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The log index of the entry: first half of the id of each block.
    pub(crate) index: u64,
    pub(crate) stored_at_ms: u64,
    pub(crate) references: Vec<Reference>,
}

impl Run {
    /// What [`RunBytes`] wrote.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let header = Header::read(value)?;
        let mut reader = Reader::new(&value[HEADER_LEN..]);
        let count = usize::try_from(header.count).ok()?;
        let mut references = Vec::with_capacity(count);
        for _ in 0..count {
            references.push(Reference {
                chunk: reader.small()?,
                offset: reader.small()?,
                len: reader.small()?,
                delivery: Delivery::read(&mut reader)?,
            });
        }
        reader.end(Self {
            index: header.index,
            stored_at_ms: header.stored_at_ms,
            references,
        })
    }

    /// The sequence of the first reference, if the last one's is `last`.
    pub(crate) fn first(&self, last: u64) -> u64 {
        let count = u64::try_from(self.references.len()).unwrap_or(u64::MAX);
        last.wrapping_add(1).wrapping_sub(count)
    }

    /// The blocks that it refers to, each once.
    pub(crate) fn blocks(&self) -> Vec<BlockId> {
        let mut chunks: Vec<u32> = self.references.iter().map(|at| at.chunk).collect();
        chunks.dedup();
        chunks
            .into_iter()
            .map(|chunk| BlockId {
                index: self.index,
                chunk,
            })
            .collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Header {
    index: u64,
    stored_at_ms: u64,
    count: u32,
    last_chunk: u32,
}

impl Header {
    fn read(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        if reader.byte()? != FORM {
            return None;
        }
        let header = Self {
            index: reader.long()?,
            stored_at_ms: reader.long()?,
            count: reader.word()?,
            last_chunk: reader.word()?,
        };
        (1..=RUN_REFERENCES_MAX)
            .contains(&header.count)
            .then_some(header)
    }

    fn write(self) -> Vec<u8> {
        let mut out = Writer::with_capacity(HEADER_LEN + 16);
        out.byte(FORM).long(self.index).long(self.stored_at_ms);
        out.word(self.count).word(self.last_chunk);
        out.finish()
    }
}

/// A run as bytes, for appending without reading the references.
#[derive(Debug)]
pub(crate) struct RunBytes(Vec<u8>);

impl RunBytes {
    /// A run of one.
    pub(crate) fn new(index: u64, stored_at_ms: u64, reference: &Reference) -> Self {
        let header = Header {
            index,
            stored_at_ms,
            count: 1,
            last_chunk: reference.chunk,
        };
        let mut value = header.write();
        value.extend_from_slice(&encode_reference(reference));
        Self(value)
    }

    /// `value` with one more reference, and whether its block is new to the run. `None` if it is
    /// of another entry or full, or no run.
    pub(crate) fn append(value: &[u8], index: u64, reference: &Reference) -> Option<(Self, bool)> {
        let header = Header::read(value)?;
        if header.index != index || header.count >= RUN_REFERENCES_MAX {
            return None;
        }
        let longer = Header {
            count: header.count + 1,
            last_chunk: reference.chunk,
            ..header
        };
        let mut appended = longer.write();
        appended.extend_from_slice(&value[HEADER_LEN..]);
        appended.extend_from_slice(&encode_reference(reference));
        Some((Self(appended), header.last_chunk != reference.chunk))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn encode_reference(reference: &Reference) -> Vec<u8> {
    let mut out = Writer::with_capacity(16);
    out.number(u64::from(reference.chunk))
        .number(u64::from(reference.offset));
    out.number(u64::from(reference.len));
    reference.delivery.write(&mut out);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::encode_hex;

    fn reference(chunk: u32, ids: &[u32]) -> Reference {
        Reference {
            chunk,
            offset: 1,
            len: 300,
            delivery: Delivery {
                qos: Qos::ExactlyOnce,
                retain: true,
                subscription_ids: ids
                    .iter()
                    .filter_map(|id| SubscriptionId::new(*id))
                    .collect(),
            },
        }
    }

    #[test]
    fn a_run_is_golden() {
        let run = RunBytes::new(2, 3, &reference(0, &[]));
        let (run, new_block) =
            RunBytes::append(run.as_bytes(), 2, &reference(1, &[5, 200])).unwrap();
        assert!(new_block);
        assert_eq!(
            encode_hex(run.as_bytes()),
            "0100000000000000020000000000000003000000020000000100 01ac0206 0101ac020e0205c801"
                .replace(' ', "")
        );
    }

    #[test]
    fn a_run_takes_only_its_own_entry_and_only_so_many() {
        let mut run = RunBytes::new(2, 3, &reference(0, &[]));
        assert!(RunBytes::append(run.as_bytes(), 3, &reference(0, &[])).is_none());
        for _ in 1..RUN_REFERENCES_MAX {
            run = RunBytes::append(run.as_bytes(), 2, &reference(0, &[]))
                .unwrap()
                .0;
        }
        assert!(RunBytes::append(run.as_bytes(), 2, &reference(0, &[])).is_none());
        assert_eq!(Run::decode(run.as_bytes()).unwrap().blocks().len(), 1);
    }

    proptest! {
        #[test]
        fn a_run_reads_back(chunks in prop::collection::vec((0_u32..3, 0_u32..300), 1..20)) {
            let mut chunks = chunks;
            chunks.sort_unstable();
            let references: Vec<_> =
                chunks.iter().map(|(chunk, id)| reference(*chunk, &[*id])).collect();
            let mut run = RunBytes::new(9, 8, &references[0]);
            let mut blocks = 1;
            for next in &references[1..] {
                let (longer, new_block) = RunBytes::append(run.as_bytes(), 9, next).unwrap();
                run = longer;
                blocks += usize::from(new_block);
            }
            let decoded = Run::decode(run.as_bytes()).unwrap();
            prop_assert_eq!(decoded.blocks().len(), blocks);
            prop_assert_eq!(decoded.first(100), 101 - references.len() as u64);
            prop_assert_eq!(decoded, Run { index: 9, stored_at_ms: 8, references });
        }

        #[test]
        fn no_value_panics_a_reader(value: Vec<u8>) {
            let _ = Run::decode(&value);
        }
    }
}
