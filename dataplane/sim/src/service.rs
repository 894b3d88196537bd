//! The whole data plane in the made-up world: clients speak MQTT to nodes, and the contract judges
//! what they saw.
//!
//! ```text
//! seed ─> plan ─> nodes: front end, dist, inbox, retain, engine
//!                   │ └─ SimDisk, and a SimNet each between engines and between front ends
//!        devices ──pipe──┘
//!           └──> recorder ──> contract (C1 to C10) ──> outcome
//! ```
//!
//! A run has phases: nodes start; clients of two tenants, which have the same names, work while things
//! go wrong; all is healed, and within a bound every client is connected, subscribed and waits for
//! nothing; then all nodes lose power at once, clients come back and are given what is theirs; and
//! the history is judged.
//!
//! # Contents
//! - `plan`: what a seed chooses. `faults`: what goes wrong and when. `run`: the phases.
//! - `world`, `node`: nodes with processes that come and go. `tenants`: their configuration.
//! - `pipe`, `link`: a connection, in bytes and in packets.
//! - `device`, `session`, `reader`, `names`: clients. `recorder`: what they saw.
//!
//! # Decisions
//! - *The rules excuse what they excuse of real processes*, and nothing else: a QoS 2 message that was
//!   sent again may come again to transient receivers and in what its topic retains, and for a second
//!   a connection that was taken over is written what came before.
//! - *A will may be half a minute late*: what delays it is as long as the faults are, and longer.
//! - *Pipes have no delay.* What interleaves are disks, messages between nodes, and clients' pauses.
//! - *A process that is killed loses disk, network and devices at one moment.* Its tasks find
//!   everything gone, and end; it is told to, so that they do so soon.

mod device;
mod faults;
mod link;
mod names;
mod node;
mod outcome;
mod pipe;
mod plan;
mod reader;
mod recorder;
mod run;
mod session;
mod tenants;
mod world;

pub use outcome::{ServiceOutcome, ServiceTally, run_service_seed};
pub use run::Counts;
