//! The node sessions of one shard, in memory only: derived from rows, for readers.

use std::collections::BTreeMap;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tessera_shard::{RowError, Rows};
use tessera_tenancy::NodeId;

use crate::keys::{
    NodeSessionRow, Undecodable, node_sessions, parse_node_session_key, parse_node_session_value,
};
use crate::route::NodeSession;

/// The node sessions of one shard.
#[derive(Debug, Default)]
pub(crate) struct NodeSessions {
    /// Applied, but not readable yet.
    applied: Mutex<Vec<(NodeId, NodeSessionRow)>>,
    rows: ArcSwap<BTreeMap<NodeId, NodeSessionRow>>,
    /// Grows with each visible change; one for all shards of the store.
    generation: Arc<AtomicU64>,
}

impl NodeSessions {
    pub(crate) fn new(generation: Arc<AtomicU64>) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// The sessions that have not ended.
    pub(crate) fn live(&self) -> Vec<NodeSession> {
        let rows = self.rows.load();
        let live = rows.iter().filter(|(_, row)| !row.has_ended);
        live.map(|(node, row)| NodeSession {
            node: *node,
            number: row.number,
        })
        .collect()
    }

    /// Every node that ever had a session.
    pub(crate) fn known(&self) -> Vec<NodeId> {
        self.rows.load().keys().copied().collect()
    }

    /// Whether a session has not ended.
    pub(crate) fn is_live(&self, session: NodeSession) -> bool {
        let rows = self.rows.load();
        let row = rows.get(&session.node);
        row.is_some_and(|row| row.number == session.number && !row.has_ended)
    }

    /// Remembers a change until its row is readable.
    pub(crate) fn note(&self, node: NodeId, row: NodeSessionRow) {
        self.applied.lock().push((node, row));
    }

    /// Shows the remembered changes to the readers.
    pub(crate) fn publish(&self) {
        let changes = mem::take(&mut *self.applied.lock());
        if !changes.is_empty() {
            let mut rows = BTreeMap::clone(&self.rows.load());
            rows.extend(changes);
            self.show(rows);
        }
    }

    /// Reads everything again.
    pub(crate) fn rebuild(&self, rows: &dyn Rows) -> Result<(), RowError> {
        let (from, until) = node_sessions();
        let (mut read, mut end) = (BTreeMap::new(), Ok(()));
        rows.scan_local(
            &from,
            &until,
            &mut |key, value| match parse_node_session_key(key)
                .and_then(|node| Ok((node, parse_node_session_value(value)?)))
            {
                Ok((node, row)) => {
                    read.insert(node, row);
                    ControlFlow::Continue(())
                }
                Err(Undecodable(what)) => {
                    end = Err(RowError::undecodable(what));
                    ControlFlow::Break(())
                }
            },
        )?;
        end?;
        self.applied.lock().clear();
        self.show(read);
        Ok(())
    }

    fn show(&self, rows: BTreeMap<NodeId, NodeSessionRow>) {
        self.rows.store(Arc::new(rows));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
