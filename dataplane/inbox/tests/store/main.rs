//! The inbox over a real engine in a temporary folder.

mod node;
mod owners;
mod queues;
mod restarts;
mod two_tenants;
