//! QoS 2 from the client, exactly once (protocols D).
//!
//! The publisher's session gives each packet identifier a dense number; the shards of its receivers
//! remember which numbers they have stored, so that a publish that is tried again is stored once.

use tessera_shard::RowError;

use super::change::{Change, decoded};
use crate::answer::Answer;
use crate::bounds::PACKET_IDS_MAX;
use crate::command::{Fence, Origin};
use crate::keys::Row;
use crate::rows::{Progress, PublisherRow, ReceivedId, ReceivedRow};

/// Gives the identifier its number; the same one when asked again.
pub(super) fn publishing(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    id: u16,
) -> Result<Answer, RowError> {
    let Some(mut session) = change.owned(fence)? else {
        return Ok(Answer::Stale);
    };
    let mut received = received_of(change, fence.client)?;
    if let Some(known) = received.0.iter().find(|known| known.id == id) {
        let number = known.number;
        return Ok(Answer::Number {
            number,
            floor: floor_of(&received, number),
        });
    }
    if received.0.len() >= PACKET_IDS_MAX {
        return Ok(Answer::Full);
    }
    let number = session.publish_next;
    session.publish_next += 1;
    change.put_session(fence.client, &session)?;
    received.0.push(ReceivedId {
        id,
        number,
        done: false,
    });
    put_received(change, fence.client, &received)?;
    Ok(Answer::Number {
        number,
        floor: floor_of(&received, number),
    })
}

/// Every receiver has the message.
pub(super) fn received(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    id: u16,
) -> Result<Answer, RowError> {
    if change.owned(fence)?.is_none() {
        return Ok(Answer::Stale);
    }
    let mut received = received_of(change, fence.client)?;
    let Some(known) = received.0.iter_mut().find(|known| known.id == id) else {
        return Ok(Answer::Unknown);
    };
    known.done = true;
    put_received(change, fence.client, &received)?;
    Ok(Answer::Done)
}

/// The client knows that the message is taken: the identifier is free.
pub(super) fn released(
    change: &mut Change<'_>,
    fence: Fence<'_>,
    id: u16,
) -> Result<Answer, RowError> {
    if change.owned(fence)?.is_none() {
        return Ok(Answer::Stale);
    }
    let mut received = received_of(change, fence.client)?;
    let before = received.0.len();
    received.0.retain(|known| known.id != id);
    if received.0.len() != before {
        put_received(change, fence.client, &received)?;
    }
    Ok(Answer::Done)
}

/// What this shard has stored of the publisher, what can come again of it.
pub(super) fn publisher_of(
    change: &Change<'_>,
    origin: &Origin<'_>,
) -> Result<PublisherRow, RowError> {
    let Origin {
        client,
        incarnation,
        ..
    } = *origin;
    let mut publisher = match change.get(Row::Publisher {
        client,
        incarnation,
    })? {
        None => PublisherRow::default(),
        Some(value) => decoded(PublisherRow::decode(&value), "publisher")?,
    };
    publisher.floor = publisher.floor.max(origin.floor);
    let floor = publisher.floor;
    publisher.stored.retain(|(number, _)| *number >= floor);
    Ok(publisher)
}

/// How much of this publish is stored. One that cannot come again counts as all stored.
pub(super) fn progress_of(publisher: &PublisherRow, origin: &Origin<'_>) -> Option<Progress> {
    if origin.number < publisher.floor {
        return Some(Progress::Complete);
    }
    let stored = publisher
        .stored
        .iter()
        .find(|(number, _)| *number == origin.number);
    stored.map(|(_, progress)| progress.clone())
}

/// Notes that the publish is stored up to its target `last`. `false` if there is no room to note.
pub(super) fn advance(
    publisher: &mut PublisherRow,
    origin: &Origin<'_>,
    last: Option<&[u8]>,
) -> bool {
    let progress = match last {
        Some(client) if !origin.last => Progress::UpTo(client.to_vec()),
        Some(_) | None => Progress::Complete,
    };
    let room = publisher.stored.len() < PACKET_IDS_MAX;
    match publisher
        .stored
        .iter_mut()
        .find(|(number, _)| *number == origin.number)
    {
        Some((_, known)) => *known = further(known, progress),
        None if room => publisher.stored.push((origin.number, progress)),
        None => return false,
    }
    true
}

/// Whether the commands before this one of the same publish are stored.
pub(super) fn follows(progress: Option<&Progress>, after: Option<&[u8]>) -> bool {
    match (progress, after) {
        (_, None) | (Some(Progress::Complete), Some(_)) => true,
        (Some(Progress::UpTo(stored)), Some(after)) => after <= &stored[..],
        (None, Some(_)) => false,
    }
}

fn further(known: &Progress, next: Progress) -> Progress {
    match (known, next) {
        (Progress::Complete, _) | (_, Progress::Complete) => Progress::Complete,
        (Progress::UpTo(known), Progress::UpTo(next)) => Progress::UpTo(next.max(known.clone())),
    }
}

/// The smallest number that can come again: of the publishes that not all receivers have.
fn floor_of(received: &ReceivedRow, number: u64) -> u64 {
    let pending = received
        .0
        .iter()
        .filter(|known| !known.done)
        .map(|known| known.number);
    pending.min().map_or(number, |pending| pending.min(number))
}

fn received_of(change: &Change<'_>, client: &[u8]) -> Result<ReceivedRow, RowError> {
    match change.get(Row::Received { client })? {
        None => Ok(ReceivedRow::default()),
        Some(value) => decoded(ReceivedRow::decode(&value), "received identifiers"),
    }
}

fn put_received(
    change: &mut Change<'_>,
    client: &[u8],
    received: &ReceivedRow,
) -> Result<(), RowError> {
    if received.0.is_empty() {
        return change.delete(Row::Received { client });
    }
    change.put(Row::Received { client }, &received.encode())
}
