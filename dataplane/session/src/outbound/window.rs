//! The deliveries of QoS 1 and 2 that the client has not acknowledged.

use std::collections::VecDeque;

use tessera_mqtt::{PacketId, Qos};

/// How many packet identifiers there are.
const IDENTIFIERS: u64 = 65_535;

/// Longest span from the first unacknowledged delivery to the next one. Within it no two deliveries
/// have the same packet identifier.
pub const SPAN_MAX: u64 = IDENTIFIERS - 1;

/// The number of a QoS 1 or 2 delivery in its session: dense, from 0, for the whole life of the
/// session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// 1 + (sequence mod 65,535): the same on any node, without a write.
    pub fn packet_id(self) -> PacketId {
        let number = u16::try_from(self.0 % IDENTIFIERS).map_or(0, |remainder| remainder + 1);
        PacketId::new(number).unwrap_or(FIRST_IDENTIFIER)
    }

    /// The delivery after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

const FIRST_IDENTIFIER: PacketId = match PacketId::new(1) {
    Some(first) => first,
    None => panic!("1 is not 0"),
};

/// Where one delivery stands.
///
/// ```text
///            write QoS 1               PUBACK
///   Unsent ───────────────▶ PubAckDue ─────────────────────────────────────────────▶ Done
///      │     write QoS 2               PUBREC < 0x80            release      PUBCOMP   ▲
///      ├──────────────────▶ PubRecDue ────────────▶ Received ────────▶ PubCompDue ─────┤
///      │                        └──── PUBREC ≥ 0x80 ───────────────────────────────────┤
///      └── passed over: expired, dropped, too large ───────────────────────────────────┘
/// ```
///
/// Complication: a resumed session may have released or skipped deliveries ahead of unsent ones;
/// those begin at `PubCompDue` or `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Unsent,
    PubAckDue,
    PubRecDue,
    Received,
    PubCompDue,
    Done,
}

impl Slot {
    /// Whether the client holds this delivery open: it counts against its receive maximum.
    const fn is_open(self) -> bool {
        match self {
            Self::PubAckDue | Self::PubRecDue | Self::Received | Self::PubCompDue => true,
            Self::Unsent | Self::Done => false,
        }
    }

    /// What a delivery of that QoS waits for once it is written.
    const fn written(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::Done,
            Qos::AtLeastOnce => Self::PubAckDue,
            Qos::ExactlyOnce => Self::PubRecDue,
        }
    }
}

/// Whether a delivery may be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes.
    Open,
    /// Not before an acknowledgement.
    Closed,
    /// It was written, released or passed over before.
    Known,
}

/// All deliveries from the first unacknowledged one.
///
/// Invariants: `slots[0]` is neither done nor absent unless it is unsent; `next` is the first that
/// was not written on this connection; `open` counts the open slots.
#[derive(Debug)]
pub(super) struct Window {
    base: u64,
    next: u64,
    slots: VecDeque<Slot>,
    open: usize,
    open_max: usize,
}

impl Window {
    pub(super) const fn new(receive_maximum: u16) -> Self {
        Self {
            base: 0,
            next: 0,
            slots: VecDeque::new(),
            open: 0,
            open_max: receive_maximum as usize,
        }
    }

    /// Begin where a session left off. `released` are those whose PUBREC was committed.
    pub(super) fn resume(&mut self, cursor: Sequence, released: &[Sequence]) {
        self.base = cursor.0;
        self.next = cursor.0;
        self.slots.clear();
        self.open = 0;
        for sequence in released {
            self.extend_to(*sequence);
            self.set(*sequence, Slot::PubCompDue);
        }
    }

    /// The first delivery that is not acknowledged: all before it are.
    pub(super) const fn acknowledged_below(&self) -> Sequence {
        Sequence(self.base)
    }

    /// The delivery that comes next if the connection numbers them itself.
    pub(super) const fn next(&self) -> Sequence {
        Sequence(self.next)
    }

    /// How many more deliveries may be written.
    pub(super) fn room(&self) -> usize {
        let span = SPAN_MAX.saturating_sub(self.next - self.base);
        let span = usize::try_from(span).unwrap_or(usize::MAX);
        self.open_max.saturating_sub(self.open).min(span)
    }

    pub(super) fn admit(&self, sequence: Sequence) -> Admission {
        // A slot ahead of `next` that is not unsent was skipped, or released before this
        // connection.
        let ahead = self.slot(sequence);
        if sequence.0 < self.next || ahead.is_some_and(|slot| slot != Slot::Unsent) {
            return Admission::Known;
        }
        // With nothing open, base jumps to the delivery: no gap is too wide.
        let spans = self.open > 0 && !self.is_within_span(sequence);
        if self.open >= self.open_max || spans {
            return Admission::Closed;
        }
        Admission::Open
    }

    /// The delivery was written. What it passed over counts as done.
    pub(super) fn written(&mut self, sequence: Sequence, qos: Qos) {
        self.pass_to(sequence);
        self.extend_to(sequence);
        self.set(sequence, Slot::written(qos));
        self.next = sequence.0 + 1;
        self.advance();
    }

    /// The delivery, and what it passed over, will not be written.
    pub(super) fn pass_over(&mut self, sequence: Sequence) {
        self.written(sequence, Qos::AtMostOnce);
    }

    /// This one delivery will not be written, whenever those before it are. False: too far ahead.
    pub(super) fn skip(&mut self, sequence: Sequence) -> bool {
        if sequence.0 < self.next || self.slot(sequence).is_some_and(|slot| slot != Slot::Unsent) {
            return true;
        }
        if !self.is_within_span(sequence) {
            return false;
        }
        self.extend_to(sequence);
        self.set_done(sequence);
        true
    }

    pub(super) fn slot(&self, sequence: Sequence) -> Option<Slot> {
        let index = usize::try_from(sequence.0.checked_sub(self.base)?).ok()?;
        self.slots.get(index).copied()
    }

    /// The delivery that an identifier means now, if there is one.
    pub(super) fn find(&self, packet_id: PacketId) -> Option<(Sequence, Slot)> {
        let wanted = u64::from(packet_id.get()) - 1;
        let offset = (wanted + IDENTIFIERS - self.base % IDENTIFIERS) % IDENTIFIERS;
        let sequence = Sequence(self.base + offset);
        self.slot(sequence).map(|slot| (sequence, slot))
    }

    pub(super) fn set_received(&mut self, sequence: Sequence) {
        self.set(sequence, Slot::Received);
    }

    pub(super) fn set_released(&mut self, sequence: Sequence) {
        self.set(sequence, Slot::PubCompDue);
    }

    pub(super) fn set_done(&mut self, sequence: Sequence) {
        self.set(sequence, Slot::Done);
        self.advance();
    }

    /// Everything unsent before `sequence` was dropped by the session's queue.
    fn pass_to(&mut self, sequence: Sequence) {
        let passed = usize::try_from(self.next.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let until = usize::try_from(sequence.0.saturating_sub(self.base)).unwrap_or(usize::MAX);
        for slot in self.slots.iter_mut().take(until).skip(passed) {
            if *slot == Slot::Unsent {
                *slot = Slot::Done;
            }
        }
        self.advance();
        if self.slots.is_empty() {
            self.base = self.base.max(sequence.0);
        } else {
            while self.base + self.slots.len() as u64 <= sequence.0.saturating_sub(1) {
                self.slots.push_back(Slot::Done);
            }
        }
    }

    const fn is_within_span(&self, sequence: Sequence) -> bool {
        sequence.0.saturating_sub(self.base) < SPAN_MAX
    }

    fn extend_to(&mut self, sequence: Sequence) {
        while self.base + self.slots.len() as u64 <= sequence.0 {
            self.slots.push_back(Slot::Unsent);
        }
    }

    fn set(&mut self, sequence: Sequence, to: Slot) {
        let index = sequence.0.checked_sub(self.base);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) else {
            return;
        };
        self.open -= usize::from(slot.is_open());
        self.open += usize::from(to.is_open());
        *slot = to;
    }

    fn advance(&mut self) {
        while self.slots.front() == Some(&Slot::Done) {
            self.slots.pop_front();
            self.base += 1;
        }
        self.next = self.next.max(self.base);
    }
}

#[cfg(test)]
mod tests;
