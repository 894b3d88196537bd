//! What a leader's append says, as an observer on the wire reads it.
//!
//! It knows the form that `dataplane/shard` gives to requests. Should that change, appends are no
//! longer understood, which a test notices.

use crate::rng::hash_bytes;

/// Form, cluster, store kind.
const BEFORE_SHARD: usize = 1 + 16 + 1;
const EPOCH_LEN: usize = 8;
const TAG_APPEND: u8 = 1;

/// An append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Append {
    pub(crate) shard: u64,
    pub(crate) term: u64,
    pub(crate) leader: u64,
    /// Term and index of the entry before; none at the beginning of the log.
    pub(crate) before: Option<(u64, u64)>,
    /// Term and index up to which it is committed.
    pub(crate) committed: Option<(u64, u64)>,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) hash: u64,
}

/// Reads a request; `None` if it is no append.
pub(crate) fn read_append(request: &[u8]) -> Option<Append> {
    let mut rest = request.get(BEFORE_SHARD..)?;
    let shard = take_u64(&mut rest)?;
    rest = rest.get(EPOCH_LEN..)?;
    if take_u8(&mut rest)? != TAG_APPEND {
        return None;
    }
    let (term, leader) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
    let is_committed = take_u8(&mut rest)? == 1;
    let (before, committed) = (take_id(&mut rest)?, take_id(&mut rest)?);
    let count = take_u32(&mut rest)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (term, index) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        let kind = take_u8(&mut rest)?;
        let len = usize::try_from(take_u32(&mut rest)?).ok()?;
        let (payload, after) = rest.split_at_checked(len)?;
        rest = after;
        let hash = hash_bytes(payload) ^ u64::from(kind);
        entries.push(Entry { term, index, hash });
    }
    (is_committed && rest.is_empty()).then_some(Append {
        shard,
        term,
        leader,
        before,
        committed,
        entries,
    })
}

/// The outer `None` is something else than an id, the inner one no id.
#[expect(clippy::option_option, reason = "both are told apart at once")]
fn take_id(rest: &mut &[u8]) -> Option<Option<(u64, u64)>> {
    if take_u8(rest)? == 0 {
        return Some(None);
    }
    Some(Some((take_u64(rest)?, take_u64(rest)?)))
}

fn take_u8(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    Some(*byte)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}
