//! What bounds one session and one command. The same on every replica: a change of one of these is
//! a change of form.

/// Subscriptions of one session.
pub(crate) const SUBSCRIPTIONS_MAX: u32 = 10_000;

/// Received QoS 2 packet identifiers that one session holds until their PUBREL.
pub(crate) const PACKET_IDS_MAX: usize = 1_024;

/// Queues that one command touches: three rows each at most, so that with [`OVERFLOW_ROWS_MAX`] it
/// stays within the 1,000 rows of a command (protocols E). A larger fan-out is several commands.
pub(crate) const TARGETS_MAX: usize = 240;

/// Rows that one insert command changes to make room. If that is not enough room for a message, it
/// is dropped: only after the bound was lowered far, and for a few messages.
pub(crate) const OVERFLOW_ROWS_MAX: usize = 256;

/// Rows that one step removes of a session that ended or acknowledged.
pub(crate) const REMOVED_ROWS_MAX: usize = 400;

/// Blocks that one step lets go, two rows each; it ends with the run that reaches it.
pub(crate) const REMOVED_BLOCKS_MAX: usize = 200;

/// Bytes of their keys and values, so that a step reads and answers little.
pub(crate) const REMOVED_BYTES_MAX: usize = 512 * 1024;

/// Bytes that bodies share a block up to; a larger body has one of its own. An entry's next body
/// rewrites the block, so this is also what a small message costs at most.
pub(crate) const BLOCK_BYTES_MAX: usize = 8 * 1024;

/// The span of unacknowledged sequences that may be on their way to a client: packet identifiers
/// repeat after it (protocols D).
pub(crate) const SPAN_MAX: u64 = 65_535;

/// Where a target's `sent_below` would stand: the node that inserts does not have its connection.
pub(crate) const SENT_UNKNOWN: u64 = u64::MAX;

/// Wills of one client that are stored at once: one of a live connection, the others on their way out.
pub(crate) const WILLS_MAX: usize = 16;

/// How long a will waits at least when it was the server that went away: long enough for the client
/// to be back (protocols C).
pub(crate) const WILL_GRACE_MS: u64 = 5_000;
