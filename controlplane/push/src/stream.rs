//! Writes one node's stream: hello, perhaps a snapshot, then changes and heartbeats until it ends.

use std::time::Duration;

use tessera_tenancy::{Frame, FrameKey, Incarnation, NodeId, Revision, SignedFrame};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::hub::Hub;
use crate::plan::{Position, Start};
use crate::registry::NodeReport;
use crate::sealing::StreamSealer;
use crate::source::{Head, PushSource, SnapshotSource};

/// How often a stream shows that it lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Lines that wait for a slow node.
pub const LINES_WAITING_MAX: usize = 4;
/// How long a stream waits for a slow node to take a line.
pub const SLOW_NODE_PATIENCE: Duration = Duration::from_secs(10);
/// Entries that one read of a snapshot or of changes asks for.
const PAGE: usize = Frame::CHANGES_MAX;

/// Who asks, and how.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// Which node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What ties the frames to this stream.
    pub nonce: String,
    /// Where it stands.
    pub position: Position,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The node closed it.
    Closed,
    /// The node took no line for [`SLOW_NODE_PATIENCE`].
    SlowNode,
    /// What follows the node's revision is gone, or the history changed. Asking again gives a
    /// snapshot.
    Gap,
    /// A snapshot could not be read to its end.
    SourceFailed,
}

/// Whether a read had a result. A source that does not answer now is asked again.
enum Heard {
    /// Something new was told.
    News,
    /// The source does not answer.
    Silence,
}

/// Serves one stream that starts with `start`, until it ends. What is written goes to `lines`, a
/// line feed included.
pub async fn serve_stream<S: PushSource>(
    source: &S,
    hub: &Hub,
    key: FrameKey,
    request: StreamRequest,
    start: Start,
    lines: mpsc::Sender<String>,
) -> StreamEnd {
    let mut head = hub.watch_head();
    let opened_at = *head.borrow_and_update();
    let mut stream = Stream {
        source,
        hub,
        sealer: StreamSealer::new(key, request.nonce.clone()),
        request,
        lines,
        told: Revision::ZERO,
        opened_at,
    };
    match stream.run(start, head).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

/// A stream runs until it ends.
enum Never {}

struct Stream<'a, S> {
    source: &'a S,
    hub: &'a Hub,
    sealer: StreamSealer,
    request: StreamRequest,
    lines: mpsc::Sender<String>,
    /// The last revision that was told.
    told: Revision,
    opened_at: Head,
}

impl<S: PushSource> Stream<'_, S> {
    async fn run(
        &mut self,
        start: Start,
        mut head: watch::Receiver<Head>,
    ) -> Result<Never, StreamEnd> {
        let hello = Frame::Hello {
            timeline: self.opened_at.timeline,
            head: self.opened_at.revision,
        };
        self.write(hello).await?;
        match start {
            Start::Snapshot => self.tell_snapshot().await?,
            Start::ChangesAfter(after) => self.told = after,
        }
        loop {
            let now = *head.borrow_and_update();
            if now.timeline != self.opened_at.timeline {
                return Err(StreamEnd::Gap);
            }
            let heard = if now.revision > self.told {
                self.tell_changes().await?
            } else {
                Heard::Silence
            };
            match heard {
                Heard::News => {}
                Heard::Silence => self.rest(&mut head, now.revision > self.told).await?,
            }
        }
    }

    /// Waits for news, and shows that the stream lives if there are none.
    async fn rest(
        &mut self,
        head: &mut watch::Receiver<Head>,
        source_silent: bool,
    ) -> Result<(), StreamEnd> {
        let news = async {
            if source_silent {
                // There are news already, which the source does not give: ask it again later.
                std::future::pending().await
            } else {
                head.changed().await
            }
        };
        tokio::select! {
            changed = timeout(HEARTBEAT_EVERY, news) => match changed {
                Ok(_) => Ok(()),
                Err(_) => {
                    let head = self.hub.head().revision;
                    self.write(Frame::Heartbeat { head }).await
                }
            },
            () = self.lines.closed() => Err(StreamEnd::Closed),
        }
    }

    async fn tell_changes(&mut self) -> Result<Heard, StreamEnd> {
        let changes = match self.source.changes_after(self.told, PAGE).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::debug!(%error, node = %self.request.node, "no changes to push now");
                return Ok(Heard::Silence);
            }
        };
        let mut told = self.told;
        for change in &changes {
            if change.revision != told.next() {
                return Err(StreamEnd::Gap);
            }
            told = change.revision;
        }
        if changes.is_empty() {
            // The head says that there are some: they are pruned, or the history is another.
            return Err(StreamEnd::Gap);
        }
        for line in self.sealer.seal_changes(changes) {
            self.send(line).await?;
        }
        self.told = told;
        Ok(Heard::News)
    }

    async fn tell_snapshot(&mut self) -> Result<(), StreamEnd> {
        let mut snapshot = self
            .source
            .snapshot()
            .await
            .map_err(|error| self.failed(&error))?;
        let revision = snapshot.revision();
        self.write(Frame::SnapshotBegin { revision }).await?;
        loop {
            let page = snapshot
                .next_page(PAGE)
                .await
                .map_err(|error| self.failed(&error))?;
            if page.is_empty() {
                break;
            }
            for line in self.sealer.seal_changes(page) {
                self.send(line).await?;
            }
        }
        self.write(Frame::SnapshotEnd { revision }).await?;
        self.told = revision;
        Ok(())
    }

    fn failed(&self, error: &S::Error) -> StreamEnd {
        tracing::warn!(%error, node = %self.request.node, "a snapshot could not be read");
        StreamEnd::SourceFailed
    }

    async fn write(&mut self, frame: Frame) -> Result<(), StreamEnd> {
        let line = self.sealer.seal(frame);
        self.send(line).await
    }

    async fn send(&self, line: SignedFrame) -> Result<(), StreamEnd> {
        let line = format!("{}\n", line.as_line());
        match timeout(SLOW_NODE_PATIENCE, self.lines.send(line)).await {
            Ok(Ok(())) => {
                self.lives();
                Ok(())
            }
            Ok(Err(_)) => Err(StreamEnd::Closed),
            Err(_) => Err(StreamEnd::SlowNode),
        }
    }

    /// A node that takes lines lives.
    fn lives(&self) {
        let report = NodeReport {
            node: self.request.node,
            incarnation: self.request.incarnation,
            applied: None,
        };
        if let Err(refused) = self.hub.hear(report) {
            tracing::error!(%refused, "a sign of life names no revision, yet it is refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tessera_tenancy::{Change, ChangeBody, PushEnvelope, TenantId, TimelineId};
    use tokio::task::JoinHandle;

    const LINE: TimelineId = TimelineId::from_bytes([1; 16]);
    const KEY: [u8; 32] = [3; 32];

    /// Changes in memory; `None` while it does not answer.
    #[derive(Default)]
    struct Memory(Mutex<Option<Vec<Change>>>);

    struct MemorySnapshot(Vec<Change>);

    impl PushSource for std::sync::Arc<Memory> {
        type Error = &'static str;
        type Snapshot = MemorySnapshot;

        async fn changes_after(
            &self,
            after: Revision,
            limit: usize,
        ) -> Result<Vec<Change>, &'static str> {
            let all = self.0.lock().clone().ok_or("silent")?;
            Ok(all
                .into_iter()
                .filter(|change| change.revision > after)
                .take(limit)
                .collect())
        }

        async fn snapshot(&self) -> Result<MemorySnapshot, &'static str> {
            self.0.lock().clone().map(MemorySnapshot).ok_or("silent")
        }
    }

    impl SnapshotSource for MemorySnapshot {
        type Error = &'static str;

        fn revision(&self) -> Revision {
            Revision(2)
        }

        async fn next_page(&mut self, _: usize) -> Result<Vec<Change>, &'static str> {
            Ok(std::mem::take(&mut self.0))
        }
    }

    struct Rig {
        memory: std::sync::Arc<Memory>,
        hub: Hub,
        lines: mpsc::Receiver<String>,
        task: JoinHandle<StreamEnd>,
    }

    impl Rig {
        fn new(revisions: &[u64], head: u64, start: Start) -> Self {
            let memory = std::sync::Arc::new(Memory(Mutex::new(Some(changes(revisions)))));
            let head = Head {
                timeline: LINE,
                revision: Revision(head),
                oldest_change: None,
            };
            let hub = Hub::new(head);
            let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
            let position = Position {
                timeline: None,
                after: Revision::ZERO,
            };
            let request = StreamRequest {
                node: NodeId(7),
                incarnation: Incarnation(1),
                nonce: "n".into(),
                position,
            };
            let (source, shared) = (memory.clone(), hub.clone());
            let task = tokio::spawn(async move {
                let key = FrameKey::from_bytes(KEY);
                serve_stream(&source, &shared, key, request, start, sender).await
            });
            Self {
                memory,
                hub,
                lines,
                task,
            }
        }

        async fn frame(&mut self) -> Frame {
            let line = self.lines.recv().await.unwrap();
            let envelope: PushEnvelope = FrameKey::from_bytes(KEY)
                .open(line.strip_suffix('\n').unwrap())
                .unwrap();
            envelope.frame
        }
    }

    fn changes(revisions: &[u64]) -> Vec<Change> {
        let tenant = TenantId::from_bytes([9; 16]);
        let change = |revision: &u64| Change {
            revision: Revision(*revision),
            tenant,
            body: ChangeBody::TenantRemoved,
        };
        revisions.iter().map(change).collect()
    }

    #[tokio::test]
    async fn a_snapshot_is_followed_by_what_changed_since() {
        let mut rig = Rig::new(&[1, 2], 2, Start::Snapshot);
        assert_eq!(
            rig.frame().await,
            Frame::Hello {
                timeline: LINE,
                head: Revision(2)
            }
        );
        assert_eq!(
            rig.frame().await,
            Frame::SnapshotBegin {
                revision: Revision(2)
            }
        );
        assert_eq!(
            rig.frame().await,
            Frame::Changes {
                changes: changes(&[1, 2])
            }
        );
        assert_eq!(
            rig.frame().await,
            Frame::SnapshotEnd {
                revision: Revision(2)
            }
        );
        *rig.memory.0.lock() = Some(changes(&[1, 2, 3]));
        rig.hub.committed(Revision(3));
        assert_eq!(
            rig.frame().await,
            Frame::Changes {
                changes: changes(&[3])
            }
        );
        assert_eq!(
            rig.hub.nodes()[0].node,
            NodeId(7),
            "it takes lines, so it lives"
        );
    }

    #[tokio::test]
    async fn a_gap_ends_the_stream() {
        let mut rig = Rig::new(&[1, 3], 3, Start::ChangesAfter(Revision::ZERO));
        assert!(matches!(rig.frame().await, Frame::Hello { .. }));
        assert_eq!(rig.task.await.unwrap(), StreamEnd::Gap);
    }

    #[tokio::test]
    async fn a_silent_source_leaves_the_heart_beating() {
        let mut rig = Rig::new(&[], 2, Start::ChangesAfter(Revision(2)));
        assert!(matches!(rig.frame().await, Frame::Hello { .. }));
        *rig.memory.0.lock() = None;
        rig.hub.committed(Revision(3));
        assert_eq!(rig.frame().await, Frame::Heartbeat { head: Revision(3) });
        *rig.memory.0.lock() = Some(changes(&[3]));
        // The stream may have asked once more just before the source answered again.
        let mut frame = rig.frame().await;
        if matches!(frame, Frame::Heartbeat { .. }) {
            frame = rig.frame().await;
        }
        assert_eq!(
            frame,
            Frame::Changes {
                changes: changes(&[3])
            }
        );
    }

    #[tokio::test]
    async fn another_history_and_a_closed_connection_end_the_stream() {
        let mut rig = Rig::new(&[], 2, Start::ChangesAfter(Revision(2)));
        assert!(matches!(rig.frame().await, Frame::Hello { .. }));
        let restored = TimelineId::from_bytes([2; 16]);
        let head = Head {
            timeline: restored,
            revision: Revision(1),
            oldest_change: None,
        };
        rig.hub.advance(head);
        assert_eq!(rig.task.await.unwrap(), StreamEnd::Gap);

        let rig = Rig::new(&[], 2, Start::ChangesAfter(Revision(2)));
        drop(rig.lines);
        assert_eq!(rig.task.await.unwrap(), StreamEnd::Closed);
    }
}
