//! The client has messages: they leave the queue.

use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::answer::Answer;
use crate::bounds::{REMOVED_BYTES_MAX, REMOVED_ROWS_MAX};
use crate::command::Fence;
use crate::keys::{Row, marks_from, queue_from};
use crate::query::read_run;
use crate::rows::{Mark, SessionRow};

/// Everything below is acknowledged. Doing it again, or with less, changes nothing.
pub(super) fn acknowledge(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    below: u64,
) -> Result<Answer, RowError> {
    let Some(mut row) = change.owned(fence)? else {
        return Ok(Answer::Stale);
    };
    let before = row;
    let below = below.min(row.next);
    let more_runs = acknowledge_runs(change, fence.client, &mut row, below)?;
    let more_marks = forget_marks(change, fence.client, below)?;
    row.sent_below = row.sent_below.max(row.cursor);
    if row != before {
        change.put_session(fence.client, &row)?;
    }
    Ok(if more_runs || more_marks {
        Answer::More
    } else {
        Answer::Done
    })
}

/// PUBREC or PUBCOMP of one message.
pub(super) fn mark(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    sequence: u64,
    mark: Mark,
) -> Result<Answer, RowError> {
    let Some(row) = change.owned(fence)? else {
        return Ok(Answer::Stale);
    };
    if sequence >= row.next {
        return Ok(Answer::Unknown);
    }
    let key = Row::Mark {
        client: fence.client,
        sequence,
    };
    let known = match change.get(key)? {
        None => None,
        Some(value) => Some(decoded(Mark::decode(&value), "mark")?),
    };
    match (known, mark) {
        (Some(Mark::Completed), Mark::Released | Mark::Completed)
        | (Some(Mark::Released), Mark::Released) => {}
        (None, Mark::Released | Mark::Completed) | (Some(Mark::Released), Mark::Completed) => {
            change.put(key, &mark.encode())?;
        }
    }
    Ok(Answer::Done)
}

/// Takes the messages below out of the queue; whether there are more of them.
fn acknowledge_runs(
    change: &mut Change<'_>,
    client: &[u8],
    row: &mut SessionRow,
    below: u64,
) -> Result<bool, RowError> {
    if row.cursor >= below {
        return Ok(false);
    }
    let span = queue_from(change.tenant(), client, row.cursor);
    let page = change.page(&span, REMOVED_ROWS_MAX, REMOVED_BYTES_MAX)?;
    for (key, value) in &page.rows {
        let (last, run) = decoded(read_run(key, value), "run")?;
        for (sequence, reference) in (run.first(last)..).zip(&run.references) {
            if (row.cursor..below).contains(&sequence) {
                row.cursor = sequence + 1;
                row.queue_bytes = row.queue_bytes.saturating_sub(u64::from(reference.len));
                change.count_out(reference.len);
            }
        }
        if last >= below {
            return Ok(false);
        }
        change.delete_run(key, &run)?;
        if change.touches_many_blocks() {
            break;
        }
    }
    Ok(row.cursor < below)
}

/// Forgets the handshakes below; whether there are more of them.
fn forget_marks(change: &mut Change<'_>, client: &[u8], below: u64) -> Result<bool, RowError> {
    let (from, _) = marks_from(change.tenant(), client, 0);
    let until = Row::Mark {
        client,
        sequence: below,
    }
    .key(change.tenant());
    let page = change.page(&(from, until), REMOVED_ROWS_MAX, REMOVED_BYTES_MAX)?;
    for (key, _) in &page.rows {
        change.delete_key(key)?;
    }
    Ok(page.more)
}
