//! QoS 2 messages between their PUBLISH and their PUBCOMP.

use tessera_mqtt::PacketId;

use crate::limits::UNRELEASED_IDENTIFIERS_MAX;

/// Where a received QoS 2 message stands.
///
/// ```text
///   PUBLISH            PUBREC < 0x80 leaves          PUBREL            complete_release
///   ────────▶ Routing ──────────────────────▶ Held ──────────▶ Releasing ─────────────▶ gone (PUBCOMP)
///                └─ PUBREC ≥ 0x80 leaves ─▶ gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No PUBREC has left.
    Routing,
    /// PUBREC left; the same identifier again is the same message.
    Held {
        /// A PUBREC for a repeat waits in the ring.
        repeat: bool,
    },
    /// PUBREL came; the removal is being made durable.
    Releasing,
}

#[derive(Debug)]
struct Receipt {
    packet_id: PacketId,
    stage: Stage,
    /// Its PUBLISH came on this connection, so that it takes a place of the receive maximum. One
    /// that a former connection brought does not (MQTT 5, 4.9: the quota begins anew).
    counted: bool,
}

/// The identifiers in use, sorted; bounded by [`UNRELEASED_IDENTIFIERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Receipts {
    sorted: Vec<Receipt>,
}

impl Receipts {
    /// Those that a former connection left.
    pub(super) fn resume(&mut self, held: &[PacketId]) {
        self.sorted = held
            .iter()
            .map(|packet_id| Receipt {
                packet_id: *packet_id,
                stage: Stage::Held { repeat: false },
                counted: false,
            })
            .collect();
        self.sorted
            .sort_unstable_by_key(|receipt| receipt.packet_id);
        self.sorted.dedup_by_key(|receipt| receipt.packet_id);
    }

    pub(super) fn stage(&self, packet_id: PacketId) -> Option<Stage> {
        let index = self.find(packet_id).ok()?;
        self.sorted.get(index).map(|receipt| receipt.stage)
    }

    pub(super) fn is_full(&self) -> bool {
        self.sorted.len() >= UNRELEASED_IDENTIFIERS_MAX
    }

    /// A new message, counted.
    pub(super) fn insert(&mut self, packet_id: PacketId) {
        let receipt = Receipt {
            packet_id,
            stage: Stage::Routing,
            counted: true,
        };
        match self.find(packet_id) {
            Ok(index) => self.sorted[index] = receipt,
            Err(index) => self.sorted.insert(index, receipt),
        }
    }

    pub(super) fn set(&mut self, packet_id: PacketId, stage: Stage) {
        if let Ok(index) = self.find(packet_id) {
            self.sorted[index].stage = stage;
        }
    }

    /// Count one that a former connection brought and that was sent again.
    pub(super) fn count(&mut self, packet_id: PacketId) {
        if let Ok(index) = self.find(packet_id) {
            self.sorted[index].counted = true;
        }
    }

    pub(super) fn is_counted(&self, packet_id: PacketId) -> bool {
        self.find(packet_id)
            .is_ok_and(|index| self.sorted[index].counted)
    }

    /// Forget it. Whether it was counted.
    pub(super) fn remove(&mut self, packet_id: PacketId) -> bool {
        match self.find(packet_id) {
            Ok(index) => self.sorted.remove(index).counted,
            Err(_) => false,
        }
    }

    fn find(&self, packet_id: PacketId) -> Result<usize, usize> {
        self.sorted
            .binary_search_by_key(&packet_id, |receipt| receipt.packet_id)
    }
}
