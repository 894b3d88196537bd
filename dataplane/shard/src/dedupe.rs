//! Which batches of a proposer were applied, and what they answered.
//!
//! A proposer numbers its batches 1, 2, 3… within its life: an incarnation of the node, and in it one
//! making of the replica. A group applies only the next
//! number, so a batch that is sent again changes nothing, and one that overtook another is not
//! applied out of order. The answers of the last few batches are kept, so that a repeat is
//! answered as the first time: O(nodes) state, [`ANSWERS_KEPT`] rows a node.

use std::collections::BTreeMap;

use bytes::Bytes;
use tessera_tenancy::{Incarnation, NodeId};

use crate::batch::{BatchHeader, ProposerId};
use crate::bytes_io::{Reader, put_part};

/// Batches of a node whose answers are kept: as many as it may have in flight.
pub(crate) const ANSWERS_KEPT: u64 = 8;
/// Answers of one batch above this are not kept; a repeat is told so.
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 * 1024;

/// Outcomes of rows without a making, which was 0; they are only read.
const FIRST_FORGOTTEN: u8 = 0;
const FIRST_ANSWERS: u8 = 1;
const FIRST_MOVED: u8 = 2;
const FORGOTTEN: u8 = 3;
const ANSWERS: u8 = 4;
const MOVED: u8 = 5;

/// What a batch number means to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one: apply it.
    Next,
    /// Judged before.
    Repeat(Remembered),
    /// Not the next one: one before it is missing.
    Gap {
        /// The number that would be applied.
        expected: u64,
    },
    /// The node has begun a later life since, or made the replica anew.
    Stale,
}

/// What a group remembers of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// It was applied, and answered this.
    Answers(Vec<Bytes>),
    /// It was applied; the answers were too large or are too old to be kept.
    Forgotten,
    /// It was not applied, and will not be: it was for another epoch of the range.
    Moved,
}

/// The proposers that a group knows.
#[derive(Debug, Default)]
pub(crate) struct Proposers(BTreeMap<NodeId, Proposer>);

#[derive(Debug)]
struct Proposer {
    life: Life,
    last: u64,
    /// By number modulo [`ANSWERS_KEPT`].
    kept: BTreeMap<u64, Kept>,
}

/// Which of a node's proposers: a later one fences those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Life {
    incarnation: Incarnation,
    making: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    number: u64,
    outcome: Remembered,
}

/// The row that remembers a batch: its key within the group, and its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AnswerRow {
    pub(crate) key: [u8; 9],
    pub(crate) value: Vec<u8>,
}

impl Proposers {
    /// Whether a batch is applied now.
    pub(crate) fn judge(&self, batch: &BatchHeader) -> Verdict {
        let life = Life::of(batch.proposer);
        let known = self.0.get(&batch.proposer.node);
        let Some(known) = known.filter(|known| known.life >= life) else {
            return judge_number(None, batch.number);
        };
        if known.life > life {
            return Verdict::Stale;
        }
        judge_number(Some(known), batch.number)
    }

    /// Remembers an applied batch; the row must be written in the same transaction.
    pub(crate) fn record(&mut self, batch: &BatchHeader, answers: &[Bytes]) -> AnswerRow {
        let is_small = answers.iter().map(Bytes::len).sum::<usize>() <= ANSWERS_BYTES_MAX;
        self.take_in(
            batch,
            if is_small {
                Remembered::Answers(answers.to_vec())
            } else {
                Remembered::Forgotten
            },
        )
    }

    /// Remembers a batch that was for another epoch: its number is used up. As
    /// [`record`](Self::record).
    pub(crate) fn record_moved(&mut self, batch: &BatchHeader) -> AnswerRow {
        self.take_in(batch, Remembered::Moved)
    }

    fn take_in(&mut self, batch: &BatchHeader, outcome: Remembered) -> AnswerRow {
        let row = encode(batch, &outcome);
        self.remember(batch.proposer, batch.number, outcome);
        row
    }

    /// Takes in a row that was stored. Rows come in any order.
    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let mut key = Reader::new(key);
        let node = NodeId(u64::from_be_bytes(key.array()?));
        let mut value = Reader::new(value);
        let incarnation = Incarnation(value.u64()?);
        let number = value.u64()?;
        let code = value.u8()?;
        let making = match code {
            FIRST_FORGOTTEN | FIRST_ANSWERS | FIRST_MOVED => 0,
            FORGOTTEN | ANSWERS | MOVED => value.u64()?,
            6.. => return None,
        };
        let outcome = match code {
            FIRST_FORGOTTEN | FORGOTTEN => Remembered::Forgotten,
            FIRST_ANSWERS | ANSWERS => Remembered::Answers(read_answers(value)?),
            FIRST_MOVED | MOVED => Remembered::Moved,
            6.. => return None,
        };
        let proposer = ProposerId {
            node,
            incarnation,
            making,
        };
        self.remember(proposer, number, outcome);
        Some(())
    }

    fn remember(&mut self, proposer: ProposerId, number: u64, outcome: Remembered) {
        let known = self
            .0
            .entry(proposer.node)
            .or_insert_with(|| Proposer::new(proposer));
        let life = Life::of(proposer);
        if known.life > life {
            return;
        }
        if known.life < life {
            *known = Proposer::new(proposer);
        }
        known.last = known.last.max(number);
        known
            .kept
            .insert(number % ANSWERS_KEPT, Kept { number, outcome });
    }
}

impl Life {
    const fn of(proposer: ProposerId) -> Self {
        Self {
            incarnation: proposer.incarnation,
            making: proposer.making,
        }
    }
}

impl Proposer {
    const fn new(proposer: ProposerId) -> Self {
        Self {
            life: Life::of(proposer),
            last: 0,
            kept: BTreeMap::new(),
        }
    }
}

fn judge_number(known: Option<&Proposer>, number: u64) -> Verdict {
    let last = known.map_or(0, |known| known.last);
    if number == last + 1 {
        return Verdict::Next;
    }
    if number > last || number == 0 {
        return Verdict::Gap { expected: last + 1 };
    }
    let kept = known.and_then(|known| known.kept.get(&(number % ANSWERS_KEPT)));
    let kept = kept.filter(|kept| kept.number == number);
    Verdict::Repeat(kept.map_or(Remembered::Forgotten, |kept| kept.outcome.clone()))
}

/// `incarnation u64 | number u64 | outcome u8 | making u64 | (count u32 | (len u32 | bytes)…)?`
fn encode(batch: &BatchHeader, outcome: &Remembered) -> AnswerRow {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&batch.proposer.node.0.to_be_bytes());
    key[8] = u8::try_from(batch.number % ANSWERS_KEPT).unwrap_or(0);
    let mut value = Vec::with_capacity(32);
    value.extend_from_slice(&batch.proposer.incarnation.0.to_le_bytes());
    value.extend_from_slice(&batch.number.to_le_bytes());
    value.push(match outcome {
        Remembered::Forgotten => FORGOTTEN,
        Remembered::Moved => MOVED,
        Remembered::Answers(_) => ANSWERS,
    });
    value.extend_from_slice(&batch.proposer.making.to_le_bytes());
    if let Remembered::Answers(answers) = outcome {
        let count = u32::try_from(answers.len()).unwrap_or(u32::MAX);
        value.extend_from_slice(&count.to_le_bytes());
        for answer in answers {
            put_part(&mut value, answer);
        }
    }
    AnswerRow { key, value }
}

fn read_answers(mut value: Reader<'_>) -> Option<Vec<Bytes>> {
    let count = value.u32()?;
    (0..count)
        .map(|_| value.part().map(Bytes::copy_from_slice))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(node: u64, incarnation: u64, number: u64) -> BatchHeader {
        made(0, node, incarnation, number)
    }

    fn made(making: u64, node: u64, incarnation: u64, number: u64) -> BatchHeader {
        BatchHeader {
            proposer: ProposerId {
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                making,
            },
            number,
            time_ms: 0,
            epoch: 1,
        }
    }

    fn answer(text: &'static str) -> Vec<Bytes> {
        vec![Bytes::from_static(text.as_bytes())]
    }

    #[test]
    fn only_the_next_number_is_applied_and_a_repeat_is_answered_as_before() {
        let mut proposers = Proposers::default();
        assert_eq!(
            proposers.judge(&batch(1, 1, 2)),
            Verdict::Gap { expected: 1 }
        );
        assert_eq!(proposers.judge(&batch(1, 1, 1)), Verdict::Next);
        proposers.record(&batch(1, 1, 1), &answer("one"));
        assert_eq!(
            proposers.judge(&batch(1, 1, 1)),
            Verdict::Repeat(Remembered::Answers(answer("one")))
        );
        assert_eq!(
            proposers.judge(&batch(1, 1, 3)),
            Verdict::Gap { expected: 2 }
        );
        assert_eq!(
            proposers.judge(&batch(2, 1, 1)),
            Verdict::Next,
            "another node counts alone"
        );
    }

    #[test]
    fn a_later_life_starts_again_and_an_earlier_one_is_refused() {
        let mut proposers = Proposers::default();
        proposers.record(&batch(1, 5, 1), &answer("old"));
        assert_eq!(proposers.judge(&batch(1, 6, 1)), Verdict::Next);
        proposers.record(&batch(1, 6, 1), &answer("new"));
        assert_eq!(proposers.judge(&batch(1, 5, 2)), Verdict::Stale);
        assert_eq!(
            proposers.judge(&batch(1, 6, 1)),
            Verdict::Repeat(Remembered::Answers(answer("new")))
        );
    }

    #[test]
    fn a_replica_that_is_made_anew_in_the_same_life_is_another_proposer_and_fences_the_one_before()
    {
        let mut proposers = Proposers::default();
        let mut rows: BTreeMap<[u8; 9], Vec<u8>> = BTreeMap::new();
        for header in [
            batch(1, 5, 1),
            batch(1, 5, 2),
            batch(1, 5, 3),
            made(4, 1, 5, 1),
        ] {
            assert_eq!(proposers.judge(&header), Verdict::Next, "{header:?}");
            let row = proposers.record(&header, &answer("x"));
            rows.insert(row.key, row.value);
        }
        let mut again = Proposers::default();
        for (key, value) in &rows {
            again.load(key, value).unwrap();
        }
        for proposers in [proposers, again] {
            assert_eq!(proposers.judge(&batch(1, 5, 4)), Verdict::Stale);
            assert_eq!(proposers.judge(&made(4, 1, 5, 2)), Verdict::Next);
            assert_eq!(proposers.judge(&made(0, 1, 6, 1)), Verdict::Next);
        }
    }

    #[test]
    fn the_stored_form_is_this_and_the_one_without_a_making_is_read() {
        let mut proposers = Proposers::default();
        let row = proposers.record(&made(7, 1, 2, 3), &answer("a"));
        let golden = ["0200000000000000", "0300000000000000", "04"].concat();
        let golden = golden + "0700000000000000" + "010000000100000061";
        assert_eq!(tessera_tenancy::encode_hex(&row.value), golden);
        let mut older = row.value;
        older[16] = FIRST_ANSWERS;
        older.drain(17..25);
        let mut read = Proposers::default();
        read.load(&row.key, &older).unwrap();
        let known = Verdict::Repeat(Remembered::Answers(answer("a")));
        assert_eq!(read.judge(&batch(1, 2, 3)), known);
        older[16] = MOVED + 1;
        assert!(read.load(&row.key, &older).is_none());
    }

    #[test]
    fn an_answer_out_of_the_ring_is_told_to_be_forgotten() {
        let mut proposers = Proposers::default();
        for number in 1..=ANSWERS_KEPT + 1 {
            proposers.record(&batch(1, 1, number), &answer("x"));
        }
        assert_eq!(
            proposers.judge(&batch(1, 1, 1)),
            Verdict::Repeat(Remembered::Forgotten)
        );
        assert_eq!(
            proposers.judge(&batch(1, 1, 2)),
            Verdict::Repeat(Remembered::Answers(answer("x")))
        );
        let large = vec![Bytes::from(vec![0; ANSWERS_BYTES_MAX + 1])];
        proposers.record(&batch(2, 1, 1), &large);
        assert_eq!(
            proposers.judge(&batch(2, 1, 1)),
            Verdict::Repeat(Remembered::Forgotten)
        );
    }

    #[test]
    fn rows_rebuild_the_same_memory_in_any_order() {
        let mut proposers = Proposers::default();
        let mut rows: BTreeMap<[u8; 9], Vec<u8>> = BTreeMap::new();
        for header in (1..=12)
            .map(|n| batch(1, 1, n))
            .chain((1..=3).map(|n| batch(1, 2, n)))
        {
            let row = proposers.record(&header, &answer("a"));
            rows.insert(row.key, row.value);
        }
        assert!(rows.len() <= usize::try_from(ANSWERS_KEPT).unwrap());
        let row = proposers.record_moved(&batch(1, 2, 4));
        rows.insert(row.key, row.value);
        let mut again = Proposers::default();
        for (key, value) in rows.iter().rev() {
            again.load(key, value).unwrap();
        }
        assert_eq!(
            again.judge(&batch(1, 2, 3)),
            Verdict::Repeat(Remembered::Answers(answer("a")))
        );
        let moved = Verdict::Repeat(Remembered::Moved);
        assert_eq!(again.judge(&batch(1, 2, 4)), moved);
        assert_eq!(again.judge(&batch(1, 2, 5)), Verdict::Next);
        assert_eq!(again.judge(&batch(1, 1, 13)), Verdict::Stale);
    }
}
