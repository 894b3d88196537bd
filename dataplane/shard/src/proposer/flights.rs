//! Batches on their way: numbered, in order, kept until their outcome is known.
//!
//! A batch whose outcome is uncertain (its leader is gone, a call timed out) is sent again under
//! the same number. The group applies each number once and only after the one before it, so
//! repeats change nothing and order holds, whoever leads.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::batch::EncodedBatch;
use crate::error::ProposeError;

/// Whom the answer of a command goes to.
pub(super) type Asker = oneshot::Sender<Result<Bytes, ProposeError>>;

/// A batch until its outcome is known.
#[derive(Debug)]
struct Flight {
    batch: EncodedBatch,
    /// One per command; none once they were told that they wait too long.
    askers: Vec<Asker>,
    /// What it takes of the room in flight.
    bytes: usize,
    /// Somebody is to say what became of it; else it is to be sent.
    is_sent: bool,
}

/// The batches in flight of one shard's proposer.
#[derive(Debug, Default)]
pub(super) struct Flights {
    last_number: u64,
    flights: BTreeMap<u64, Flight>,
    bytes: usize,
}

impl Flights {
    /// The number of the next batch. They start at 1.
    pub(super) const fn next_number(&self) -> u64 {
        self.last_number + 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether another batch may leave. One always may. Those that were settled since the oldest one
    /// in flight count too: the group forgets the answers of what is further back.
    pub(super) fn has_room(&self, batches_max: u64, bytes_max: usize) -> bool {
        let Some((oldest, _)) = self.flights.first_key_value() else {
            return true;
        };
        self.next_number() - oldest < batches_max && self.bytes < bytes_max
    }

    /// Takes in the batch of [`next_number`](Self::next_number), to be sent.
    pub(super) fn add(&mut self, batch: EncodedBatch, askers: Vec<Asker>, bytes: usize) {
        self.last_number += 1;
        self.bytes += bytes;
        let flight = Flight {
            batch,
            askers,
            bytes,
            is_sent: false,
        };
        self.flights.insert(self.last_number, flight);
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.flights.values().any(|flight| !flight.is_sent)
    }

    /// The largest number that was sent and of which nothing is known yet.
    pub(super) fn last_sent(&self) -> Option<u64> {
        let mut last = self.flights.iter().rev();
        last.find_map(|(number, flight)| flight.is_sent.then_some(*number))
    }

    /// Everything to be sent, in order; from now on it counts as sent.
    pub(super) fn send(&mut self) -> Vec<(u64, EncodedBatch)> {
        let unsent = self
            .flights
            .iter_mut()
            .filter(|(_, flight)| !flight.is_sent);
        unsent
            .map(|(number, flight)| {
                flight.is_sent = true;
                (*number, flight.batch.clone())
            })
            .collect()
    }

    /// The batch is to be sent again.
    pub(super) fn unsend(&mut self, number: u64) {
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.is_sent = false;
        }
    }

    /// The outcome is known. Those who wait for it; `None` if it was known before.
    pub(super) fn settle(&mut self, number: u64) -> Option<Vec<Asker>> {
        let flight = self.flights.remove(&number)?;
        self.bytes -= flight.bytes;
        Some(flight.askers)
    }

    /// Everybody who still waits. The batches stay in flight: their numbers must not be missing.
    pub(super) fn take_askers(&mut self) -> Vec<Asker> {
        let flights = self.flights.values_mut();
        flights
            .flat_map(|flight| std::mem::take(&mut flight.askers))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(flights: &mut Flights, bytes: usize) {
        let batch = EncodedBatch::from_stored(Bytes::new());
        flights.add(batch, Vec::new(), bytes);
    }

    fn sent(flights: &mut Flights) -> Vec<u64> {
        flights
            .send()
            .into_iter()
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn what_was_not_settled_is_sent_again_under_its_number_and_in_order() {
        let mut flights = Flights::default();
        (0..4).for_each(|_| add(&mut flights, 1));
        assert_eq!(sent(&mut flights), [1, 2, 3, 4]);
        assert!(sent(&mut flights).is_empty());
        assert!(flights.settle(1).is_some());
        assert!(flights.settle(1).is_none(), "known before");
        flights.unsend(4);
        flights.unsend(2);
        flights.unsend(1);
        assert!(flights.has_unsent());
        assert_eq!(sent(&mut flights), [2, 4]);
        assert_eq!(flights.next_number(), 5);
    }

    #[test]
    fn room_is_bounded_by_count_and_bytes_and_one_batch_always_may_leave() {
        let mut flights = Flights::default();
        assert!(flights.has_room(0, 0));
        add(&mut flights, 10);
        assert!(flights.has_room(2, 11));
        assert!(!flights.has_room(2, 10));
        assert!(!flights.has_room(1, 11));
        flights.settle(1);
        assert!(flights.is_empty() && flights.has_room(0, 0));
    }

    #[test]
    fn no_batch_leaves_that_would_push_the_answer_of_one_in_flight_out_of_memory() {
        let mut flights = Flights::default();
        (0..3).for_each(|_| add(&mut flights, 1));
        assert_eq!(sent(&mut flights), [1, 2, 3]);
        flights.settle(2);
        flights.settle(3);
        assert!(flights.has_room(4, 100) && !flights.has_room(3, 100));
        flights.settle(1);
        assert!(flights.has_room(3, 100));
    }
}
