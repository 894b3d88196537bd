//! Buffers that a worker lends for the length of a burst, so that an idle connection holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Room that a read is given at least.
pub(crate) const READ_BYTES_MIN: usize = 4 * 1024;
/// Capacity of a fresh buffer.
const BUFFER_BYTES: usize = 8 * 1024;
/// A buffer that grew past this is freed rather than kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Buffers that one worker thread keeps: at most a mebibyte.
const KEPT_MAX: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with some capacity.
pub(crate) fn take() -> BytesMut {
    KEPT.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
}

/// Returns a buffer; what is in it is thrown away.
pub(crate) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    // Slices of it that still live make it shared: reserving then gives it memory of its own, and
    // a buffer whose slices are gone gets its whole capacity back.
    let is_small = buffer.capacity() < BUFFER_BYTES / 2;
    if is_small && (buffer.capacity() == 0 || !buffer.try_reclaim(BUFFER_BYTES)) {
        return;
    }
    if buffer.capacity() <= KEPT_BYTES_MAX {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        });
    }
}
