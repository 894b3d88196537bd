//! Clients register with the node that has their connection.

use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::answer::{Answer, Registered};
use crate::command::Attach;
use crate::keys::Row;
use crate::registration::RegistrationRow;

/// Whether a connection elsewhere has the client identifier for another principal.
pub(super) fn is_foreign(change: &Change<'_>, attach: &Attach<'_>) -> Result<bool, RowError> {
    if attach.owner.is_none() {
        return Ok(false);
    }
    let present = registration(change, attach.client)?;
    Ok(present.is_some_and(|row| row.principal != attach.principal))
}

/// Registers the client with the node that asked; whom it was registered with before.
pub(super) fn register(
    change: &mut Change<'_>,
    attach: &Attach<'_>,
) -> Result<Option<Registered>, RowError> {
    let Some(owner) = attach.owner else {
        return Ok(None);
    };
    let client = attach.client;
    let former = registration(change, client)?.map(|row| row.owner);
    change.figures.last_incarnation += 1;
    let row = RegistrationRow {
        principal: attach.principal,
        owner,
        registration: change.figures.last_incarnation,
    };
    change.put(Row::Registration { client }, &row.encode())?;
    Ok(Some(Registered {
        registration: row.registration,
        former,
    }))
}

/// The connection that registered under that number is gone.
pub(super) fn leave(
    change: &mut Change<'_>,
    client: &[u8],
    number: u64,
) -> Result<Answer, RowError> {
    if !is_registered(change, client, number)? {
        return Ok(Answer::Stale);
    }
    unregister(change, client)?;
    Ok(Answer::Done)
}

/// Whether the client is registered under that number.
pub(super) fn is_registered(
    change: &Change<'_>,
    client: &[u8],
    number: u64,
) -> Result<bool, RowError> {
    let present = registration(change, client)?;
    Ok(present.is_some_and(|row| row.registration == number))
}

/// The client is connected nowhere.
pub(super) fn unregister(change: &mut Change<'_>, client: &[u8]) -> Result<(), RowError> {
    if registration(change, client)?.is_some() {
        change.delete(Row::Registration { client })?;
    }
    Ok(())
}

fn registration(change: &Change<'_>, client: &[u8]) -> Result<Option<RegistrationRow>, RowError> {
    match change.get(Row::Registration { client })? {
        None => Ok(None),
        Some(value) => decoded(RegistrationRow::decode(&value), "registration").map(Some),
    }
}
