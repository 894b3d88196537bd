//! What the queue of a persistent session may hold, and what is said when it is full.

use tessera_inbox::{OverflowPolicy, QueueBound, QueueBounds};
use tessera_tenancy::QueueOverflow;

/// What one persistent session's queue may hold. What gives way is a setting of the tenant, for
/// published messages; for the retained ones that answer a SUBSCRIBE the oldest do.
pub(crate) const INBOX_BOUNDS: QueueBounds = QueueBounds {
    messages_max: 100_000,
    bytes_max: 64 * 1024 * 1024,
    overflow: OverflowPolicy::DropOldest,
};

/// The bounds of a published message's queues, as a tenant has it set. A message whose publisher
/// nobody can refuse gives way itself.
pub(crate) const fn bounds_of(overflow: QueueOverflow, refusable: bool) -> QueueBounds {
    let overflow = match overflow {
        QueueOverflow::DropOldest => OverflowPolicy::DropOldest,
        QueueOverflow::RefusePublisher if refusable => OverflowPolicy::RefusePublisher,
        QueueOverflow::DropNewest | QueueOverflow::RefusePublisher => OverflowPolicy::DropNewest,
    };
    QueueBounds {
        overflow,
        ..INBOX_BOUNDS
    }
}

/// What a full queue is full of, as answers call it.
pub(crate) const fn full_name(full: QueueBound) -> &'static str {
    match full {
        QueueBound::Messages => "queue_messages",
        QueueBound::Bytes => "queue_bytes",
    }
}

/// How much that is.
pub(crate) fn full_value(full: QueueBound) -> u64 {
    match full {
        QueueBound::Messages => INBOX_BOUNDS.messages_max.into(),
        QueueBound::Bytes => INBOX_BOUNDS.bytes_max,
    }
}
