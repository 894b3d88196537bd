//! Scenarios: client bytes in, server bytes out. A name that carries a statement's number proves it.

mod pair;

mod auth;
mod close;
mod connect;
mod deliver;
mod model;
mod publish;
mod subscribe;
mod timing;
