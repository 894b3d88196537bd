//! The front end over real sockets and real stores, on a configuration pushed as a node gets it.

mod client;
mod harness;

mod isolation;
mod limits;
mod messages;
mod sessions;
