//! Tells the nodes of the configuration, and knows how far each has got.
//!
//! # Contents
//! - [`plan`]: what a node that asks gets: a snapshot, the changes after its revision, or a refusal.
//! - [`registry`]: what each node was last heard to have applied, and who counts as live.
//! - [`sealing`]: numbers, ties and signs the frames of one stream.
//! - [`source`]: where changes and snapshots are read; the store, in the product.
//! - [`hub`]: the shared state of one control plane: head, registry, waiting for `applied`.
//! - [`stream`]: the shell that writes one node's stream.
//!
//! # Invariants
//! - A stream tells every revision once, in order, without a gap; one that cannot ends, and the node
//!   that asks again gets a snapshot.
//! - A node that says it is ahead of the head on the same timeline is refused: history was lost, and
//!   pushing on would hide it.
//! - Streams live while the source does not answer: heartbeats go on with the head that is known.
//! - Everything is bounded: frames by [`Frame::CHANGES_MAX`](tessera_tenancy::Frame::CHANGES_MAX),
//!   lines that wait for a slow node by [`stream::LINES_WAITING_MAX`], nodes by
//!   [`registry::NODES_MAX`].
//!
//! # Decisions
//! - A node is live for [`registry::LIVE_FOR`] after it was last heard from. One that was killed keeps
//!   `?wait=applied` waiting that long: it may well be serving devices with what it has.
//! - `plan`, `registry` and `sealing` are pure; the time is an argument.

pub mod hub;
pub mod plan;
pub mod registry;
pub mod sealing;
pub mod source;
pub mod stream;

pub use hub::{Hub, ReportRefused};
pub use plan::{Ahead, Position, Start, start_for};
pub use registry::{AppliedCount, NodeReport, NodeView, Registry};
pub use sealing::StreamSealer;
pub use source::{Head, PushSource, SnapshotSource};
pub use stream::{StreamEnd, StreamRequest, serve_stream};
