//! What holds of the rows after every command.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::keys::BlockId;
use crate::registration::RegistrationRow;
use crate::rows::{Presence, SessionRow, SubscriptionRow, TenantRow, body_in_block, decode_refs};
use crate::run::Run;
use crate::will::WillRow;

/// All that a tenant's rows say, gathered.
#[derive(Debug, Default)]
struct Seen {
    figures: TenantRow,
    sums: TenantRow,
    /// Runs that refer to each block, as counted.
    references: BTreeMap<BlockId, u32>,
    /// Runs that refer to each block, as recorded.
    recorded: BTreeMap<BlockId, u32>,
    blocks: BTreeMap<BlockId, Bytes>,
    bodies: Vec<(BlockId, u32, u32)>,
    sessions: BTreeMap<Vec<u8>, SessionRow>,
    /// Sequences and bytes of each queue, from the session's cursor on.
    queued: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
    subscriptions: BTreeMap<Vec<u8>, u32>,
    finders: BTreeSet<(Vec<u8>, Option<u64>)>,
    /// Clients whose will is armed.
    armed: Vec<Vec<u8>>,
    /// Wills that wait, by their own word and by that of the rows that find them.
    waiting: BTreeSet<(u64, Vec<u8>, u64)>,
    waiting_found: BTreeSet<(u64, Vec<u8>, u64)>,
}

/// Figures are the sums of the rows; every queue is dense from its cursor to its end; every block is
/// referred to, and exactly as often as recorded; every session is found where its presence says.
pub(super) fn check(rows: &MemoryRows) {
    let mut tenants = BTreeMap::<TenantId, Seen>::new();
    for (key, value) in &rows.0 {
        let (tenant, row) = Row::parse(key).unwrap();
        tenants.entry(tenant).or_default().see(row, value);
    }
    for seen in tenants.into_values() {
        seen.check();
    }
}

impl Seen {
    fn see(&mut self, row: Row<'_>, value: &[u8]) {
        match row {
            Row::Tenant => self.figures = TenantRow::decode(value).unwrap(),
            Row::Session { client } => {
                let session = SessionRow::decode(value).unwrap();
                self.sessions.insert(client.to_vec(), session);
            }
            Row::Queue { client, last } => self.see_run(client, last, &Run::decode(value).unwrap()),
            Row::Block(block) => {
                self.blocks.insert(block, Bytes::copy_from_slice(value));
            }
            Row::BlockRefs(block) => {
                self.recorded.insert(block, decode_refs(value).unwrap());
            }
            Row::Subscription { client, .. } => {
                SubscriptionRow::decode(value).unwrap();
                *self.subscriptions.entry(client.to_vec()).or_default() += 1;
            }
            Row::Due { due_ms, client } => {
                assert!(self.finders.insert((client.to_vec(), Some(due_ms))));
            }
            Row::Online { client } => assert!(self.finders.insert((client.to_vec(), None))),
            Row::Registration { .. } => {
                RegistrationRow::decode(value).unwrap();
            }
            Row::Will { client, number } => self.see_will(client, number, value),
            Row::WillDue {
                due_ms,
                client,
                number,
            } => {
                self.waiting_found.insert((due_ms, client.to_vec(), number));
            }
            Row::Received { .. } | Row::Mark { .. } | Row::Publisher { .. } => {}
        }
    }

    fn see_will(&mut self, client: &[u8], number: u64, value: &[u8]) {
        match WillRow::decode(value).unwrap().state.due_ms() {
            None => self.armed.push(client.to_vec()),
            Some(due_ms) => {
                self.waiting.insert((due_ms, client.to_vec(), number));
            }
        }
    }

    fn see_run(&mut self, client: &[u8], last: u64, run: &Run) {
        for block in run.blocks() {
            *self.references.entry(block).or_default() += 1;
        }
        for (sequence, reference) in (run.first(last)..).zip(&run.references) {
            let block = BlockId {
                index: run.index,
                chunk: reference.chunk,
            };
            self.bodies.push((block, reference.offset, reference.len));
            let queued = self.queued.entry(client.to_vec()).or_default();
            queued.push((sequence, u64::from(reference.len)));
        }
    }

    fn check(mut self) {
        assert_eq!(self.references, self.recorded, "references of blocks");
        assert_eq!(
            self.references.keys().collect::<Vec<_>>(),
            self.blocks.keys().collect::<Vec<_>>(),
            "blocks that are referred to"
        );
        for (block, offset, len) in &self.bodies {
            let body = body_in_block(&self.blocks[block], *offset, *len).unwrap();
            assert!(crate::body::decode_body(&body).is_some());
        }
        let sessions = std::mem::take(&mut self.sessions);
        let mut finders = BTreeSet::new();
        for (client, session) in &sessions {
            finders.extend(finder(client, session));
            self.check_session(client, session);
        }
        for client in std::mem::take(&mut self.armed) {
            let is_online = |session: &SessionRow| session.presence == Presence::Online;
            assert!(sessions.get(&client).is_none_or(is_online), "armed");
            assert!(
                finders.insert((client.clone(), None)) || sessions.contains_key(&client),
                "one armed will for each client"
            );
        }
        assert_eq!(finders, self.finders, "rows that find sessions");
        assert_eq!(self.waiting, self.waiting_found, "rows that find wills");
        let kept = TenantRow {
            last_incarnation: self.figures.last_incarnation,
            block_index: self.figures.block_index,
            block_chunk: self.figures.block_chunk,
            ..self.sums
        };
        assert_eq!(self.figures, kept, "figures");
    }

    fn check_session(&mut self, client: &[u8], session: &SessionRow) {
        if session.presence == Presence::Ended {
            return;
        }
        let queued = self.queued.remove(client).unwrap_or_default();
        let queued: Vec<_> = queued
            .into_iter()
            .filter(|(sequence, _)| *sequence >= session.cursor)
            .collect();
        let sequences: Vec<u64> = queued.iter().map(|(sequence, _)| *sequence).collect();
        let expected: Vec<u64> = (session.cursor..session.next).collect();
        assert_eq!(sequences, expected, "a queue is dense");
        let bytes: u64 = queued.iter().map(|(_, bytes)| *bytes).sum();
        assert_eq!(bytes, session.queue_bytes, "bytes of a queue");
        let subscriptions = self.subscriptions.get(client).copied().unwrap_or_default();
        assert_eq!(
            subscriptions, session.subscriptions,
            "subscriptions of a session"
        );
        assert!(session.sent_below <= session.next);
        self.sums.sessions += 1;
        self.sums.subscriptions += u64::from(subscriptions);
        self.sums.queue_messages += session.queue_messages();
        self.sums.queue_bytes += bytes;
    }
}

fn finder(client: &[u8], session: &SessionRow) -> Option<(Vec<u8>, Option<u64>)> {
    let due = match session.presence {
        Presence::Online => None,
        Presence::Offline {
            due_ms: Some(due_ms),
        } => Some(due_ms),
        Presence::Offline { due_ms: None } => return None,
        Presence::Ended => Some(0),
    };
    Some((client.to_vec(), due))
}
