//! Messages come into queues.

use tessera_shard::RowError;

use super::change::{Change, Place};
use super::overflow::{Room, make_room};
use super::publish::{advance, progress_of, publisher_of};
use crate::answer::Answer;
use crate::body::is_expired_at_birth;
use crate::bounds::{OVERFLOW_ROWS_MAX, SENT_UNKNOWN, SPAN_MAX, TARGETS_MAX};
use crate::command::{Insert, InsertTarget, Origin};
use crate::keys::Row;
use crate::queue::{InsertOutcome, OverflowPolicy};
use crate::rows::{Presence, Progress, SessionRow};
use crate::run::{Reference, RunBytes};

/// Stores one message for each target: its body once, in each queue a reference.
pub(super) fn insert(change: &mut Change<'_>, insert: &Insert<'_>) -> Result<Answer, RowError> {
    let Some(expired) = is_expired_at_birth(insert.body) else {
        return Ok(Answer::Malformed);
    };
    if insert.targets.len() > TARGETS_MAX {
        return Ok(Answer::Malformed);
    }
    if expired {
        return Ok(Answer::Inserted(vec![
            InsertOutcome::Expired;
            insert.targets.len()
        ]));
    }
    match &insert.origin {
        None => store_all(change, insert, &|_| false).map(Answer::Inserted),
        Some(origin) => insert_once(change, insert, origin),
    }
}

/// Passes over the targets that an earlier attempt reached.
fn insert_once(
    change: &mut Change<'_>,
    insert: &Insert<'_>,
    origin: &Origin<'_>,
) -> Result<Answer, RowError> {
    let mut publisher = publisher_of(change, origin)?;
    let progress = progress_of(&publisher, origin);
    let last = insert.targets.last().map(|target| target.client);
    if progress != Some(Progress::Complete) && !advance(&mut publisher, origin, last) {
        return Ok(Answer::Full);
    }
    let outcomes = store_all(change, insert, &|client| match &progress {
        None => false,
        Some(Progress::UpTo(last)) => client <= &last[..],
        Some(Progress::Complete) => true,
    })?;
    let Origin {
        client,
        incarnation,
        ..
    } = *origin;
    change.put(
        Row::Publisher {
            client,
            incarnation,
        },
        &publisher.encode(),
    )?;
    Ok(Answer::Inserted(outcomes))
}

fn store_all(
    change: &mut Change<'_>,
    insert: &Insert<'_>,
    is_stored: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<InsertOutcome>, RowError> {
    let mut inserting = Inserting {
        insert,
        place: None,
        rows_left: OVERFLOW_ROWS_MAX,
    };
    let mut outcomes = Vec::with_capacity(insert.targets.len());
    for target in &insert.targets {
        outcomes.push(if is_stored(target.client) {
            InsertOutcome::Duplicate
        } else {
            inserting.store(change, target)?
        });
    }
    Ok(outcomes)
}

/// One message on its way into queues.
struct Inserting<'a> {
    insert: &'a Insert<'a>,
    /// Where the body is, once a queue took it.
    place: Option<Place>,
    /// Rows that may still be changed to make room.
    rows_left: usize,
}

impl Inserting<'_> {
    fn store(
        &mut self,
        change: &mut Change<'_>,
        target: &InsertTarget<'_>,
    ) -> Result<InsertOutcome, RowError> {
        let now_ms = change.now_ms();
        let takes =
            |row: &SessionRow| row.incarnation == target.incarnation && row.is_alive(now_ms);
        let Some(mut row) = change.session(target.client)?.filter(takes) else {
            return Ok(InsertOutcome::NoSubscription);
        };
        let room = Room::new(&self.insert.bounds, self.insert.body.len());
        if !room.can_ever_fit() || (self.newest_gives_way() && !room.fits(&row)) {
            return Ok(InsertOutcome::Overflowed {
                dropped: 1,
                stored: false,
            });
        }
        let sent_below = match target.sent_below {
            SENT_UNKNOWN => row.sent_below,
            known => row.sent_below.max(known.min(row.next)),
        };
        row.sent_below = sent_below;
        if target.sent_below == SENT_UNKNOWN && row.presence == Presence::Online {
            // What is dropped may be on its way to the client: anything that a window can span.
            row.sent_below = row.next.min(row.cursor.saturating_add(SPAN_MAX));
        }
        let dropped = make_room(change, target.client, &mut row, &room, &mut self.rows_left)?;
        row.sent_below = sent_below;
        let stored = room.fits(&row);
        if stored {
            self.append(change, target, &mut row)?;
        }
        change.put_session(target.client, &row)?;
        let lost = dropped.saturating_add(u32::from(!stored));
        Ok(match lost {
            0 => InsertOutcome::Stored,
            dropped => InsertOutcome::Overflowed { dropped, stored },
        })
    }

    fn newest_gives_way(&self) -> bool {
        match self.insert.bounds.overflow {
            OverflowPolicy::DropOldest => false,
            OverflowPolicy::DropNewest => true,
        }
    }

    fn append(
        &mut self,
        change: &mut Change<'_>,
        target: &InsertTarget<'_>,
        row: &mut SessionRow,
    ) -> Result<(), RowError> {
        let place = match self.place {
            Some(place) => place,
            None => *self.place.insert(change.store_body(self.insert.body)?),
        };
        let reference = Reference {
            chunk: place.block.chunk,
            offset: place.offset,
            len: place.len,
            delivery: target.delivery.clone(),
        };
        let (run, new_block) = match extend_last_run(change, target.client, row, &reference)? {
            Some(extended) => extended,
            None => (
                RunBytes::new(change.index(), change.now_ms(), &reference),
                true,
            ),
        };
        if new_block {
            change.hold(place.block);
        }
        change.put(
            Row::Queue {
                client: target.client,
                last: row.next,
            },
            run.as_bytes(),
        )?;
        row.next += 1;
        row.queue_bytes += u64::from(place.len);
        change.figures.queue_messages += 1;
        change.figures.queue_bytes += u64::from(place.len);
        change.note_grown(target.client);
        Ok(())
    }
}

/// The queue's last run with one more reference, taken from under its old key; `None` if the run is
/// of an earlier entry or full.
fn extend_last_run(
    change: &mut Change<'_>,
    client: &[u8],
    row: &SessionRow,
    reference: &Reference,
) -> Result<Option<(RunBytes, bool)>, RowError> {
    if !change.entry_has_bodies() || row.queue_messages() == 0 {
        return Ok(None);
    }
    let key = Row::Queue {
        client,
        last: row.next - 1,
    };
    let Some(value) = change.get(key)? else {
        return Ok(None);
    };
    let extended = RunBytes::append(&value, change.index(), reference);
    if extended.is_some() {
        change.delete(key)?;
    }
    Ok(extended)
}
