//! Reads of rows: the message of a topic, the messages that a filter matches, what has expired.

use std::ops::ControlFlow;

use bytes::Bytes;
use tessera_mqtt::{TopicFilter, TopicName};
use tessera_shard::{RowError, Rows};
use tessera_tenancy::TenantId;

use crate::apply::read_figures;
use crate::body::decode_value;
use crate::keys::{MESSAGE_PREFIX_LEN, Row, due_until, messages_end};
use crate::message::{MatchCursor, Matches, RetainedMessage, TenantFigures};
use crate::path::{path_of, topic_of};
use crate::seek::{Step, Walk};

/// Rows that one page of a match looks at: bounds its time when little matches.
const LOOKS_MAX: usize = 20_000;

/// Bytes of the messages of one page; the first comes whatever its size.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rows that a scan passes over before it seeks instead: a seek costs about as much.
const SKIPS_MAX: usize = 8;

/// Tenants that one step of a look around visits.
const TENANTS_MAX: usize = 256;

/// The message of a topic, unless it has expired.
pub(crate) fn get(
    rows: &dyn Rows,
    tenant: TenantId,
    topic: &TopicName,
    now_ms: u64,
) -> Result<Option<RetainedMessage>, RowError> {
    let path = path_of(topic);
    let Some(value) = rows.get(&Row::Message { path: &path }.key(tenant))? else {
        return Ok(None);
    };
    decode_value(topic.clone(), &value, now_ms).ok_or(DAMAGED)
}

/// What a tenant keeps.
pub(crate) fn figures(rows: &dyn Rows, tenant: TenantId) -> Result<TenantFigures, RowError> {
    read_figures(rows.get(&Row::Figures.key(tenant))?.as_deref())
}

/// One page of the messages that a filter matches.
pub(crate) fn matching(
    rows: &dyn Rows,
    tenant: TenantId,
    filter: &TopicFilter,
    after: Option<&MatchCursor>,
    limit: usize,
    now_ms: u64,
) -> Result<Matches, RowError> {
    let walk = Walk::new(filter);
    let start = walk.start();
    let from = after.map_or(start, |cursor| cursor.0.clone());
    let mut page = Page {
        walk,
        limit,
        now_ms,
        bytes: 0,
        looks: 0,
        found: Matches::default(),
    };
    let end = messages_end(tenant);
    let mut seek = Some(from);
    while let Some(from) = seek.take() {
        let key = Row::Message { path: &from }.key(tenant);
        let mut target: Option<Vec<u8>> = None;
        let mut skipped = 0;
        let mut damaged = false;
        rows.scan(&key, &end, &mut |key, value| {
            let path = &key[MESSAGE_PREFIX_LEN..];
            if target.as_deref().is_some_and(|target| path < target) {
                skipped += 1;
                return if skipped < SKIPS_MAX {
                    ControlFlow::Continue(())
                } else {
                    BREAK
                };
            }
            target = None;
            match page.look(path, value) {
                None => damaged = true,
                Some(Look::Next) => return ControlFlow::Continue(()),
                Some(Look::Seek(to)) => {
                    skipped = 0;
                    target = Some(to);
                    return ControlFlow::Continue(());
                }
                Some(Look::End) => {}
            }
            BREAK
        })?;
        if damaged {
            return Err(DAMAGED);
        }
        // A target that was not reached by the end of the scan is past the last row, unless the
        // scan gave up skipping.
        seek = target.filter(|_| skipped >= SKIPS_MAX);
    }
    Ok(page.found)
}

/// When the first message of a tenant expires.
pub(crate) fn first_due(rows: &dyn Rows, tenant: TenantId) -> Result<Option<u64>, RowError> {
    let mut first = None;
    let (from, until) = due_until(tenant, u64::MAX);
    rows.scan(&from, &until, &mut |key, _| {
        if let Some((_, Row::Due { due_ms, .. })) = Row::parse(key) {
            first = Some(due_ms);
        }
        BREAK
    })?;
    Ok(first)
}

/// What one step of a look around found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Around {
    /// When the first message of each tenant expires.
    pub(crate) dues: Vec<(TenantId, u64)>,
    /// The tenant that the next step starts with; `None`: the shard is through.
    pub(crate) next: Option<[u8; 16]>,
}

/// One step of a look around from the tenant `from` on.
pub(crate) fn look_around(rows: &dyn Rows, from: [u8; 16]) -> Result<Around, RowError> {
    let mut around = Around::default();
    let mut from = from;
    for _ in 0..TENANTS_MAX {
        let Some(tenant) = first_tenant(rows, &from)? else {
            return Ok(around);
        };
        let due = first_due(rows, tenant)?;
        around.dues.extend(due.map(|due_ms| (tenant, due_ms)));
        let Some(next) = u128::from_be_bytes(*tenant.as_bytes()).checked_add(1) else {
            return Ok(around);
        };
        from = next.to_be_bytes();
    }
    around.next = Some(from);
    Ok(around)
}

const BREAK: ControlFlow<()> = ControlFlow::Break(());

const DAMAGED: RowError = RowError::undecodable("retained message");

/// What one row means for the scan.
enum Look {
    Next,
    Seek(Vec<u8>),
    End,
}

/// One page on its way.
struct Page {
    walk: Walk,
    limit: usize,
    now_ms: u64,
    bytes: usize,
    looks: usize,
    found: Matches,
}

impl Page {
    /// `None`: the row is damaged.
    fn look(&mut self, path: &[u8], value: &[u8]) -> Option<Look> {
        self.looks += 1;
        let full = self.found.messages.len() >= self.limit || self.bytes >= PAGE_BYTES_MAX;
        match self.walk.step(path)? {
            Step::Done => return Some(Look::End),
            Step::Match | Step::Seek(_) if full || self.looks > LOOKS_MAX => {
                self.found.next = Some(MatchCursor(path.to_vec()));
                return Some(Look::End);
            }
            Step::Seek(to) => return Some(Look::Seek(to)),
            Step::Match => {}
        }
        let value = Bytes::copy_from_slice(value);
        if let Some(message) = decode_value(topic_of(path)?, &value, self.now_ms)? {
            self.bytes += value.len();
            self.found.messages.push(message);
        }
        Some(Look::Next)
    }
}

fn first_tenant(rows: &dyn Rows, from: &[u8; 16]) -> Result<Option<TenantId>, RowError> {
    let mut found = None;
    rows.scan(from, &[], &mut |key, _| {
        found = key
            .first_chunk()
            .map(|tenant| TenantId::from_bytes(*tenant));
        BREAK
    })?;
    Ok(found)
}
