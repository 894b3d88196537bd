//! QoS 1 and 2 messages that wait for the client's window or for room in the buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tessera_mqtt::{Message, Qos, SubscriptionIds};

use super::{Grant, Loan, LoanTerms, Sequence};

/// Bytes that one waiting message is charged besides its topic, payload and properties.
pub const QUEUED_MESSAGE_BYTES: usize = size_of::<Queued>();

/// A delivery that waits. It shares the message's bytes.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: Message,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) sequence: Option<Sequence>,
    pub(super) subscription_ids: SubscriptionIds,
    pub(super) expiry_seconds: Option<u32>,
    pub(super) since: Duration,
    /// Of a shared subscription.
    pub(super) loan: Option<Arc<LoanTerms>>,
}

impl Queued {
    /// The grant as it is at `now`; `None` if the message expired meanwhile (MQTT-3.3.2-5, -6).
    pub(super) fn grant(&self, now: Duration) -> Option<Grant<'_>> {
        let waited = now.saturating_sub(self.since).as_secs();
        let expiry_seconds = match self.expiry_seconds {
            None => None,
            Some(seconds) => {
                let rest = u64::from(seconds)
                    .checked_sub(waited)
                    .filter(|rest| *rest > 0)?;
                Some(u32::try_from(rest).unwrap_or(seconds))
            }
        };
        Some(Grant {
            qos: self.qos,
            retain: self.retain,
            dup: self.dup,
            sequence: self.sequence,
            subscription_ids: &self.subscription_ids,
            expiry_seconds,
        })
    }

    fn bytes(&self) -> usize {
        self.message.body_bytes() + QUEUED_MESSAGE_BYTES
    }
}

/// First in, first out; bounded in messages and bytes.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl Queue {
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            messages_max,
            bytes_max,
        }
    }

    /// Whether one more of that size fits. An empty queue takes any one message.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        let bytes = message.body_bytes() + QUEUED_MESSAGE_BYTES;
        self.waiting.len() < self.messages_max
            && (self.waiting.is_empty() || self.bytes + bytes <= self.bytes_max)
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.bytes += queued.bytes();
        self.waiting.push_back(queued);
    }

    pub(super) fn front(&self) -> Option<&Queued> {
        self.waiting.front()
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.waiting.pop_front()?;
        self.bytes -= queued.bytes();
        Some(queued)
    }

    /// Of the message that was queued last.
    pub(super) fn last_sequence(&self) -> Option<Sequence> {
        self.waiting.back()?.sequence
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those that are lent, in order.
    pub(super) fn loans(&self) -> impl Iterator<Item = Loan> {
        self.waiting.iter().filter_map(|queued| {
            let terms = Arc::clone(queued.loan.as_ref()?);
            let message = queued.message.clone();
            Some(Loan { terms, message })
        })
    }

    /// The message that was queued last is lent.
    pub(super) fn lend_last(&mut self, terms: &Arc<LoanTerms>) {
        if let Some(last) = self.waiting.back_mut() {
            last.loan = Some(Arc::clone(terms));
        }
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_mqtt::TopicName;

    fn queued(payload_bytes: usize) -> Queued {
        let topic = TopicName::try_from("t").unwrap_or_else(|error| panic!("{error}"));
        Queued {
            message: Message::new(topic, vec![0; payload_bytes]),
            qos: Qos::AtLeastOnce,
            retain: false,
            dup: false,
            sequence: None,
            subscription_ids: SubscriptionIds::new(),
            expiry_seconds: None,
            since: Duration::ZERO,
            loan: None,
        }
    }

    /// What a message of that payload and the topic `t` is charged.
    const fn charge(payload_bytes: usize) -> usize {
        payload_bytes + 1 + QUEUED_MESSAGE_BYTES
    }

    #[test]
    fn a_message_is_charged_its_bytes_and_a_fixed_amount() {
        let mut queue = Queue::new(10, usize::MAX);
        assert!(queue.is_empty());
        queue.push(queued(100));
        queue.push(queued(7));
        assert_eq!(queue.bytes(), charge(100) + charge(7));
        assert!(!queue.is_empty());
        queue.pop();
        assert_eq!((queue.len(), queue.bytes()), (1, charge(7)));
        queue.clear();
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn room_ends_exactly_at_either_bound() {
        let mut queue = Queue::new(2, charge(10) + charge(20));
        assert!(queue.has_room(&queued(1_000_000).message), "any one");
        queue.push(queued(10));
        assert!(queue.has_room(&queued(20).message));
        assert!(!queue.has_room(&queued(21).message));
        queue.push(queued(0));
        assert!(!queue.has_room(&queued(0).message), "two are enough");
    }
}
