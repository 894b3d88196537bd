//! Wills are armed, started, cancelled and forgotten.

use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::answer::Answer;
use crate::bounds::{REMOVED_BYTES_MAX, WILL_GRACE_MS, WILLS_MAX};
use crate::command::NewWill;
use crate::keys::{Row, wills_of};
use crate::session::WillEnd;
use crate::will::{WillRow, WillState};

/// What a new connection of the client means to the session that its earlier wills belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// It goes on: a will within its delay is not published (MQTT-3.1.3-9).
    Resumed,
    /// It has ended, and with it every delay.
    Ended,
}

/// Decides on the client's earlier wills. One that was armed belonged to a connection that this one
/// takes over.
pub(super) fn settle_returned(
    change: &mut Change<'_>,
    client: &[u8],
    back: Return,
) -> Result<(), RowError> {
    let now_ms = change.now_ms();
    for (number, row) in wills(change, client)? {
        let is_cancelled = match row.state {
            WillState::Armed => back == Return::Resumed && row.delay_seconds > 0,
            WillState::Waiting { due_ms } => back == Return::Resumed && due_ms > now_ms,
            WillState::Grace { due_ms } => due_ms > now_ms,
        };
        if is_cancelled {
            remove(change, client, number, &row)?;
        } else {
            let due = WillState::Waiting { due_ms: now_ms };
            start(change, client, number, row, due, now_ms)?;
        }
    }
    Ok(())
}

/// Stores the will of a connection that begins; its number. Of too many that wait, the oldest goes.
pub(super) fn arm(
    change: &mut Change<'_>,
    client: &[u8],
    will: &NewWill<'_>,
) -> Result<u64, RowError> {
    let earlier = wills(change, client)?;
    if let Some((number, oldest)) = earlier.first().filter(|_| earlier.len() >= WILLS_MAX) {
        remove(change, client, *number, oldest)?;
    }
    change.figures.last_incarnation += 1;
    let number = change.figures.last_incarnation;
    let row = WillRow {
        state: WillState::Armed,
        delay_seconds: will.delay_seconds,
        body: will.body.to_vec(),
    };
    change.put(Row::Will { client, number }, &row.encode())?;
    change.put(Row::Online { client }, &[])?;
    Ok(number)
}

/// The connection of a client ended; its session ends at `session_due_ms`, or never.
pub(super) fn leave_all(
    change: &mut Change<'_>,
    client: &[u8],
    end: WillEnd,
    session_due_ms: Option<u64>,
) -> Result<(), RowError> {
    for (number, row) in wills(change, client)? {
        leave_one(change, client, number, row, end, session_due_ms)?;
    }
    Ok(())
}

/// A connection without a stored session ended, and its session with it.
pub(super) fn leave(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
    end: WillEnd,
) -> Result<Answer, RowError> {
    let Some(row) = will(change, client, number)? else {
        return Ok(Answer::Unknown);
    };
    if row.state == WillState::Armed {
        if change.session(client)?.is_none() {
            change.delete(Row::Online { client })?;
        }
        let now_ms = change.now_ms();
        leave_one(change, client, number, row, end, Some(now_ms))?;
    }
    Ok(Answer::Done)
}

/// Every receiver has it, or nobody may have it.
pub(super) fn forget(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
) -> Result<Answer, RowError> {
    if let Some(row) = will(change, client, number)? {
        remove(change, client, number, &row)?;
    }
    Ok(Answer::Done)
}

fn leave_one(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
    row: WillRow,
    end: WillEnd,
    session_due_ms: Option<u64>,
) -> Result<(), RowError> {
    if row.state != WillState::Armed {
        return Ok(());
    }
    let now_ms = change.now_ms();
    let delayed_ms = now_ms.saturating_add(u64::from(row.delay_seconds) * 1_000);
    let due_ms = session_due_ms.map_or(delayed_ms, |ends_ms| ends_ms.min(delayed_ms));
    let graced_ms = now_ms.saturating_add(WILL_GRACE_MS);
    match end {
        WillEnd::Dropped => remove(change, client, number, &row),
        WillEnd::PublishedUnlessBack if due_ms <= graced_ms => {
            let grace = WillState::Grace { due_ms: graced_ms };
            start(change, client, number, row, grace, graced_ms)
        }
        WillEnd::Published | WillEnd::PublishedUnlessBack => {
            let waiting = WillState::Waiting { due_ms };
            start(change, client, number, row, waiting, due_ms)
        }
    }
}

/// Sets or brings forward the time of a will.
fn start(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
    mut row: WillRow,
    state: WillState,
    due_ms: u64,
) -> Result<(), RowError> {
    if let Some(before_ms) = row.state.due_ms() {
        if before_ms <= due_ms {
            return Ok(());
        }
        delete_due(change, client, number, before_ms)?;
    }
    row.state = state;
    change.put(Row::Will { client, number }, &row.encode())?;
    let due = Row::WillDue {
        due_ms,
        client,
        number,
    };
    change.put(due, &[])?;
    change.note_will_due(due_ms);
    Ok(())
}

fn remove(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
    row: &WillRow,
) -> Result<(), RowError> {
    if let Some(due_ms) = row.state.due_ms() {
        delete_due(change, client, number, due_ms)?;
    }
    // What queues remembered, so that a repeat of it would be stored once.
    change.delete(Row::Publisher {
        client,
        incarnation: number,
    })?;
    change.delete(Row::Will { client, number })
}

fn delete_due(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
    due_ms: u64,
) -> Result<(), RowError> {
    change.delete(Row::WillDue {
        due_ms,
        client,
        number,
    })
}

fn will(change: &Change<'_>, client: &[u8], number: u64) -> Result<Option<WillRow>, RowError> {
    match change.get(Row::Will { client, number })? {
        None => Ok(None),
        Some(value) => decoded(WillRow::decode(&value), "will").map(Some),
    }
}

/// The client's wills, the oldest first.
fn wills(change: &Change<'_>, client: &[u8]) -> Result<Vec<(u64, WillRow)>, RowError> {
    let span = wills_of(change.tenant(), client);
    // The bytes of a page are a bound of steps that can be repeated; these few are decided at once.
    let page = change.page(
        &span,
        WILLS_MAX,
        REMOVED_BYTES_MAX.saturating_mul(WILLS_MAX),
    )?;
    let rows = page.rows.iter();
    rows.map(|(key, value)| {
        let (_, Row::Will { number, .. }) = decoded(Row::parse(key), "key")? else {
            return Err(RowError::undecodable("key"));
        };
        Ok((number, decoded(WillRow::decode(value), "will")?))
    })
    .collect()
}
