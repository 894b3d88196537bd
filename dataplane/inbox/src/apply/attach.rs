//! Owners come and go.

use tessera_shard::RowError;

use super::change::Change;
use super::registration;
use super::remove::remove;
use super::will::{self, Return};
use crate::answer::{Answer, AttachOutcome, Removed};
use crate::bounds::SPAN_MAX;
use crate::command::{Attach, Fence};
use crate::keys::Row;
use crate::rows::{Presence, SessionRow};
use crate::session::{EXPIRY_NEVER, WillEnd};

/// Takes a stored session over, or begins one. What is in the way (clean start, a session whose
/// time has passed) is removed first, in steps.
pub(super) fn attach(change: &mut Change<'_>, attach: &Attach<'_>) -> Result<Answer, RowError> {
    if registration::is_foreign(change, attach)? {
        return Ok(refused(AttachOutcome::OtherPrincipal, Removed::default()));
    }
    let Some(row) = change.session(attach.client)? else {
        return begin(change, attach, Removed::default());
    };
    let alive = row.is_alive(change.now_ms());
    if alive && row.principal != attach.principal {
        return Ok(refused(AttachOutcome::OtherPrincipal, Removed::default()));
    }
    if alive && !attach.clean_start {
        return resume(change, attach, row);
    }
    let (done, removed) = remove(change, attach.client, row)?;
    if !done {
        return Ok(refused(AttachOutcome::More, removed));
    }
    begin(change, attach, removed)
}

/// Nobody has the session by this.
const fn refused(outcome: AttachOutcome, removed: Removed) -> Answer {
    Answer::Attach {
        outcome,
        removed,
        will: None,
        registered: None,
    }
}

/// The owner leaves; without an expiry the session ends here.
pub(super) fn detach(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    expiry_seconds: Option<u32>,
    sent_below: u64,
    will: WillEnd,
) -> Result<Answer, RowError> {
    let Some(mut row) = change.owned(fence)? else {
        return Ok(Answer::Stale);
    };
    row.expiry_seconds = expiry_seconds.unwrap_or(row.expiry_seconds);
    row.sent_below = row.sent_below.max(sent_below.min(row.next));
    leave(change, fence.client, row, will)
}

/// The owner is gone without a word.
pub(super) fn release(
    change: &mut Change<'_>,
    client: &[u8],
    registration: Option<u64>,
) -> Result<Answer, RowError> {
    if let Some(number) = registration
        && !registration::is_registered(change, client, number)?
    {
        return Ok(Answer::Done);
    }
    registration::unregister(change, client)?;
    match change.session(client)? {
        Some(mut row) if row.presence == Presence::Online => {
            assume_sent(&mut row);
            leave(change, client, row, WillEnd::PublishedUnlessBack)
        }
        Some(_) => Ok(Answer::Done),
        None => {
            let now_ms = change.now_ms();
            will::leave_all(change, client, WillEnd::PublishedUnlessBack, Some(now_ms))?;
            change.delete(Row::Online { client })?;
            Ok(Answer::Done)
        }
    }
}

fn begin(
    change: &mut Change<'_>,
    attach: &Attach<'_>,
    removed: Removed,
) -> Result<Answer, RowError> {
    will::settle_returned(change, attach.client, Return::Ended)?;
    if !attach.create {
        return Ok(Answer::Attach {
            outcome: AttachOutcome::Absent,
            removed,
            will: arm(change, attach)?,
            registered: registration::register(change, attach)?,
        });
    }
    change.figures.last_incarnation += 1;
    change.figures.sessions += 1;
    let incarnation = change.figures.last_incarnation;
    let row = SessionRow::new(incarnation, attach.principal, attach.expiry_seconds);
    change.put(
        Row::Online {
            client: attach.client,
        },
        &[],
    )?;
    change.put_session(attach.client, &row)?;
    let outcome = AttachOutcome::Owned {
        incarnation,
        epoch: row.epoch,
        resumed: false,
    };
    Ok(Answer::Attach {
        outcome,
        removed,
        will: arm(change, attach)?,
        registered: registration::register(change, attach)?,
    })
}

fn resume(
    change: &mut Change<'_>,
    attach: &Attach<'_>,
    mut row: SessionRow,
) -> Result<Answer, RowError> {
    if row.presence == Presence::Online {
        assume_sent(&mut row);
    }
    row.epoch += 1;
    row.expiry_seconds = attach.expiry_seconds;
    change.set_presence(attach.client, &mut row, Presence::Online)?;
    change.put_session(attach.client, &row)?;
    will::settle_returned(change, attach.client, Return::Resumed)?;
    let outcome = AttachOutcome::Owned {
        incarnation: row.incarnation,
        epoch: row.epoch,
        resumed: true,
    };
    Ok(Answer::Attach {
        outcome,
        removed: Removed::default(),
        will: arm(change, attach)?,
        registered: registration::register(change, attach)?,
    })
}

/// Stores the will that came with the attach. Without one, a client that has no stored session is
/// not to be found as online.
fn arm(change: &mut Change<'_>, attach: &Attach<'_>) -> Result<Option<u64>, RowError> {
    match &attach.will {
        Some(will) => will::arm(change, attach.client, will).map(Some),
        None if attach.create => Ok(None),
        None => {
            let client = attach.client;
            if change.session(client)?.is_none() {
                change.delete(Row::Online { client })?;
            }
            Ok(None)
        }
    }
}

fn leave(
    change: &mut Change<'_>,
    client: &[u8],
    mut row: SessionRow,
    will: WillEnd,
) -> Result<Answer, RowError> {
    registration::unregister(change, client)?;
    let due_ms = due(change.now_ms(), row.expiry_seconds);
    will::leave_all(change, client, will, due_ms)?;
    if row.expiry_seconds == 0 {
        let (done, removed) = remove(change, client, row)?;
        return Ok(Answer::Ended { done, removed });
    }
    change.set_presence(client, &mut row, Presence::Offline { due_ms })?;
    change.put_session(client, &row)?;
    Ok(Answer::Ended {
        done: true,
        removed: Removed::default(),
    })
}

fn due(now_ms: u64, expiry_seconds: u32) -> Option<u64> {
    let seconds = (expiry_seconds != EXPIRY_NEVER).then_some(expiry_seconds)?;
    Some(now_ms.saturating_add(u64::from(seconds) * 1_000))
}

/// What the owner had sent is not known: anything that a window can span.
fn assume_sent(row: &mut SessionRow) {
    row.sent_below = row
        .sent_below
        .max(row.next.min(row.cursor.saturating_add(SPAN_MAX)));
}
