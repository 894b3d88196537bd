//! The replicated writes of dist, and their replies.
//!
//! | ordinal | command | scope | body |
//! |---|---|---|---|
//! | `01` | [`Command::OpenNodeSession`] | group | node (8) · incarnation (8) · least number (8) |
//! | `02` | [`Command::AddRoute`] | tenant | length (4) · identity · options |
//! | `03` | [`Command::RemoveRoute`] | tenant | length (4) · identity |
//! | `04` | [`Command::RemoveEndedRoutes`] | group | node (8) · limit (4) |
//! | `05` | [`Command::EndNodeSession`] | group | node (8) · number (8) · term (8) |
//!
//! | ordinal | reply | body |
//! |---|---|---|
//! | `01` | [`Reply::Done`] | |
//! | `02` | [`Reply::Opened`] | number (8) |
//! | `03` | [`Reply::Removed`] | routes (4) · more (1) |
//! | `80` | [`Reply::Refused`] | refusal (1) |
//!
//! Before each stand the version and the ordinal, a byte each. Identity and options are those of
//! the [keys](crate::keys). Ordinals are persisted in the log: append only, never reused.

use tessera_tenancy::{Incarnation, NodeId};

use crate::keys::{Identity, Input, Undecodable, parse_options, put_options};
use crate::route::{NodeSession, Receiver, RouteOptions};

const VERSION: u8 = 1;

const OPEN_NODE_SESSION: u8 = 1;
const ADD_ROUTE: u8 = 2;
const REMOVE_ROUTE: u8 = 3;
const REMOVE_ENDED_ROUTES: u8 = 4;
const END_NODE_SESSION: u8 = 5;

const DONE: u8 = 1;
const OPENED: u8 = 2;
const REMOVED: u8 = 3;
const REFUSED: u8 = 0x80;

/// A change of routes or node sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Opens the session of a node's incarnation and ends the node's former ones. Repeating it
    /// gives the same number again.
    OpenNodeSession {
        node: NodeId,
        incarnation: Incarnation,
        /// The number is at least this: so a node gets the same one in every shard.
        number_min: u64,
    },
    /// Adds a route or replaces its options.
    AddRoute {
        identity: Identity,
        receiver: Receiver,
        options: RouteOptions,
    },
    /// Removes a route if it is there.
    RemoveRoute {
        identity: Identity,
        receiver: Receiver,
    },
    /// Removes up to `limit` routes of the ended sessions of a node.
    RemoveEndedRoutes { node: NodeId, limit: u32 },
    /// Ends a session, if it is the node's present one and the leader of that term says so: a later
    /// one may have renewed its lease.
    EndNodeSession { session: NodeSession, term: u64 },
}

impl Command {
    /// Whether it leaves less behind than there was, so that it is taken although the disk is full.
    /// Opening a node session does: it ends the former ones, and a node must be able to start on a
    /// full disk.
    pub(crate) const fn frees(&self) -> bool {
        match self {
            Self::OpenNodeSession { .. }
            | Self::RemoveRoute { .. }
            | Self::RemoveEndedRoutes { .. }
            | Self::EndNodeSession { .. } => true,
            Self::AddRoute { .. } => false,
        }
    }
}

/// The answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The route is, or is not, there now, as the command said.
    Done,
    /// The session is open under that number.
    Opened { number: u64 },
    /// So many routes were removed; `more` if some are left.
    Removed { routes: u32, more: bool },
    /// Nothing changed.
    Refused(Refusal),
}

/// Why a command was not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node session of a transient route is not the node's present one.
    #[error("the node session has ended")]
    SessionEnded,
    /// A larger incarnation of the node opened its session before.
    #[error("a later incarnation of the node has opened its session")]
    Superseded,
    /// The route's key would be longer than a row may have.
    #[error("topic filter and client identifier are too long together")]
    TooLong,
    /// The command is not of a form that this version reads, or came in the wrong scope.
    #[error("the command is malformed")]
    Malformed,
}

impl Command {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::OpenNodeSession {
                node,
                incarnation,
                number_min,
            } => {
                out.push(OPEN_NODE_SESSION);
                for number in [node.0, incarnation.0, *number_min] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
            Self::AddRoute {
                identity, options, ..
            } => {
                out.push(ADD_ROUTE);
                put_identity(&mut out, identity);
                put_options(&mut out, *options);
            }
            Self::RemoveRoute { identity, .. } => {
                out.push(REMOVE_ROUTE);
                put_identity(&mut out, identity);
            }
            Self::RemoveEndedRoutes { node, limit } => {
                out.push(REMOVE_ENDED_ROUTES);
                out.extend_from_slice(&node.0.to_be_bytes());
                out.extend_from_slice(&limit.to_be_bytes());
            }
            Self::EndNodeSession { session, term } => {
                out.push(END_NODE_SESSION);
                for number in [session.node.0, session.number, *term] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        decode_command(bytes).ok_or(Undecodable("a command"))
    }
}

fn decode_command(bytes: &[u8]) -> Option<Command> {
    let (ordinal, mut rest) = open_envelope(bytes)?;
    let command = match ordinal {
        OPEN_NODE_SESSION => Command::OpenNodeSession {
            node: NodeId(rest.number()?),
            incarnation: Incarnation(rest.number()?),
            number_min: rest.number()?,
        },
        ADD_ROUTE => {
            let (identity, receiver) = take_identity(&mut rest)?;
            let options = parse_options(std::mem::take(&mut rest.0))?;
            Command::AddRoute {
                identity,
                receiver,
                options,
            }
        }
        REMOVE_ROUTE => {
            let (identity, receiver) = take_identity(&mut rest)?;
            Command::RemoveRoute { identity, receiver }
        }
        REMOVE_ENDED_ROUTES => Command::RemoveEndedRoutes {
            node: NodeId(rest.number()?),
            limit: u32::from_be_bytes(rest.array()?),
        },
        END_NODE_SESSION => Command::EndNodeSession {
            session: NodeSession {
                node: NodeId(rest.number()?),
                number: rest.number()?,
            },
            term: rest.number()?,
        },
        _unknown => return None,
    };
    rest.end()?;
    Some(command)
}

impl Reply {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Done => out.push(DONE),
            Self::Opened { number } => {
                out.push(OPENED);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Removed { routes, more } => {
                out.push(REMOVED);
                out.extend_from_slice(&routes.to_be_bytes());
                out.push(u8::from(more));
            }
            Self::Refused(refusal) => out.extend([REFUSED, refusal.ordinal()]),
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        decode_reply(bytes).ok_or(Undecodable("a reply"))
    }
}

fn decode_reply(bytes: &[u8]) -> Option<Reply> {
    let (ordinal, mut rest) = open_envelope(bytes)?;
    let reply = match ordinal {
        DONE => Reply::Done,
        OPENED => Reply::Opened {
            number: rest.number()?,
        },
        REMOVED => Reply::Removed {
            routes: u32::from_be_bytes(rest.array()?),
            more: match rest.byte()? {
                0 => false,
                1 => true,
                _other => return None,
            },
        },
        REFUSED => Reply::Refused(Refusal::of_ordinal(rest.byte()?)?),
        _unknown => return None,
    };
    rest.end()?;
    Some(reply)
}

impl Refusal {
    const ALL: [Self; 4] = [
        Self::SessionEnded,
        Self::Superseded,
        Self::TooLong,
        Self::Malformed,
    ];

    const fn ordinal(self) -> u8 {
        match self {
            Self::SessionEnded => 1,
            Self::Superseded => 2,
            Self::TooLong => 3,
            Self::Malformed => 4,
        }
    }

    fn of_ordinal(ordinal: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|refusal| refusal.ordinal() == ordinal)
    }
}

fn open_envelope(bytes: &[u8]) -> Option<(u8, Input<'_>)> {
    let mut rest = Input(bytes.strip_prefix(&[VERSION])?);
    Some((rest.byte()?, rest))
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    let bytes = identity.as_bytes();
    debug_assert!(
        u32::try_from(bytes.len()).is_ok(),
        "two MQTT strings at most"
    );
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take_identity(rest: &mut Input<'_>) -> Option<(Identity, Receiver)> {
    let len = u32::from_be_bytes(rest.array()?);
    Identity::parse(rest.take(usize::try_from(len).ok()?)?).ok()
}

#[cfg(test)]
mod tests;
