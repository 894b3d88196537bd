//! A full queue makes room: its oldest messages go.

use tessera_mqtt::Qos;
use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::bounds::REMOVED_BYTES_MAX;
use crate::keys::{Row, queue_from};
use crate::query::read_run;
use crate::queue::{QueueBound, QueueBounds};
use crate::rows::{Mark, SessionRow};
use crate::run::Run;

/// What one more message needs of a queue.
pub(super) struct Room {
    messages_max: u64,
    bytes_max: u64,
    len: u64,
}

impl Room {
    pub(super) fn new(bounds: &QueueBounds, len: usize) -> Self {
        Self {
            messages_max: u64::from(bounds.messages_max),
            bytes_max: bounds.bytes_max,
            len: u64::try_from(len).unwrap_or(u64::MAX),
        }
    }

    /// Whether an empty queue has it.
    pub(super) fn can_ever_fit(&self) -> bool {
        self.messages_max > 0 && self.len <= self.bytes_max
    }

    /// Whether this queue has it.
    pub(super) fn fits(&self, row: &SessionRow) -> bool {
        self.reached(row, 0).is_none()
    }

    /// The bound that this queue would be over, with so many copies of the message before this one.
    pub(super) fn reached(&self, row: &SessionRow, copies: u64) -> Option<QueueBound> {
        let messages = row.queue_messages().saturating_add(copies);
        let copied = self.len.saturating_mul(copies.saturating_add(1));
        if messages >= self.messages_max {
            Some(QueueBound::Messages)
        } else if row.queue_bytes.saturating_add(copied) > self.bytes_max {
            Some(QueueBound::Bytes)
        } else {
            None
        }
    }
}

/// Drops the oldest messages until there is room or `rows_left` rows were changed; answers how many
/// it dropped.
pub(super) fn make_room(
    change: &mut Change<'_>,
    client: &[u8],
    row: &mut SessionRow,
    room: &Room,
    rows_left: &mut usize,
) -> Result<u32, RowError> {
    let mut dropped = 0_u32;
    // Most often the first run is enough: read few, then more.
    let mut runs = 1;
    while !room.fits(row) && *rows_left > 0 && !change.touches_many_blocks() {
        let span = queue_from(change.tenant(), client, row.cursor);
        let page = change.page(&span, runs.min(*rows_left), REMOVED_BYTES_MAX)?;
        if page.rows.is_empty() {
            break;
        }
        for (key, value) in &page.rows {
            let (last, run) = decoded(read_run(key, value), "run")?;
            let from_run = drop_from_run(change, client, row, room, (last, &run), rows_left)?;
            dropped = dropped.saturating_add(from_run);
            if row.cursor <= last {
                break;
            }
            change.delete_run(key, &run)?;
            *rows_left = rows_left.saturating_sub(1);
            if change.touches_many_blocks() {
                break;
            }
        }
        runs *= 2;
    }
    Ok(dropped)
}

/// Drops messages of one run, the oldest first.
fn drop_from_run(
    change: &mut Change<'_>,
    client: &[u8],
    row: &mut SessionRow,
    room: &Room,
    (last, run): (u64, &Run),
    rows_left: &mut usize,
) -> Result<u32, RowError> {
    let mut dropped = 0;
    for (sequence, reference) in (run.first(last)..).zip(&run.references) {
        if sequence < row.cursor {
            continue;
        }
        if room.fits(row) || *rows_left == 0 {
            break;
        }
        if reference.delivery.qos == Qos::ExactlyOnce && sequence < row.sent_below {
            owe_release(change, client, sequence)?;
            *rows_left -= 1;
        }
        row.cursor = sequence + 1;
        row.queue_bytes = row.queue_bytes.saturating_sub(u64::from(reference.len));
        change.count_out(reference.len);
        dropped += 1;
    }
    Ok(dropped)
}

/// A QoS 2 message that the client may have is dropped: its handshake must still end, else the
/// client takes the next message of that packet identifier for a repeat.
fn owe_release(change: &mut Change<'_>, client: &[u8], sequence: u64) -> Result<(), RowError> {
    let key = Row::Mark { client, sequence };
    if change.get(key)?.is_none() {
        change.put(key, &Mark::Released.encode())?;
    }
    Ok(())
}
