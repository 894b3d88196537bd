//! What callers say and hear of retained messages.

use std::sync::Arc;

use tessera_mqtt::Message;
use tessera_tenancy::PrincipalId;

/// A message with RETAIN 1. An empty payload clears the topic (MQTT-3.3.1-6, -7).
#[derive(Debug, Clone)]
pub struct PutRequest {
    /// As published.
    pub message: Arc<Message>,
    /// Who published it: what is retained is authorised again at delivery.
    pub writer: PrincipalId,
    /// What the tenant may keep.
    pub bounds: RetainBounds,
}

/// What one tenant may keep. Carried by the command, so that every replica decides alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainBounds {
    /// Topics with a retained message.
    pub messages_max: u64,
    /// Bytes of topics, payloads and properties.
    pub bytes_max: u64,
}

impl Default for RetainBounds {
    /// 1,000,000 messages, 1 `GiB`.
    fn default() -> Self {
        Self {
            messages_max: 1_000_000,
            bytes_max: 1 << 30,
        }
    }
}

/// What came of a put. All but `Full` are done and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The topic has this message now.
    Stored {
        /// It had another one before.
        replaced: bool,
    },
    /// The topic has none now.
    Cleared {
        /// It had one before.
        existed: bool,
    },
    /// The message had no life left: the topic has none now.
    Expired,
    /// The tenant keeps as much as it may: the topic is as it was.
    Full,
}

/// One retained message.
#[derive(Debug, Clone)]
pub struct RetainedMessage {
    /// As published.
    pub message: Message,
    /// Who published it.
    pub writer: PrincipalId,
    /// When it was stored, Unix milliseconds of the group's time.
    pub stored_at_ms: u64,
    /// What is left of its Message Expiry Interval at the time of the read.
    pub expiry_seconds: Option<u32>,
}

/// One page of a match.
#[derive(Debug, Clone, Default)]
pub struct Matches {
    /// Ordered level by level, shorter levels first.
    pub messages: Vec<RetainedMessage>,
    /// Set if the scan stopped at a bound: where to go on. A page may be empty and still have it.
    pub next: Option<MatchCursor>,
}

/// Where a match goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchCursor(pub(crate) Vec<u8>);

/// What one tenant keeps. Exact as of the last applied command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantFigures {
    /// Topics with a retained message.
    pub messages: u64,
    /// Bytes of topics, payloads and properties.
    pub bytes: u64,
}

/// What one bounded step of expiry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Messages that are gone.
    pub messages: u64,
    /// The round over all tenants is not complete: step again. `false` once per round.
    pub more: bool,
}
