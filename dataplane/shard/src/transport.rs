//! How nodes reach each other: a request of bytes, an answer of bytes.
//!
//! The engine makes and reads the bytes; whoever carries them (gRPC, channels in one process) need
//! not look inside.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tessera_tenancy::NodeId;

/// Largest request or answer, in bytes: a batch of the largest command, with room around it.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Carries requests to other nodes.
///
/// A request may be lost, delayed, repeated, or overtake another: the engine sorts that out. It
/// must not be changed, or delivered to another node than it was meant for. Deadlines are the
/// engine's: a call that is not wanted any more is dropped.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Brings `request` to [`Engine::handle_request`](crate::Engine::handle_request) of the node
    /// `to`, and its answer back.
    fn call(&self, to: NodeId, request: Bytes)
    -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Why a call was not answered. Whether the request arrived is unknown in either case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The node cannot be reached now.
    #[error("node {to} cannot be reached")]
    Unreachable {
        /// Which node.
        to: NodeId,
    },
    /// No answer in time.
    #[error("node {to} did not answer in time")]
    Timeout {
        /// Which node.
        to: NodeId,
    },
}
