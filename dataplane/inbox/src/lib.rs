//! The home of sessions: state, subscriptions, queue (design §6, protocols B to D).
//!
//! # Contents
//! - [`Inbox`]: the service. Sessions: [`Inbox::attach`], [`Inbox::detach`], [`Inbox::expire`].
//!   Subscriptions: [`Inbox::subscribe`], [`Inbox::unsubscribe`], [`Inbox::confirm`]. Messages in:
//!   [`Inbox::submit_insert`], [`Inbox::deliver_live`]. Messages out: [`Inbox::fetch`],
//!   [`Inbox::acknowledge`], [`Inbox::received`]. QoS 2 from the client: [`Inbox::qos2_publishing`].
//!   Wills: [`Inbox::next_will_due`], [`Inbox::due_wills`], [`Inbox::forget_will`].
//! - [`Owner`]: a connection, as the inbox sees it.
//! - `keys`, `rows`, `run`, `body`, `will`: keys and values (the tables are there). `encoding`: fields.
//! - `command`, `answer`: what the log carries and what comes back. `apply`: how it is obeyed.
//! - `query`, `sweep`: reads. `bounds`: what bounds a session and a command.
//! - [`Nodes`]: the other nodes of a cluster; `registration`: which of them has a client.
//! - `registry`, `turn`, `lane`, `due`: what a process holds in memory.
//!
//! # One message
//! An insert command carries the body once and its targets. `apply` appends the body to the block
//! of its entry and a reference to the run of that entry in each queue: whatever the number of
//! messages, an entry touches a run and a session row for each queue and a few blocks. A fetch
//! follows the references. An acknowledgement moves the cursor; a run that is behind it goes, and
//! with the last run that refers to a block, the block.
//!
//! # Invariants
//! - `apply` is deterministic and total: it reads rows, the command and the group's time, nothing
//!   else; limits come with the command.
//! - A session has one owner. Every change that an owner makes carries the session's incarnation
//!   and epoch, and is stale once another attach raised them.
//! - A queue holds the sequences `cursor..next` without a gap. Sequences are never used again in
//!   one session: the packet identifier follows from them.
//! - A block is there while, and only while, a run refers to it.
//! - A tenant's figures are the sums of its rows.
//! - Every key starts with the tenant; no command reads or writes rows of another.
//! - A command touches at most about 1,000 rows; what needs more is steps that can be resumed.
//!
//! # Decisions
//! - **Runs are keyed by their last sequence**, so that one seek finds the run of any sequence
//!   without a scan backwards or an index.
//! - **References are counted by run, not by message**: an acknowledgement inside a run writes one
//!   row. A queue holds on to at most one run, and its blocks, beyond what is unacknowledged.
//! - **Blocks of 8 `KiB`**: messages of one entry share a block up to that size, so that appending
//!   one rewrites little and a kept message keeps little.
//! - **A fan-out to more than 240 queues of a shard is several commands**, each with the body: it
//!   bounds what one command touches, and costs one more body for each 240 queues.
//! - **QoS 2 is remembered by number and progress, not by a highest number**: a number that was
//!   overtaken (its command was refused as busy, the next was taken) is not mistaken for stored.
//!   The publisher's floor bounds what is remembered.
//! - **A dropped QoS 2 message that the client may have owes its PUBREL**: else the client would
//!   take the next message of the same packet identifier for a repeat, and lose it. What the owner
//!   sent is known from its fetches; after a crash everything that a window can span counts as sent.
//! - **A full queue that refuses keeps a QoS 2 publish out of every queue of its command**: progress is
//!   told by a client, so a gap could not be. What is refused leaves no trace, and a repeat is stored
//!   once in each. Of a fan-out of several commands each names the last target of the one before,
//!   and stores nothing unless that one was stored.
//! - **Clean start removes in the attach command** as far as one step goes; from the first step on
//!   the session is dead, and a crash between steps leaves it to expiry.
//! - **QoS 0 is not queued**: an online owner gets it at once, an offline session does not.
//! - **A will is a row of its own, under a number of its own**, beside its session and not in it: it
//!   outlives the session, and a transient session has one too. Its number is drawn like a session's
//!   incarnation, so that the queues that take it remember it as the publisher of one message.
//! - **A will whose server went away waits at least 5 seconds**, and any return of its client cancels
//!   it: the device was never gone.
//! - **Expiry by tenants that are due**, known in memory from the commits and, after a start, from
//!   one look through the rows; a tenant with nothing due costs nothing.
//! - A tenant's rows are in one shard; a range that is split inside one tenant needs the figures,
//!   blocks and finders of its parts to be told apart.

mod answer;
mod apply;
mod body;
mod bounds;
mod command;
mod due;
mod encoding;
mod error;
mod keys;
mod lane;
mod query;
mod queue;
mod registration;
mod registry;
mod rows;
mod run;
mod service;
mod session;
mod sweep;
mod turn;
mod will;

#[cfg(test)]
mod memory_rows;

pub use error::{AttachError, InsertError, SessionError};
pub use queue::{
    Fetched, InsertOutcome, InsertRequest, OverflowPolicy, PublishOrigin, QueueBound, QueueBounds,
    Queued, SUBSCRIPTION_IDS_MAX, Target,
};
pub use registration::{Nodes, OwnerNode, Registration};
pub use service::{Inbox, InboxOptions, LiveOutcome};
pub use session::{
    AttachRequest, Attached, Detached, DiscardedRoute, EXPIRY_NEVER, Expired, LiveGrant, Owner,
    OwnerEpoch, SessionIncarnation, SessionKind, SessionRef, StoredSubscription, SubscriptionState,
    TenantFigures, WillEnd,
};
pub use will::{DueWill, WillNumber};
