//! The shard engine in a made-up world: one seed decides on everything that happens.
//!
//! The engine runs as it is, several nodes of it on one thread and in simulated time. Only what it
//! takes from the machine is made up: files, the network, clocks and randomness.
//!
//! ```text
//! seed ─> plan ─> cluster: nodes ──Disk──> disk (sectors, page cache, power)
//!                    ^   │     └─Transport─> net (loss, doubles, delays, partitions)
//!          faults ───┤   └─ machine (registers) ──> observer ──┐
//!          clients ──┘──> history ──> linearizability ─────────┴─> invariants ─> outcome
//! ```
//!
//! A run has phases: the cluster starts; clients work while things go wrong; all is healed, and
//! within a bound every shard must take writes through every node; then all nodes lose power at
//! once, and must come back with all that they acknowledged.
//!
//! # Contents
//! - [`run_seed`], [`Course`], [`Outcome`]: one run. [`Tally`]: the sum of many.
//! - `plan`: what a seed chooses. `faults`: what goes wrong and when. `run`: the phases.
//! - `watch`, `observer`: what replicas say of themselves, and what all of them apply.
//! - `disk`, `net`: what is made up. `cluster`: processes of nodes that come and go.
//! - `machine`: what is replicated. `client`, `history`: who asks, and what they were told.
//! - `invariants`: what must hold, a file each. `linearizability`: the search for an order.
//! - `journal`: a hash over all events, so that two runs of a seed can be compared.
//! - [`contract`]: what an MQTT service owes its clients, judged from what they saw; of any service,
//!   made up or real.
//!
//! # Decisions
//! - *One tokio runtime of one thread with paused time, no turmoil.* The engine reaches files and
//!   peers through traits, so nothing of the sockets and hosts that turmoil makes up is needed; and
//!   with a runtime per host, as turmoil has, time would pass in ticks for each host in turn, which
//!   costs most of a run. A process that is killed loses its disk, its network and its clients at
//!   one moment; tasks of it that are left find everything gone, and end.
//! - *Every invariant is checked in release builds*, where the seeds run.
//! - *An own search for linearizability.* The one of stateright tries every order of operations
//!   with unknown outcomes anew, exponentially many; crashes leave dozens of those. This one
//!   remembers the states that it has seen.
//! - *A bit flips only in what redb does not go back from any more*, behind a mark that the machine
//!   writes. In the log redb takes a page of its very last commit that does not fit its checksum for
//!   one that was torn, and goes back to the commit before: no reader can tell the two apart. The
//!   state is committed in two phases, and its rows may rot from then on. And flips in the inner
//!   pages of its trees are found at the next recovery, not at each read.
//! - *Bits flip one by one, and many at once*: most of what a file of rows has behind marks are old
//!   copies that nobody reads again. They flip under a process that may have cached the page, and
//!   while the node is down.
//! - *Flips are mended after they were noticed*, before the node starts again, as from a good copy.

mod client;
mod cluster;
pub mod contract;
mod disk;
mod faults;
mod history;
mod invariants;
mod journal;
mod linearizability;
mod machine;
mod net;
mod observer;
mod operator;
mod outcome;
mod plan;
mod rng;
mod run;
mod service;
mod watch;
mod wire;

pub use journal::{FaultKind, Violation};
pub use outcome::{Course, Outcome, Tally, run_seed};
pub use service::{Counts, ServiceOutcome, ServiceTally, run_service_seed};
