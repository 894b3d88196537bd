//! What nodes say to each other, in bytes.
//!
//! ```text
//! request:  form u8 | cluster [16] | kind u8 | shard u64 | epoch u64 | tag u8 | body
//! answer:   form u8 | 0 | body          or   form u8 | why u8
//! append:   vote [17] | previous id? | committed id? | count u32 | (term u64 | index u64 | kind u8 | part)…
//! ```
//!
//! `?` is a byte 0 or 1 before what is there; a part stands behind its length. Votes, transfers and
//! answers are in postcard's form.

mod append;
mod request;

pub(crate) use request::{
    Envelope, ForwardOutcome, Refusal, Request, SnapshotEnd, SnapshotPart, answer, read_answer,
    refuse,
};
