//! The client verbs: a file each, with its options, its calls and its tables.

pub(crate) mod credential;
pub(crate) mod mqtt_target;
pub(crate) mod publish;
pub(crate) mod quota;
pub(crate) mod subscribe;
pub(crate) mod tenant;

use tessera_api_types::Applied;
use tessera_sdk::rest::Wait;

use crate::output::note;

/// Whether a write waits for the nodes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct WaitArgs {
    /// Returns as soon as it is committed, not when every node serves with it.
    #[arg(long)]
    no_wait: bool,
}

impl WaitArgs {
    const fn wait(self) -> Wait {
        if self.no_wait {
            Wait::Committed
        } else {
            Wait::Applied
        }
    }
}

/// Tells how far a write has got.
fn note_applied(what: &str, applied: Option<Applied>) {
    match applied {
        Some(Applied { nodes, of }) => note(&format!("{what}: applied on {nodes} of {of} nodes")),
        None => note(&format!("{what}: committed")),
    }
}
