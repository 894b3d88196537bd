//! What the host replicates: writes by their ids, each with the number of times that it was applied.

use std::ops::ControlFlow;

use bytes::Bytes;
use tessera_shard::{ApplyContext, RowError, Rows, RowsMut, Scope, StateMachine};

use crate::engine_wire::{Row, WriteId, fingerprint, fingerprint_from};

/// Where a shard's chain over everything that it applied stands, among its local rows.
const CHAIN_KEY: &[u8] = b"chain";
/// Bytes of a tenant in a key.
const TENANT_LEN: usize = 16;

/// A row is `applied u32 | id u64 | text`, its key `tenant [16] | place u64`.
#[derive(Debug)]
pub(super) struct Writes;

impl StateMachine for Writes {
    /// Answers how often the write is applied now; nothing to what is no write.
    fn apply(
        &self,
        _cx: &ApplyContext,
        rows: &mut dyn RowsMut,
        scope: Scope,
        command: &[u8],
    ) -> Result<Bytes, RowError> {
        let (Scope::Tenant(_), Some((id, _text))) = (scope, command.split_first_chunk()) else {
            return Ok(Bytes::new());
        };
        let key = key_of(WriteId(u64::from_be_bytes(*id)));
        let before = rows.get(&key)?;
        let before = before.as_deref().and_then(<[u8]>::first_chunk);
        let applied = before.map_or(0, |count| u32::from_be_bytes(*count)) + 1;
        let applied = applied.to_be_bytes();
        rows.put(&key, &[&applied, command].concat())?;
        let chain = rows.get_local(CHAIN_KEY)?;
        let chain = chain.as_deref().and_then(<[u8]>::first_chunk);
        let chain = fingerprint_from(chain.map_or(0, |chain| u64::from_be_bytes(*chain)), id);
        rows.put_local(CHAIN_KEY, &chain.to_be_bytes())?;
        Ok(Bytes::copy_from_slice(&applied))
    }
}

/// A write as a command.
pub(super) fn command(id: WriteId, text: &str) -> Bytes {
    Bytes::from([&id.0.to_be_bytes(), text.as_bytes()].concat())
}

/// The answer to a command: how often it was applied.
pub(super) fn applied(answer: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(answer.try_into().ok()?))
}

/// Its key without the tenant.
pub(super) const fn rest_of(id: WriteId) -> [u8; 8] {
    id.place().to_be_bytes()
}

pub(super) fn key_of(id: WriteId) -> Vec<u8> {
    [id.tenant().as_bytes().as_slice(), &rest_of(id)].concat()
}

/// Everything that a shard has.
pub(super) fn all(rows: &dyn Rows) -> Result<Vec<Row>, RowError> {
    let (mut found, mut is_whole) = (Vec::new(), true);
    rows.scan(&[], &[], &mut |key, value| {
        match row(key, value) {
            Some(row) => found.push(row),
            None => is_whole = false,
        }
        ControlFlow::Continue(())
    })?;
    is_whole
        .then_some(found)
        .ok_or(RowError::undecodable("a write"))
}

fn row(key: &[u8], value: &[u8]) -> Option<Row> {
    let place = key.get(TENANT_LEN..)?.try_into().ok()?;
    let (applied, value) = value.split_first_chunk()?;
    let (id, text) = value.split_first_chunk()?;
    Some(Row {
        id: WriteId(u64::from_be_bytes(*id)),
        place: u64::from_be_bytes(place),
        applied: u32::from_be_bytes(*applied),
        fingerprint: fingerprint(text),
    })
}
