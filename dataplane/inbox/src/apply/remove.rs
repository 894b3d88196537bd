//! Sessions end: their rows go in bounded steps.

use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::answer::{Answer, Removed};
use crate::bounds::{REMOVED_BYTES_MAX, REMOVED_ROWS_MAX};
use crate::keys::{Row, belongings_of};
use crate::rows::{Presence, SessionRow};
use crate::run::Run;

/// Removes a session whose time has passed.
pub(super) fn expire(change: &mut Change<'_>, client: &[u8]) -> Result<Answer, RowError> {
    let now_ms = change.now_ms();
    let ended = change.session(client)?.filter(|row| !row.is_alive(now_ms));
    let Some(row) = ended else {
        return Ok(Answer::Done);
    };
    let (done, removed) = remove(change, client, row)?;
    Ok(Answer::Ended { done, removed })
}

/// One step of removing a session: whether it was the last, and the subscriptions it removed.
/// From the first step on the session is `Ended`: nobody gets it back.
pub(super) fn remove(
    change: &mut Change<'_>,
    client: &[u8],
    mut row: SessionRow,
) -> Result<(bool, Removed), RowError> {
    if row.presence != Presence::Ended {
        end(change, client, &mut row)?;
    }
    let mut removed = Removed {
        incarnation: row.incarnation,
        filters: Vec::new(),
    };
    let span = belongings_of(change.tenant(), client);
    let page = change.page(&span, REMOVED_ROWS_MAX, REMOVED_BYTES_MAX)?;
    let mut rest = page.rows.iter();
    while !change.touches_many_blocks()
        && let Some((key, value)) = rest.next()
    {
        remove_belonging(change, key, value, &mut removed)?;
    }
    if page.more || rest.next().is_some() {
        change.put_session(client, &row)?;
        return Ok((false, removed));
    }
    change.delete(Row::Publisher {
        client,
        incarnation: row.incarnation,
    })?;
    change.delete(Row::Due { due_ms: 0, client })?;
    change.delete(Row::Session { client })?;
    Ok((true, removed))
}

/// The session counts no more, whatever is still there of it.
fn end(change: &mut Change<'_>, client: &[u8], row: &mut SessionRow) -> Result<(), RowError> {
    let figures = &mut change.figures;
    figures.sessions = figures.sessions.saturating_sub(1);
    figures.subscriptions = figures
        .subscriptions
        .saturating_sub(u64::from(row.subscriptions));
    figures.queue_messages = figures.queue_messages.saturating_sub(row.queue_messages());
    figures.queue_bytes = figures.queue_bytes.saturating_sub(row.queue_bytes);
    row.subscriptions = 0;
    row.cursor = row.next;
    row.queue_bytes = 0;
    change.set_presence(client, row, Presence::Ended)
}

fn remove_belonging(
    change: &mut Change<'_>,
    key: &[u8],
    value: &[u8],
    removed: &mut Removed,
) -> Result<(), RowError> {
    let (_, row) = decoded(Row::parse(key), "key")?;
    match row {
        Row::Queue { .. } => {
            let run = decoded(Run::decode(value), "run")?;
            return change.delete_run(key, &run);
        }
        Row::Subscription { filter, .. } => removed.filters.push(filter.to_vec()),
        Row::Received { .. } | Row::Mark { .. } => {}
        Row::Tenant
        | Row::Session { .. }
        | Row::Block(_)
        | Row::BlockRefs(_)
        | Row::Due { .. }
        | Row::Online { .. }
        | Row::Will { .. }
        | Row::WillDue { .. }
        | Row::Publisher { .. }
        | Row::Registration { .. } => return Err(RowError::undecodable("key")),
    }
    change.delete_key(key)
}
