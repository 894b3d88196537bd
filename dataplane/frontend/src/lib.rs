//! Device connections: listeners, authentication, the connection loop, local fan-out.
//!
//! # Contents
//! - [`Frontend`]: opens the port and serves it; [`Services`] is what it drives.
//! - `connection`: one task per device. Start reading at `Connection::run`.
//! - `authenticate`: which tenant and principal a device is.
//! - `targets`, `route`: who receives a message, and the walk to them. `bounds`: what a queue holds.
//! - `once`: QoS 2 publishes on their way, which the same one sent again joins.
//! - `outbox`: where publishers leave messages for one connection.
//! - `local`, `tenants`, `registry`: what this node knows of its own connections. `drops`: what
//!   did not reach them.
//! - `peers`: the other front ends of a cluster. `dice`: chance without a lock.
//! - [`DeviceStream`]: the bytes of a device, over TCP or made up. [`Seams`]: what a simulation replaces.
//! - [`Background`]: what a node does between messages.
//! - `keep_alive`: one wheel for all of them. `will`: what is published when one is lost.
//!
//! # Invariants
//! - A tenant's memory hangs off its own `Tenant`; nothing here can name two tenants at once.
//! - Authentication comes before any state is touched.
//! - PUBACK and PUBREC leave after every matched inbox, and the retained store, have committed.
//! - An idle connection holds no buffer. No lock is held across an await but those of filters, which
//!   exist for that.
//! - Everything that waits has a bound: outboxes, queues, the hold on a publisher, the last word.
//!
//! # Decisions
//! - **One delivery per session**, however many of its subscriptions match: the highest QoS, every
//!   subscription identifier (MQTT 5, 3.3.4 allows this or copies).
//! - **One answer for every wrong credential**, 0x87 (0x05 on version 3): which half was wrong is
//!   nobody's business.
//! - **A full queue of one receiver may refuse the publisher** (a setting of the tenant); the others may
//!   have the message by then, and have it again when the publisher tries again: at least once. A
//!   QoS 2 publish of a persistent session is stored in all queues of a command or in none. A will,
//!   whose publisher is gone, is dropped by that queue alone.
//! - **A rate is shaped, then refused**: reading pauses for up to a second, after which publishes
//!   over the rate are refused with the reason until the tenant has been within it for a second.

mod authenticate;
mod background;
mod bounds;
mod buffers;
mod clock;
mod connection;
mod dice;
mod drops;
mod frontend;
mod keep_alive;
mod listener;
mod local;
mod metrics;
mod once;
mod outbox;
mod peers;
mod registry;
mod route;
mod shared;
mod stream;
mod targets;
mod tenants;
mod will;

pub use background::Background;
pub use clock::Seams;
pub use drops::{DropReason, Drops};
pub use frontend::{Frontend, FrontendOptions, Services, TenantLive};
pub use metrics::{Counter, Gauge, Metrics};
pub use peers::cluster_nodes;
pub use stream::DeviceStream;
