//! Reads of rows: what an owner needs, and what background steps look for.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use tessera_mqtt::{
    FilterSpec, MqttString, PacketId, Qos, RetainHandling, SubscriptionId, SubscriptionOptions,
};
use tessera_shard::{RowError, Rows};
use tessera_tenancy::TenantId;

use crate::body::{decode_body, seconds_left};
use crate::keys::{BlockId, Row, marks_from, queue_from, subscriptions_of, wills_of};
use crate::queue::{Fetched, Queued};
use crate::registration::RegistrationRow;
use crate::rows::{
    Mark, ReceivedRow, SessionRow, Stage, SubscriptionRow, TenantRow, body_in_block,
};
use crate::run::{Reference, Run};
use crate::session::{StoredSubscription, SubscriptionState, TenantFigures};

/// Messages that one fetch looks at, delivered or not.
const FETCH_LOOKS_MAX: u64 = 4_096;

/// The stored session of a client.
pub(crate) fn session(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
) -> Result<Option<SessionRow>, RowError> {
    match rows.get(&Row::Session { client }.key(tenant))? {
        None => Ok(None),
        Some(value) => decoded(SessionRow::decode(&value), "session").map(Some),
    }
}

/// Where a client is connected.
pub(crate) fn registration(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
) -> Result<Option<RegistrationRow>, RowError> {
    match rows.get(&Row::Registration { client }.key(tenant))? {
        None => Ok(None),
        Some(value) => decoded(RegistrationRow::decode(&value), "registration").map(Some),
    }
}

/// Whether the group has anything of a client that an attach must know: a session or a will.
pub(crate) fn is_known(rows: &dyn Rows, tenant: TenantId, client: &[u8]) -> Result<bool, RowError> {
    if session(rows, tenant, client)?.is_some() {
        return Ok(true);
    }
    let (from, until) = wills_of(tenant, client);
    let mut found = false;
    rows.scan(&from, &until, &mut |_, _| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// What a tenant has.
pub(crate) fn figures(rows: &dyn Rows, tenant: TenantId) -> Result<TenantFigures, RowError> {
    let Some(value) = rows.get(&Row::Tenant.key(tenant))? else {
        return Ok(TenantFigures::default());
    };
    let row = decoded(TenantRow::decode(&value), "tenant")?;
    Ok(TenantFigures {
        sessions: row.sessions,
        subscriptions: row.subscriptions,
        queue_messages: row.queue_messages,
        queue_bytes: row.queue_bytes,
    })
}

/// All subscriptions of a client.
pub(crate) fn subscriptions(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
) -> Result<Vec<StoredSubscription>, RowError> {
    let (from, until) = subscriptions_of(tenant, client);
    collect(rows, &from, &until, "subscription", |row, value| {
        let Row::Subscription { filter, .. } = row else {
            return None;
        };
        read_subscription(filter, value)
    })
}

/// Packet identifiers of QoS 2 messages that every receiver has.
pub(crate) fn received_qos2(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
) -> Result<Vec<PacketId>, RowError> {
    let Some(value) = rows.get(&Row::Received { client }.key(tenant))? else {
        return Ok(Vec::new());
    };
    let row = decoded(ReceivedRow::decode(&value), "received identifiers")?;
    let done = row.0.iter().filter(|received| received.done);
    Ok(done
        .filter_map(|received| PacketId::new(received.id))
        .collect())
}

/// Handshakes of QoS 2 messages that did not end, by sequence.
pub(crate) fn marks(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
    span: Range<u64>,
) -> Result<Vec<(u64, Mark)>, RowError> {
    let (from, end) = marks_from(tenant, client, span.start);
    let until = match span.end {
        u64::MAX => end,
        sequence => Row::Mark { client, sequence }.key(tenant),
    };
    collect(rows, &from, &until, "mark", |row, value| {
        let Row::Mark { sequence, .. } = row else {
            return None;
        };
        Some((sequence, Mark::decode(value)?))
    })
}

/// How much one fetch brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchBounds {
    pub(crate) messages_max: usize,
    /// Of bodies; the first message comes whatever its size.
    pub(crate) bytes_max: usize,
}

/// Messages of a queue from the sequence `from` on.
pub(crate) fn fetch(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
    session: &SessionRow,
    from: u64,
    bounds: FetchBounds,
    now_ms: u64,
) -> Result<Fetched, RowError> {
    let start = from.max(session.cursor);
    let until = session.next.min(start.saturating_add(FETCH_LOOKS_MAX));
    let marks = marks(rows, tenant, client, from..until.max(from))?;
    let mut fetch = Fetch {
        rows,
        tenant,
        marks: marks.into_iter().collect(),
        bounds,
        now_ms,
        sent_below: session.sent_below,
        bytes: 0,
        blocks: BTreeMap::new(),
        fetched: Fetched {
            next: from.max(start.min(session.next)),
            ..Fetched::default()
        },
    };
    fetch.skip_dropped(from, start.min(session.next));
    for (last, run) in runs(rows, tenant, client, start, until, bounds.messages_max)? {
        if !fetch.take_run(last, &run, start)? {
            break;
        }
    }
    Ok(fetch.fetched)
}

/// The runs that hold sequences of `start..until`, up to so many.
fn runs(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
    start: u64,
    until: u64,
    runs_max: usize,
) -> Result<Vec<(u64, Run)>, RowError> {
    let mut found = Vec::new();
    let mut damaged = false;
    if start >= until {
        return Ok(found);
    }
    let (from, end) = queue_from(tenant, client, start);
    rows.scan(&from, &end, &mut |key, value| {
        let Some((last, run)) = read_run(key, value) else {
            damaged = true;
            return ControlFlow::Break(());
        };
        if run.first(last) >= until || found.len() >= runs_max {
            return ControlFlow::Break(());
        }
        found.push((last, run));
        ControlFlow::Continue(())
    })?;
    decoded((!damaged).then_some(found), "run")
}

/// A run and its last sequence.
pub(crate) fn read_run(key: &[u8], value: &[u8]) -> Option<(u64, Run)> {
    let (_, Row::Queue { last, .. }) = Row::parse(key)? else {
        return None;
    };
    Some((last, Run::decode(value)?))
}

/// One fetch on its way.
struct Fetch<'a> {
    rows: &'a dyn Rows,
    tenant: TenantId,
    marks: BTreeMap<u64, Mark>,
    bounds: FetchBounds,
    now_ms: u64,
    /// Sequences below may have been sent on an earlier connection.
    sent_below: u64,
    bytes: usize,
    blocks: BTreeMap<BlockId, Bytes>,
    fetched: Fetched,
}

impl Fetch<'_> {
    /// What lies between the asked sequence and the queue's first was dropped.
    fn skip_dropped(&mut self, from: u64, start: u64) {
        let released: Vec<u64> = self
            .marks
            .range(from..start.max(from))
            .map(|(at, _)| *at)
            .collect();
        let mut at = from;
        for sequence in released {
            self.skip(at..sequence);
            if self.marks.get(&sequence) == Some(&Mark::Completed) {
                self.skip(sequence..sequence + 1);
            }
            at = sequence + 1;
        }
        self.skip(at..start);
    }

    /// Takes the messages of one run; `false` when a bound is reached.
    fn take_run(&mut self, last: u64, run: &Run, start: u64) -> Result<bool, RowError> {
        for (sequence, reference) in (run.first(last)..).zip(&run.references) {
            if sequence < start {
                continue;
            }
            if !self.has_room(reference) {
                return Ok(false);
            }
            match self.marks.get(&sequence) {
                Some(Mark::Released) => {}
                Some(Mark::Completed) => self.skip(sequence..sequence + 1),
                None => self.take(sequence, run, reference)?,
            }
            self.fetched.next = sequence + 1;
        }
        Ok(true)
    }

    fn has_room(&self, reference: &Reference) -> bool {
        let len = usize::try_from(reference.len).unwrap_or(usize::MAX);
        self.fetched.messages.len() < self.bounds.messages_max
            && (self.fetched.messages.is_empty()
                || self.bytes.saturating_add(len) <= self.bounds.bytes_max)
    }

    fn take(&mut self, sequence: u64, run: &Run, reference: &Reference) -> Result<(), RowError> {
        let block = self.block(BlockId {
            index: run.index,
            chunk: reference.chunk,
        })?;
        let body = body_in_block(&block, reference.offset, reference.len);
        let message = body.as_ref().and_then(decode_body);
        let (message, writer) = decoded(message, "body")?;
        let expiry_seconds = match message.expiry_seconds {
            None => None,
            Some(seconds) => {
                let left = seconds_left(seconds, run.stored_at_ms, self.now_ms);
                // Once sent, QoS 2 is finished whatever its age (MQTT-4.3.3-7).
                let is_begun =
                    reference.delivery.qos == Qos::ExactlyOnce && sequence < self.sent_below;
                if left.is_none() && !is_begun {
                    self.skip(sequence..sequence + 1);
                    if reference.delivery.qos == Qos::ExactlyOnce {
                        self.fetched.unsent.push(sequence);
                    }
                    return Ok(());
                }
                Some(left.unwrap_or_default())
            }
        };
        self.bytes += usize::try_from(reference.len).unwrap_or(usize::MAX);
        self.fetched.messages.push(Queued {
            sequence,
            message,
            writer,
            qos: reference.delivery.qos,
            retain: reference.delivery.retain,
            subscription_ids: reference.delivery.subscription_ids.clone(),
            stored_at_ms: run.stored_at_ms,
            expiry_seconds,
        });
        Ok(())
    }

    fn block(&mut self, block: BlockId) -> Result<Bytes, RowError> {
        if let Some(bytes) = self.blocks.get(&block) {
            return Ok(bytes.clone());
        }
        let bytes = decoded(self.rows.get(&Row::Block(block).key(self.tenant))?, "block")?;
        self.blocks.insert(block, bytes.clone());
        Ok(bytes)
    }

    fn skip(&mut self, span: Range<u64>) {
        if span.is_empty() {
            return;
        }
        match self.fetched.skipped.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            Some(_) | None => self.fetched.skipped.push(span),
        }
    }
}

/// Reads every row of a span.
fn collect<T>(
    rows: &dyn Rows,
    from: &[u8],
    until: &[u8],
    what: &'static str,
    read: impl Fn(Row<'_>, &[u8]) -> Option<T>,
) -> Result<Vec<T>, RowError> {
    let mut found = Vec::new();
    let mut damaged = false;
    rows.scan(from, until, &mut |key, value| match Row::parse(key)
        .and_then(|(_, row)| read(row, value))
    {
        Some(item) => {
            found.push(item);
            ControlFlow::Continue(())
        }
        None => {
            damaged = true;
            ControlFlow::Break(())
        }
    })?;
    decoded((!damaged).then_some(found), what)
}

fn read_subscription(filter: &[u8], value: &[u8]) -> Option<StoredSubscription> {
    let row = SubscriptionRow::decode(value)?;
    Some(StoredSubscription {
        filter: read_filter(filter)?,
        options: options_from(row.options)?,
        subscription_id: SubscriptionId::new(row.subscription_id),
        state: match row.stage {
            Stage::Intended => SubscriptionState::Intended,
            Stage::Confirmed => SubscriptionState::Confirmed,
            Stage::Leaving => SubscriptionState::Leaving,
        },
    })
}

/// A filter as keys and answers hold it.
pub(crate) fn read_filter(text: &[u8]) -> Option<FilterSpec> {
    let text = MqttString::try_from(Bytes::copy_from_slice(text)).ok()?;
    FilterSpec::parse(&text).ok()
}

/// What [`SubscriptionOptions::as_u8`] made.
fn options_from(byte: u8) -> Option<SubscriptionOptions> {
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return None,
    };
    Some(SubscriptionOptions {
        qos: Qos::try_from(byte & 3).ok()?,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    })
}

fn decoded<T>(value: Option<T>, what: &'static str) -> Result<T, RowError> {
    value.ok_or_else(|| RowError::undecodable(what))
}
