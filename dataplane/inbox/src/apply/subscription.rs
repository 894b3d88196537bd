//! Subscriptions of a session: the intent before the route, the word after it (protocols C).

use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::answer::Answer;
use crate::bounds::SUBSCRIPTIONS_MAX;
use crate::command::Fence;
use crate::keys::Row;
use crate::rows::{Stage, SubscriptionRow};

/// Records that a route is about to be added; answers whether the client had the subscription.
pub(super) fn subscribe(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    filter: &[u8],
    options: u8,
    subscription_id: u32,
) -> Result<Answer, RowError> {
    let Some(mut session) = change.owned(fence)? else {
        return Ok(Answer::Stale);
    };
    let before = get(change, fence.client, filter)?;
    if before.is_none() {
        if session.subscriptions >= SUBSCRIPTIONS_MAX {
            return Ok(Answer::Full);
        }
        session.subscriptions += 1;
        change.figures.subscriptions += 1;
        change.put_session(fence.client, &session)?;
    }
    let row = SubscriptionRow {
        stage: Stage::Intended,
        options,
        subscription_id,
    };
    put(change, fence.client, filter, row)?;
    Ok(Answer::Existed(
        before.is_some_and(|before| before.stage != Stage::Leaving),
    ))
}

/// Records that a route is about to be removed; answers whether there may be one.
pub(super) fn unsubscribe(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    filter: &[u8],
) -> Result<Answer, RowError> {
    if change.owned(fence)?.is_none() {
        return Ok(Answer::Stale);
    }
    let Some(before) = get(change, fence.client, filter)? else {
        return Ok(Answer::Existed(false));
    };
    let row = SubscriptionRow {
        stage: Stage::Leaving,
        ..before
    };
    put(change, fence.client, filter, row)?;
    Ok(Answer::Existed(true))
}

/// What was intended is done in dist.
pub(super) fn confirm(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    filter: &[u8],
) -> Result<Answer, RowError> {
    let Some(mut session) = change.owned(fence)? else {
        return Ok(Answer::Stale);
    };
    let Some(before) = get(change, fence.client, filter)? else {
        return Ok(Answer::Unknown);
    };
    match before.stage {
        Stage::Confirmed => {}
        Stage::Intended => {
            let row = SubscriptionRow {
                stage: Stage::Confirmed,
                ..before
            };
            put(change, fence.client, filter, row)?;
        }
        Stage::Leaving => {
            session.subscriptions = session.subscriptions.saturating_sub(1);
            change.figures.subscriptions = change.figures.subscriptions.saturating_sub(1);
            change.put_session(fence.client, &session)?;
            change.delete(Row::Subscription {
                client: fence.client,
                filter,
            })?;
        }
    }
    Ok(Answer::Done)
}

fn get(
    change: &Change<'_>,
    client: &[u8],
    filter: &[u8],
) -> Result<Option<SubscriptionRow>, RowError> {
    match change.get(Row::Subscription { client, filter })? {
        None => Ok(None),
        Some(value) => decoded(SubscriptionRow::decode(&value), "subscription").map(Some),
    }
}

fn put(
    change: &mut Change<'_>,
    client: &[u8],
    filter: &[u8],
    row: SubscriptionRow,
) -> Result<(), RowError> {
    change.put(Row::Subscription { client, filter }, &row.encode())
}
