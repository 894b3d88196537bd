//! Wills: what is published when a connection ends without a farewell (MQTT 5, 3.1.2.5).
//!
//! ```text
//! CONNECT ─> Armed ── the connection ends ──> Waiting ── due ──> (published, then forgotten)
//!              │                                 └── the client is back in its session ──> (gone)
//!              ├── the server went away ──> Grace ── due ──> (published, then forgotten)
//!              │                              └── the client is back ──> (gone)
//!              └── DISCONNECT 0x00 ──> (gone)
//! ```

use tessera_mqtt::{ClientId, Message};
use tessera_tenancy::{PrincipalId, TenantId};

use crate::encoding::{Reader, Writer};
use crate::queue::PublishOrigin;
use crate::session::SessionIncarnation;

const FORM: u8 = 1;

/// One will of one CONNECT. Drawn from the same numbers as the tenant's session incarnations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WillNumber(pub u64);

/// A will whose time has come: to be published, then
/// [forgotten](crate::Inbox::forget_will).
#[derive(Debug, Clone)]
pub struct DueWill {
    /// Whose namespace.
    pub tenant: TenantId,
    /// Whose will.
    pub client: ClientId,
    /// Which of the client's.
    pub number: WillNumber,
    /// What is published.
    pub message: Message,
    /// Who wrote it: what may be published is asked again now.
    pub writer: PrincipalId,
}

impl DueWill {
    /// Names the publish over repeats: queues take it once, though the process dies before the
    /// will is forgotten.
    pub fn origin(&self) -> PublishOrigin {
        PublishOrigin {
            client: self.client.clone(),
            incarnation: SessionIncarnation(self.number.0),
            number: 0,
            floor: 0,
        }
    }
}

/// Where a will is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WillState {
    /// Its connection lives.
    Armed,
    /// It is published at this time.
    Waiting { due_ms: u64 },
    /// The same; but it was the server that went away, so that whoever comes back before is not gone.
    Grace { due_ms: u64 },
}

impl WillState {
    /// When it is published.
    pub(crate) const fn due_ms(self) -> Option<u64> {
        match self {
            Self::Armed => None,
            Self::Waiting { due_ms } | Self::Grace { due_ms } => Some(due_ms),
        }
    }
}

/// A stored will; its body is in the form of stored messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WillRow {
    pub(crate) state: WillState,
    pub(crate) delay_seconds: u32,
    pub(crate) body: Vec<u8>,
}

impl WillRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::with_capacity(self.body.len() + 16);
        row.byte(FORM);
        match self.state {
            WillState::Armed => row.byte(0),
            WillState::Waiting { due_ms } => row.byte(1).long(due_ms),
            WillState::Grace { due_ms } => row.byte(2).long(due_ms),
        };
        row.word(self.delay_seconds).raw(&self.body);
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = Reader::new(value);
        if row.byte()? != FORM {
            return None;
        }
        Some(Self {
            state: match row.byte()? {
                0 => WillState::Armed,
                1 => WillState::Waiting {
                    due_ms: row.long()?,
                },
                2 => WillState::Grace {
                    due_ms: row.long()?,
                },
                _ => return None,
            },
            delay_seconds: row.word()?,
            body: row.rest().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::encode_hex;

    #[test]
    fn a_will_is_golden() {
        let armed = WillRow {
            state: WillState::Armed,
            delay_seconds: 60,
            body: b"body".to_vec(),
        };
        let waiting = WillRow {
            state: WillState::Waiting { due_ms: 0x0102 },
            ..armed.clone()
        };
        assert_eq!(encode_hex(&armed.encode()), "01000000003c626f6479");
        let grace = WillRow {
            state: WillState::Grace { due_ms: 0x0102 },
            ..waiting.clone()
        };
        assert_eq!(
            encode_hex(&waiting.encode()),
            "010100000000000001020000003c626f6479"
        );
        assert_eq!(
            encode_hex(&grace.encode()),
            "010200000000000001020000003c626f6479"
        );
    }

    proptest! {
        #[test]
        fn a_will_reads_back(due_ms: u64, state in 0..3, delay_seconds: u32, body: Vec<u8>) {
            let state = match state {
                0 => WillState::Armed,
                1 => WillState::Waiting { due_ms },
                _ => WillState::Grace { due_ms },
            };
            let row = WillRow { state, delay_seconds, body };
            prop_assert_eq!(WillRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn no_value_panics_a_reader(value: Vec<u8>) {
            let _ = WillRow::decode(&value);
        }
    }
}
