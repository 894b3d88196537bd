//! Where changes and snapshots are read.

use std::fmt::Display;
use std::future::Future;

use tessera_tenancy::{Change, Revision, TimelineId};

/// Where the configuration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The history that the revisions belong to.
    pub timeline: TimelineId,
    /// The newest committed revision.
    pub revision: Revision,
    /// The oldest change that can still be told by itself; `None` if there is none.
    pub oldest_change: Option<Revision>,
}

/// Reads committed configuration.
pub trait PushSource: Send + Sync {
    /// Why nothing could be read.
    type Error: Display + Send;
    /// A snapshot that is being read.
    type Snapshot: SnapshotSource<Error = Self::Error>;

    /// At most `limit` changes after a revision, in ascending order, without a gap among them.
    fn changes_after(
        &self,
        after: Revision,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Change>, Self::Error>> + Send;

    /// Begins to read the whole configuration at one revision.
    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot, Self::Error>> + Send;
}

/// The whole configuration at one revision.
pub trait SnapshotSource: Send {
    /// Why nothing could be read.
    type Error: Display + Send;

    /// The revision of all that is read.
    fn revision(&self) -> Revision;

    /// At most `limit` more entries; none at the end.
    fn next_page(
        &mut self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Change>, Self::Error>> + Send;
}
