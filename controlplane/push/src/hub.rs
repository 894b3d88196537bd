//! The shared state of one control plane: the head, what nodes applied, and who waits for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tessera_tenancy::{NodeId, Revision, TimelineId};
use tokio::sync::watch;

use crate::registry::{AppliedCount, NodeReport, NodeView, Registry};
use crate::source::Head;

/// How often waiting looks again, since nodes stop to be live without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What streams, reports and waiting requests share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    head: watch::Sender<Head>,
    registry: Mutex<Registry>,
    /// Nodes that this process heard itself since they were last handed out to be saved.
    unsaved: Mutex<HashSet<NodeId>>,
    /// Counts reports, so that those who wait look again.
    reports: watch::Sender<u64>,
}

/// Why a report was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportRefused {
    /// It names a revision that is not committed on the current timeline.
    #[error("revision {applied} is beyond the newest one, {head}")]
    Ahead {
        /// What the node says.
        applied: Revision,
        /// The newest committed revision.
        head: Revision,
    },
}

impl Hub {
    /// A hub that starts at `head`.
    pub fn new(head: Head) -> Self {
        let shared = Shared {
            head: watch::Sender::new(head),
            registry: Mutex::new(Registry::default()),
            unsaved: Mutex::new(HashSet::new()),
            reports: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The head as it is known.
    pub fn head(&self) -> Head {
        *self.shared.head.borrow()
    }

    /// The head, and whenever it moves.
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.shared.head.subscribe()
    }

    /// Takes a head that was read. One that was read before a newer one of its timeline changes
    /// nothing.
    pub fn advance(&self, to: Head) {
        self.shared.head.send_if_modified(|head| {
            let newer = head.timeline != to.timeline || head.revision < to.revision;
            if newer {
                *head = to;
            } else {
                // Pruning moves it without a new revision; nobody waits for that.
                head.oldest_change = head.oldest_change.max(to.oldest_change);
            }
            newer
        });
    }

    /// Takes a revision that this process committed on the current timeline.
    pub fn committed(&self, revision: Revision) {
        let head = self.head();
        let oldest_change = head.oldest_change.or(Some(revision));
        self.advance(Head {
            revision,
            oldest_change,
            ..head
        });
    }

    /// Takes what a node itself said now.
    pub fn hear(&self, report: NodeReport) -> Result<(), ReportRefused> {
        let head = self.head();
        match report.applied {
            Some((line, applied)) if line == head.timeline && applied > head.revision => {
                return Err(ReportRefused::Ahead {
                    applied,
                    head: head.revision,
                });
            }
            Some(_) | None => {}
        }
        self.shared.unsaved.lock().insert(report.node);
        self.take(report, Instant::now());
        Ok(())
    }

    /// Takes what another process heard of a node at `heard_at`. What a node applied of another
    /// history than the current one tells nothing.
    pub fn remember(&self, report: NodeReport, heard_at: Instant) {
        let timeline = self.head().timeline;
        let applied = report.applied.filter(|(line, _)| *line == timeline);
        self.take(NodeReport { applied, ..report }, heard_at);
    }

    /// The nodes that this process heard itself since it was last asked.
    pub fn take_unsaved(&self) -> Vec<NodeView> {
        let unsaved = std::mem::take(&mut *self.shared.unsaved.lock());
        let mut nodes = self.nodes();
        nodes.retain(|view| unsaved.contains(&view.node));
        nodes
    }

    /// Every node, by id.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.shared.registry.lock().nodes()
    }

    /// Waits until every live node has applied `revision`, but no longer than `limit`; then says how
    /// many have.
    pub async fn wait_applied(&self, revision: Revision, limit: Duration) -> AppliedCount {
        let timeline = self.head().timeline;
        let deadline = tokio::time::Instant::now() + limit;
        let mut reports = self.shared.reports.subscribe();
        loop {
            let count = self.applied(timeline, revision);
            let now = tokio::time::Instant::now();
            if count.is_complete() || now >= deadline {
                return count;
            }
            let again = deadline.min(now + LOOK_AGAIN);
            // Both outcomes mean the same: look again. The sender lives as long as `self`.
            drop(tokio::time::timeout_at(again, reports.changed()).await);
        }
    }

    fn take(&self, report: NodeReport, heard_at: Instant) {
        self.shared.registry.lock().hear(report, heard_at);
        self.shared
            .reports
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn applied(&self, timeline: TimelineId, revision: Revision) -> AppliedCount {
        self.shared
            .registry
            .lock()
            .applied(timeline, revision, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::Incarnation;

    const LINE: TimelineId = TimelineId::from_bytes([1; 16]);
    const LONG: Duration = Duration::from_secs(60);

    fn hub(revision: u64) -> Hub {
        Hub::new(Head {
            timeline: LINE,
            revision: Revision(revision),
            oldest_change: None,
        })
    }

    fn report(node: u64, applied: u64) -> NodeReport {
        NodeReport {
            node: NodeId(node),
            incarnation: Incarnation(1),
            applied: Some((LINE, Revision(applied))),
        }
    }

    #[tokio::test]
    async fn waiting_ends_when_the_last_node_has_applied_it() {
        let hub = hub(5);
        hub.hear(report(1, 5)).unwrap();
        hub.hear(report(2, 4)).unwrap();
        let waiting = hub.wait_applied(Revision(5), LONG);
        let (count, ()) = tokio::join!(waiting, async { hub.hear(report(2, 5)).unwrap() });
        assert_eq!(count, AppliedCount { nodes: 2, of: 2 });
    }

    #[tokio::test]
    async fn waiting_ends_at_its_limit_and_says_how_many() {
        let hub = hub(5);
        hub.hear(report(1, 4)).unwrap();
        let count = hub
            .wait_applied(Revision(5), Duration::from_millis(10))
            .await;
        assert_eq!(count, AppliedCount { nodes: 0, of: 1 });
    }

    #[tokio::test]
    async fn without_nodes_there_is_nothing_to_wait_for() {
        let count = hub(5).wait_applied(Revision(5), LONG).await;
        assert_eq!(count, AppliedCount { nodes: 0, of: 0 });
    }

    #[test]
    fn a_report_from_the_future_is_refused() {
        let refused = ReportRefused::Ahead {
            applied: Revision(6),
            head: Revision(5),
        };
        assert_eq!(hub(5).hear(report(1, 6)), Err(refused));
    }

    #[test]
    fn only_what_this_process_heard_is_its_to_save() {
        let hub = hub(5);
        hub.hear(report(1, 5)).unwrap();
        hub.remember(report(2, 5), Instant::now());
        let saved: Vec<_> = hub.take_unsaved().iter().map(|view| view.node).collect();
        assert_eq!(saved, [NodeId(1)]);
        assert_eq!(hub.take_unsaved(), []);
    }

    #[test]
    fn a_head_that_was_read_late_changes_nothing() {
        let hub = hub(5);
        hub.committed(Revision(7));
        hub.advance(Head {
            timeline: LINE,
            revision: Revision(6),
            oldest_change: None,
        });
        assert_eq!(hub.head().revision, Revision(7));
        let restored = TimelineId::from_bytes([2; 16]);
        hub.advance(Head {
            timeline: restored,
            revision: Revision(3),
            oldest_change: None,
        });
        assert_eq!(
            hub.head().revision,
            Revision(3),
            "another history counts anew"
        );
    }
}
