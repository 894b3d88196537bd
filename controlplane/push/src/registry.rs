//! What each node was last heard to have applied.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tessera_tenancy::{Incarnation, NodeId, Revision, TimelineId};

/// How long a node counts as live after it was last heard from.
pub const LIVE_FOR: Duration = Duration::from_secs(10);
/// Nodes that are remembered; beyond, the one that is silent for longest is forgotten.
pub const NODES_MAX: usize = 10_000;

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeReport {
    /// Which one.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it applied; `None` if it only shows that it lives.
    pub applied: Option<(TimelineId, Revision)>,
}

/// A node as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView {
    /// Which one.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it last said that it applied.
    pub applied: Option<(TimelineId, Revision)>,
    /// When it was last heard from.
    pub heard_at: Instant,
}

/// How many live nodes applied a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedCount {
    /// Live nodes that applied it.
    pub nodes: u32,
    /// Live nodes.
    pub of: u32,
}

impl AppliedCount {
    /// Whether every live node applied it.
    pub const fn is_complete(self) -> bool {
        self.nodes == self.of
    }
}

/// Every node that was heard from.
#[derive(Debug, Default)]
pub struct Registry {
    nodes: HashMap<NodeId, NodeView>,
}

impl Registry {
    /// Takes a report that came at `heard_at`. One of an earlier life is ignored; a later life starts
    /// with what the earlier one applied, since that is on the node's disk.
    pub fn hear(&mut self, report: NodeReport, heard_at: Instant) {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&report.node) {
            self.forget_most_silent();
        }
        let view = self.nodes.entry(report.node).or_insert(NodeView {
            node: report.node,
            incarnation: report.incarnation,
            applied: None,
            heard_at,
        });
        if report.incarnation < view.incarnation {
            return;
        }
        view.incarnation = report.incarnation;
        view.heard_at = view.heard_at.max(heard_at);
        view.applied = later(view.applied, report.applied);
    }

    /// How many of the nodes that are live at `now` applied a revision of a timeline.
    pub fn applied(&self, timeline: TimelineId, revision: Revision, now: Instant) -> AppliedCount {
        let live = || self.nodes.values().filter(|view| view.is_live(now));
        let done = live().filter(|view| {
            view.applied
                .is_some_and(|(line, applied)| line == timeline && applied >= revision)
        });
        AppliedCount {
            nodes: count(done),
            of: count(live()),
        }
    }

    /// Every node, by id.
    pub fn nodes(&self) -> Vec<NodeView> {
        let mut nodes: Vec<_> = self.nodes.values().copied().collect();
        nodes.sort_by_key(|view| view.node);
        nodes
    }

    fn forget_most_silent(&mut self) {
        let silent = self
            .nodes
            .values()
            .min_by_key(|view| view.heard_at)
            .map(|view| view.node);
        if let Some(node) = silent {
            self.nodes.remove(&node);
        }
    }
}

impl NodeView {
    /// Whether it was heard from lately.
    pub fn is_live(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) < LIVE_FOR
    }
}

/// On one timeline a node only goes forward; reports may arrive out of order.
fn later(
    known: Option<(TimelineId, Revision)>,
    new: Option<(TimelineId, Revision)>,
) -> Option<(TimelineId, Revision)> {
    match (known, new) {
        (known, None) => known,
        (Some((line, revision)), Some((new_line, new_revision))) if line == new_line => {
            Some((line, revision.max(new_revision)))
        }
        (_, Some(new)) => Some(new),
    }
}

fn count<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> u32 {
    u32::try_from(nodes.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: TimelineId = TimelineId::from_bytes([1; 16]);

    fn report(node: u64, incarnation: u64, applied: Option<u64>) -> NodeReport {
        NodeReport {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            applied: applied.map(|revision| (LINE, Revision(revision))),
        }
    }

    fn counted(registry: &Registry, revision: u64, now: Instant) -> (u32, u32) {
        let count = registry.applied(LINE, Revision(revision), now);
        (count.nodes, count.of)
    }

    #[test]
    fn live_nodes_that_applied_it_are_counted() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.hear(report(1, 1, Some(7)), now);
        registry.hear(report(2, 1, Some(6)), now);
        registry.hear(report(3, 1, None), now);
        assert_eq!(counted(&registry, 7, now), (1, 3));
        assert_eq!(counted(&registry, 6, now), (2, 3));
        assert_eq!(
            counted(&registry, 6, now + LIVE_FOR),
            (0, 0),
            "nobody lives any more"
        );
    }

    #[test]
    fn a_node_of_another_timeline_has_applied_nothing() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.hear(report(1, 1, Some(7)), now);
        let other = TimelineId::from_bytes([2; 16]);
        assert_eq!(registry.applied(other, Revision(1), now).nodes, 0);
    }

    #[test]
    fn reports_of_an_earlier_life_and_older_ones_change_nothing() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.hear(report(1, 2, Some(7)), now);
        registry.hear(report(1, 1, Some(9)), now + Duration::from_secs(1));
        registry.hear(report(1, 2, Some(5)), now);
        let view = registry.nodes()[0];
        assert_eq!(view.applied, Some((LINE, Revision(7))));
        assert_eq!((view.incarnation, view.heard_at), (Incarnation(2), now));
    }

    #[test]
    fn a_sign_of_life_forgets_nothing() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.hear(report(1, 1, Some(7)), now);
        registry.hear(report(1, 2, None), now);
        assert_eq!(counted(&registry, 7, now), (1, 1));
    }

    #[test]
    fn beyond_the_bound_the_most_silent_is_forgotten() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        for node in 0..=u64::try_from(NODES_MAX).unwrap() {
            registry.hear(report(node, 1, None), now + Duration::from_millis(node));
        }
        assert_eq!(registry.nodes().len(), NODES_MAX);
        assert_eq!(registry.nodes()[0].node, NodeId(1));
    }
}
