//! What a node is started with. Parsed once, by the binary.

use std::net::SocketAddr;
use std::path::PathBuf;

use tessera_tenancy::{FrameKey, ServerKey};

/// Options of one node process.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Everything that the node keeps: identity, log, state, configuration.
    pub data_dir: PathBuf,
    /// Where devices connect, plain TCP.
    pub mqtt_listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` answer.
    pub admin_listen: SocketAddr,
    /// The control plane, `http://host:port`.
    pub control_url: String,
    /// The key that pushed frames are signed with.
    pub push_key: FrameKey,
    /// The key under which device secrets are kept.
    pub server_key: ServerKey,
    /// Makes a new cluster if the data folder holds none. Without it an empty folder is refused.
    pub init_cluster: bool,
    /// Key ranges that a new cluster starts with, per store kind. Ignored afterwards.
    pub initial_ranges: usize,
}

impl NodeOptions {
    /// Ranges of a new cluster's store kinds, unless told otherwise: few busy Raft groups beat many
    /// thin ones.
    pub const INITIAL_RANGES_DEFAULT: usize = 2;
}
