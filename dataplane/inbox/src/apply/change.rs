//! What one command reads and writes: rows of one tenant, its figures, and who refers to blocks.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use tessera_shard::{ApplyContext, RowError, RowsMut};
use tessera_tenancy::TenantId;

use super::Effects;
use crate::bounds::{BLOCK_BYTES_MAX, REMOVED_BLOCKS_MAX};
use crate::command::Fence;
use crate::keys::{BlockId, Row, Span};
use crate::rows::{Presence, SessionRow, TenantRow, decode_refs, empty_block, encode_refs};
use crate::run::Run;

/// The rows that one command changes. [`finish`](Self::finish) writes what was gathered.
pub(super) struct Change<'a> {
    cx: &'a ApplyContext,
    rows: &'a mut dyn RowsMut,
    tenant: TenantId,
    pub(super) figures: TenantRow,
    figures_before: TenantRow,
    /// How many more (or fewer) runs refer to each block.
    references: BTreeMap<BlockId, i64>,
    /// Whether an earlier command of the same entry stored a body of this tenant.
    entry_has_bodies: bool,
    effects: Effects,
}

/// Where a body is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) block: BlockId,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Rows of a scan, and whether there are more of them.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) more: bool,
}

impl<'a> Change<'a> {
    pub(super) fn begin(
        cx: &'a ApplyContext,
        rows: &'a mut dyn RowsMut,
        tenant: TenantId,
    ) -> Result<Self, RowError> {
        let figures = match rows.get(&Row::Tenant.key(tenant))? {
            None => TenantRow::default(),
            Some(value) => decoded(TenantRow::decode(&value), "tenant")?,
        };
        Ok(Self {
            cx,
            rows,
            tenant,
            figures,
            figures_before: figures,
            references: BTreeMap::new(),
            entry_has_bodies: figures.block_index == cx.index,
            effects: Effects::default(),
        })
    }

    /// Writes the figures, removes blocks that nobody refers to, and says what else was done.
    pub(super) fn finish(mut self) -> Result<Effects, RowError> {
        for (block, more) in std::mem::take(&mut self.references) {
            self.settle(block, more)?;
        }
        if self.figures != self.figures_before {
            self.put(Row::Tenant, &self.figures.encode())?;
        }
        Ok(self.effects)
    }

    /// Unix milliseconds of the group.
    pub(super) fn now_ms(&self) -> u64 {
        self.cx.time_ms
    }

    /// The log index of the entry.
    pub(super) fn index(&self) -> u64 {
        self.cx.index
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(super) fn get(&self, row: Row<'_>) -> Result<Option<Bytes>, RowError> {
        self.rows.get(&row.key(self.tenant))
    }

    pub(super) fn put(&mut self, row: Row<'_>, value: &[u8]) -> Result<(), RowError> {
        self.rows.put(&row.key(self.tenant), value)
    }

    pub(super) fn delete(&mut self, row: Row<'_>) -> Result<(), RowError> {
        self.delete_key(&row.key(self.tenant))
    }

    pub(super) fn delete_key(&mut self, key: &[u8]) -> Result<(), RowError> {
        self.rows.delete(key).map(|_existed| ())
    }

    /// The first rows of a span, up to so many rows and about so many bytes.
    pub(super) fn page(
        &self,
        span: &Span,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Page, RowError> {
        let mut page = Page::default();
        let mut bytes = 0;
        self.rows.scan(&span.0, &span.1, &mut |key, value| {
            if page.rows.len() >= rows_max || bytes >= bytes_max {
                page.more = true;
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
            page.rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }

    pub(super) fn session(&self, client: &[u8]) -> Result<Option<SessionRow>, RowError> {
        match self.get(Row::Session { client })? {
            None => Ok(None),
            Some(value) => decoded(SessionRow::decode(&value), "session").map(Some),
        }
    }

    /// The session, if the fence is its owner's.
    pub(super) fn owned(&self, fence: Fence<'_>) -> Result<Option<SessionRow>, RowError> {
        let session = self.session(fence.client)?;
        Ok(session.filter(|row| {
            row.incarnation == fence.incarnation
                && row.epoch == fence.epoch
                && row.presence == Presence::Online
        }))
    }

    pub(super) fn put_session(&mut self, client: &[u8], row: &SessionRow) -> Result<(), RowError> {
        self.put(Row::Session { client }, &row.encode())
    }

    /// Moves a session to another place in its life, with the row that finds it there.
    pub(super) fn set_presence(
        &mut self,
        client: &[u8],
        row: &mut SessionRow,
        presence: Presence,
    ) -> Result<(), RowError> {
        if row.presence == presence {
            return Ok(());
        }
        if let Some(finder) = finder_of(client, row.presence) {
            self.delete(finder)?;
        }
        row.presence = presence;
        let Some(finder) = finder_of(client, presence) else {
            return Ok(());
        };
        if let Row::Due { due_ms, .. } = finder {
            let first = self.effects.due_ms.unwrap_or(due_ms);
            self.effects.due_ms = Some(due_ms.min(first));
        }
        self.put(finder, &[])
    }

    /// Puts a body behind the others of this entry.
    pub(super) fn store_body(&mut self, body: &[u8]) -> Result<Place, RowError> {
        let index = self.cx.index;
        let (mut chunk, mut bytes) = (0, empty_block());
        if self.figures.block_index == index {
            chunk = self.figures.block_chunk;
            let block = self.get(Row::Block(BlockId { index, chunk }))?;
            match block.filter(|block| !block.is_empty()) {
                Some(block) if block.len() + body.len() <= BLOCK_BYTES_MAX => bytes = block.into(),
                Some(_) => chunk += 1,
                None => {}
            }
        }
        let block = BlockId { index, chunk };
        let place = Place {
            block,
            offset: length(bytes.len())?,
            len: length(body.len())?,
        };
        bytes.extend_from_slice(body);
        self.put(Row::Block(block), &bytes)?;
        self.figures.block_index = index;
        self.figures.block_chunk = chunk;
        Ok(place)
    }

    /// Whether the last run of a queue may be of this entry.
    pub(super) fn entry_has_bodies(&self) -> bool {
        self.entry_has_bodies
    }

    /// One more run refers to the block.
    pub(super) fn hold(&mut self, block: BlockId) {
        *self.references.entry(block).or_default() += 1;
    }

    /// Removes a run, and its part in keeping its blocks.
    pub(super) fn delete_run(&mut self, key: &[u8], run: &Run) -> Result<(), RowError> {
        for block in run.blocks() {
            *self.references.entry(block).or_default() -= 1;
        }
        self.delete_key(key)
    }

    /// Whether so many blocks are touched that a step should end.
    pub(super) fn touches_many_blocks(&self) -> bool {
        self.references.len() >= REMOVED_BLOCKS_MAX
    }

    /// A message of so many bytes left a queue.
    pub(super) fn count_out(&mut self, len: u32) {
        self.figures.queue_messages = self.figures.queue_messages.saturating_sub(1);
        self.figures.queue_bytes = self.figures.queue_bytes.saturating_sub(u64::from(len));
    }

    /// A body came into the client's queue.
    pub(super) fn note_grown(&mut self, client: &[u8]) {
        if self.effects.grown.last().is_none_or(|last| last != client) {
            self.effects.grown.push(client.to_vec());
        }
        self.entry_has_bodies = true;
    }

    /// A will is published at that time.
    pub(super) fn note_will_due(&mut self, due_ms: u64) {
        let first = self.effects.will_due_ms.unwrap_or(due_ms);
        self.effects.will_due_ms = Some(due_ms.min(first));
    }

    fn settle(&mut self, block: BlockId, more: i64) -> Result<(), RowError> {
        let before = match self.get(Row::BlockRefs(block))? {
            None => 0,
            Some(value) => decoded(decode_refs(&value), "block references")?,
        };
        let after = u32::try_from(i64::from(before) + more)
            .map_err(|_| RowError::undecodable("block references"))?;
        if after == 0 {
            self.delete(Row::BlockRefs(block))?;
            return self.delete(Row::Block(block));
        }
        if after != before {
            self.put(Row::BlockRefs(block), &encode_refs(after))?;
        }
        Ok(())
    }
}

/// A row's value, or that the row is damaged.
pub(super) fn decoded<T>(value: Option<T>, what: &'static str) -> Result<T, RowError> {
    value.ok_or_else(|| RowError::undecodable(what))
}

/// The row by which background steps find a session.
fn finder_of(client: &[u8], presence: Presence) -> Option<Row<'_>> {
    match presence {
        Presence::Online => Some(Row::Online { client }),
        Presence::Offline {
            due_ms: Some(due_ms),
        } => Some(Row::Due { due_ms, client }),
        Presence::Offline { due_ms: None } => None,
        Presence::Ended => Some(Row::Due { due_ms: 0, client }),
    }
}

fn length(len: usize) -> Result<u32, RowError> {
    u32::try_from(len).map_err(|_| RowError::TooLarge {
        bytes: len,
        limit_bytes: BLOCK_BYTES_MAX,
    })
}
