//! Messages come into queues.

use tessera_shard::RowError;

use super::change::{Change, Place};
use super::overflow::{Room, make_room};
use super::publish::{advance, follows, progress_of, publisher_of};
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

/// Passes over the targets that an earlier attempt reached. Stores in all queues or, if one refuses,
/// in none.
fn insert_once(
    change: &mut Change<'_>,
    insert: &Insert<'_>,
    origin: &Origin<'_>,
) -> Result<Answer, RowError> {
    let mut publisher = publisher_of(change, origin)?;
    let progress = progress_of(&publisher, origin);
    if !follows(progress.as_ref(), origin.after) {
        let withheld = vec![InsertOutcome::Withheld; insert.targets.len()];
        return Ok(Answer::Inserted(withheld));
    }
    let is_stored = |client: &[u8]| match &progress {
        None => false,
        Some(Progress::UpTo(last)) => client <= &last[..],
        Some(Progress::Complete) => true,
    };
    if let Some(outcomes) = refused(change, insert, &is_stored)? {
        return Ok(Answer::Inserted(outcomes));
    }
    let last = insert.targets.last().map(|target| target.client);
    if progress != Some(Progress::Complete) && !advance(&mut publisher, origin, last) {
        return Ok(Answer::Full);
    }
    let outcomes = store_all(change, insert, &is_stored)?;
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

/// What came of each target if a queue refuses the publish.
fn refused(
    change: &Change<'_>,
    insert: &Insert<'_>,
    is_stored: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<Vec<InsertOutcome>>, RowError> {
    match insert.bounds.overflow {
        OverflowPolicy::DropOldest | OverflowPolicy::DropNewest => return Ok(None),
        OverflowPolicy::RefusePublisher => {}
    }
    let room = Room::new(&insert.bounds, insert.body.len());
    let mut outcomes = Vec::with_capacity(insert.targets.len());
    // Copies for one client stand side by side.
    let (mut client, mut copies): (&[u8], u64) = (&[], 0);
    for target in &insert.targets {
        if is_stored(target.client) {
            outcomes.push(InsertOutcome::Duplicate);
            continue;
        }
        let Some(row) = taker(change, target)? else {
            outcomes.push(InsertOutcome::NoSubscription);
            continue;
        };
        copies = if target.client == client {
            copies + 1
        } else {
            0
        };
        client = target.client;
        outcomes.push(match room.reached(&row, copies) {
            Some(full) => InsertOutcome::Refused { full },
            None => InsertOutcome::Withheld,
        });
    }
    let is_refusal = |outcome: &InsertOutcome| matches!(outcome, InsertOutcome::Refused { .. });
    Ok(outcomes.iter().any(is_refusal).then_some(outcomes))
}

/// The session that a target means, if there is one.
fn taker(change: &Change<'_>, target: &InsertTarget<'_>) -> Result<Option<SessionRow>, RowError> {
    let now_ms = change.now_ms();
    let takes = |row: &SessionRow| row.incarnation == target.incarnation && row.is_alive(now_ms);
    Ok(change.session(target.client)?.filter(takes))
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
        let Some(mut row) = taker(change, target)? else {
            return Ok(InsertOutcome::NoSubscription);
        };
        let room = Room::new(&self.insert.bounds, self.insert.body.len());
        if let Some(kept_out) = self.keeps_out(&room, &row) {
            return Ok(kept_out);
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

    /// What comes of a message that a full queue makes no room for.
    fn keeps_out(&self, room: &Room, row: &SessionRow) -> Option<InsertOutcome> {
        let full = room.reached(row, 0)?;
        match self.insert.bounds.overflow {
            OverflowPolicy::DropOldest if room.can_ever_fit() => None,
            OverflowPolicy::DropOldest | OverflowPolicy::DropNewest => {
                Some(InsertOutcome::Overflowed {
                    dropped: 1,
                    stored: false,
                })
            }
            OverflowPolicy::RefusePublisher => Some(InsertOutcome::Refused { full }),
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
