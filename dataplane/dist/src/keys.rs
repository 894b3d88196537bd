//! Every key and value of dist.
//!
//! | rows | key | value |
//! |---|---|---|
//! | route | tenant (16) · `01` · *identity* | `01` · *options* |
//! | node session (local) | `01` · node (8) | `01` · incarnation (8) · number (8), then `01` if it has ended |
//! | route of a node session (local) | `02` · node (8) · number (8) · tenant (16) · *identity* | `01` |
//!
//! - *identity* = *levels* · *share* · *receiver*: which route it is within its tenant.
//! - *levels* = the filter's levels, then `00`. A level of up to 252 bytes is its length + 1 in one
//!   byte, then its bytes; a longer one is `fe` · length (2), then its bytes.
//! - *share* = `00` for none, `01` for `$share`, `02` for `$oshare`; then, if there is one, the length
//!   of its name (2) and the name.
//! - *receiver* = `01` · node (8) · number (8) for a transient one; `02` · length (2) · client
//!   identifier · incarnation (8) for a persistent one.
//! - *options* = one byte: `QoS` in bits 0 and 1, no local in bit 2, retain as published in bit 3, and
//!   bit 4 if a subscription identifier (4) follows.
//!
//! Numbers are big-endian. Each form has one encoding: what is not canonical is refused. An identity
//! is self-delimiting, so none is a prefix of another; the tenant has a fixed length, so no filter
//! and no client identifier reaches the keys of another tenant.

use bytes::Bytes;
use tessera_mqtt::{ClientId, FilterSpec, Qos, Share, ShareName, SubscriptionId, TopicFilter};
use tessera_tenancy::{Incarnation, NodeId, TenantId};

use crate::route::{NodeSession, Receiver, RouteOptions, SessionIncarnation};

/// Record kinds, the byte after the tenant. Persisted: never reused.
const KIND_ROUTE: u8 = 1;

/// Kinds of local rows, their first byte. Persisted: never reused.
const LOCAL_NODE_SESSION: u8 = 1;
const LOCAL_SESSION_ROUTE: u8 = 2;

/// The version of every value.
const VALUE_VERSION: u8 = 1;

const LEVELS_END: u8 = 0;
const LEVEL_LONG: u8 = 0xfe;
/// The longest level whose length takes one byte.
const LEVEL_SHORT_LEN_MAX: usize = 252;

const SHARE_NONE: u8 = 0;
const SHARE_PLAIN: u8 = 1;
const SHARE_ORDERED: u8 = 2;

const RECEIVER_TRANSIENT: u8 = 1;
const RECEIVER_PERSISTENT: u8 = 2;

const OPTION_QOS: u8 = 0b0_0011;
const OPTION_NO_LOCAL: u8 = 0b0_0100;
const OPTION_RETAIN_AS_PUBLISHED: u8 = 0b0_1000;
const OPTION_SUBSCRIPTION_ID: u8 = 0b1_0000;

/// The last byte of a session that has ended without another one after it.
const SESSION_ENDED: u8 = 1;

/// The last session of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeSessionRow {
    /// Of the process that opened it.
    pub(crate) incarnation: Incarnation,
    pub(crate) number: u64,
    /// The node was not heard of for too long.
    pub(crate) has_ended: bool,
}

/// The bytes are not of the form that the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the encoded form of {0}")]
pub(crate) struct Undecodable(pub(crate) &'static str);

/// Which route it is within its tenant, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity(Vec<u8>);

impl Identity {
    /// The identity of the route from that filter to that receiver.
    pub(crate) fn new(filter: &FilterSpec, receiver: &Receiver) -> Self {
        let mut out = Vec::with_capacity(filter.filter.as_bytes().len() + 64);
        put_levels(&mut out, filter.filter.as_bytes());
        put_share(&mut out, filter.share.as_ref());
        put_receiver(&mut out, receiver);
        Self(out)
    }

    /// What was encoded, if it is canonical.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, Receiver), Undecodable> {
        let (text, tail) = split_levels(bytes)?;
        TopicFilter::try_from(Bytes::from(text)).map_err(|_| UNDECODABLE)?;
        let (_, receiver) = parse_tail(tail)?;
        Ok((Self(bytes.to_vec()), receiver))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

const UNDECODABLE: Undecodable = Undecodable("a route's identity");

/// The text of the filter, and what follows the levels: share and receiver.
pub(crate) fn split_levels(identity: &[u8]) -> Result<(Vec<u8>, &[u8]), Undecodable> {
    let mut rest = Input(identity);
    let mut text = Vec::with_capacity(identity.len());
    let mut first = true;
    while let Some(level) = rest.level()? {
        if level.contains(&b'/') {
            return Err(UNDECODABLE);
        }
        if !first {
            text.push(b'/');
        }
        first = false;
        text.extend_from_slice(level);
    }
    Ok((text, rest.0))
}

/// Share and receiver, of the bytes that follow the levels.
pub(crate) fn parse_tail(tail: &[u8]) -> Result<(Option<Share>, Receiver), Undecodable> {
    let mut rest = Input(tail);
    let share = rest.share()?;
    let receiver = rest.receiver()?;
    rest.end().ok_or(UNDECODABLE)?;
    Ok((share, receiver))
}

/// The bytes that [`parse_tail`] reads.
pub(crate) fn put_tail(out: &mut Vec<u8>, share: Option<&Share>, receiver: &Receiver) {
    put_share(out, share);
    put_receiver(out, receiver);
}

/// The key of a route's row.
pub(crate) fn route_key(tenant: TenantId, identity: &[u8]) -> Vec<u8> {
    let mut key = routes_start(tenant);
    key.extend_from_slice(identity);
    key
}

/// Where a tenant's routes begin.
pub(crate) fn routes_start(tenant: TenantId) -> Vec<u8> {
    [tenant.as_bytes(), &[KIND_ROUTE][..]].concat()
}

/// Where a tenant's routes end: the first key after all of them.
pub(crate) fn routes_end(tenant: TenantId) -> Vec<u8> {
    [tenant.as_bytes(), &[KIND_ROUTE + 1][..]].concat()
}

/// The value of a route's row.
pub(crate) fn route_value(options: RouteOptions) -> Vec<u8> {
    let mut value = vec![VALUE_VERSION];
    put_options(&mut value, options);
    value
}

/// The options that a route's row holds.
pub(crate) fn parse_route_value(value: &[u8]) -> Result<RouteOptions, Undecodable> {
    let undecodable = Undecodable("a route's options");
    let options = value.strip_prefix(&[VALUE_VERSION]).ok_or(undecodable)?;
    parse_options(options).ok_or(undecodable)
}

/// One byte, and four more with a subscription identifier.
pub(crate) fn put_options(out: &mut Vec<u8>, options: RouteOptions) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        options.qos.as_u8()
            | flag(options.no_local, OPTION_NO_LOCAL)
            | flag(options.retain_as_published, OPTION_RETAIN_AS_PUBLISHED)
            | flag(options.subscription_id.is_some(), OPTION_SUBSCRIPTION_ID),
    );
    if let Some(id) = options.subscription_id {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
}

/// The options that all of `bytes` are.
pub(crate) fn parse_options(bytes: &[u8]) -> Option<RouteOptions> {
    let mut rest = Input(bytes);
    let flags = rest.byte()?;
    let known = OPTION_QOS | OPTION_NO_LOCAL | OPTION_RETAIN_AS_PUBLISHED | OPTION_SUBSCRIPTION_ID;
    if flags & !known != 0 {
        return None;
    }
    let subscription_id = if flags & OPTION_SUBSCRIPTION_ID == 0 {
        None
    } else {
        Some(SubscriptionId::new(u32::from_be_bytes(rest.array()?))?)
    };
    rest.end()?;
    Some(RouteOptions {
        qos: Qos::try_from(flags & OPTION_QOS).ok()?,
        no_local: flags & OPTION_NO_LOCAL != 0,
        retain_as_published: flags & OPTION_RETAIN_AS_PUBLISHED != 0,
        subscription_id,
    })
}

/// The local row that says which session a node has.
pub(crate) fn node_session_key(node: NodeId) -> [u8; 9] {
    let mut key = [LOCAL_NODE_SESSION; 9];
    key[1..].copy_from_slice(&node.0.to_be_bytes());
    key
}

/// The node that a node session's row is of.
pub(crate) fn parse_node_session_key(key: &[u8]) -> Result<NodeId, Undecodable> {
    let parse = |key: &[u8]| {
        let mut rest = Input(key.strip_prefix(&[LOCAL_NODE_SESSION])?);
        let node = NodeId(rest.number()?);
        rest.end()?;
        Some(node)
    };
    parse(key).ok_or(Undecodable("a node session's key"))
}

/// Where the rows of node sessions begin and end.
pub(crate) const fn node_sessions() -> ([u8; 1], [u8; 1]) {
    ([LOCAL_NODE_SESSION], [LOCAL_NODE_SESSION + 1])
}

/// The value of a node session's row.
pub(crate) fn node_session_value(row: NodeSessionRow) -> Vec<u8> {
    let mut value = vec![VALUE_VERSION];
    value.extend_from_slice(&row.incarnation.0.to_be_bytes());
    value.extend_from_slice(&row.number.to_be_bytes());
    if row.has_ended {
        value.push(SESSION_ENDED);
    }
    value
}

/// What a node session's row says.
pub(crate) fn parse_node_session_value(value: &[u8]) -> Result<NodeSessionRow, Undecodable> {
    let parse = |value: &[u8]| {
        let mut rest = Input(value.strip_prefix(&[VALUE_VERSION])?);
        let (incarnation, number) = (Incarnation(rest.number()?), rest.number()?);
        let has_ended = match rest.0 {
            [] => false,
            [SESSION_ENDED] => true,
            _other => return None,
        };
        Some(NodeSessionRow {
            incarnation,
            number,
            has_ended,
        })
    };
    parse(value).ok_or(Undecodable("a node session"))
}

/// The local row that lists a route under its node session.
pub(crate) fn session_route_key(
    session: NodeSession,
    tenant: TenantId,
    identity: &[u8],
) -> Vec<u8> {
    let mut key = session_routes_start(session);
    key.extend_from_slice(tenant.as_bytes());
    key.extend_from_slice(identity);
    key
}

/// Where the routes of a node session begin. Those of the node's former sessions stand before.
pub(crate) fn session_routes_start(session: NodeSession) -> Vec<u8> {
    let mut key = vec![LOCAL_SESSION_ROUTE];
    key.extend_from_slice(&session.node.0.to_be_bytes());
    key.extend_from_slice(&session.number.to_be_bytes());
    key
}

/// The value of every row under [`session_route_key`].
pub(crate) const SESSION_ROUTE_VALUE: [u8; 1] = [VALUE_VERSION];

/// Tenant and identity within a key of [`session_route_key`].
pub(crate) fn parse_session_route_key(key: &[u8]) -> Result<(TenantId, &[u8]), Undecodable> {
    let parse = |key| {
        let mut rest = Input(key);
        (rest.byte()? == LOCAL_SESSION_ROUTE).then_some(())?;
        rest.take(16)?;
        Some((TenantId::from_bytes(rest.array()?), rest.0))
    };
    parse(key).ok_or(Undecodable("a route of a node session"))
}

fn put_levels(out: &mut Vec<u8>, filter: &[u8]) {
    for level in filter.split(|byte| *byte == b'/') {
        match u8::try_from(level.len() + 1) {
            Ok(marker) if level.len() <= LEVEL_SHORT_LEN_MAX => out.push(marker),
            Ok(_) | Err(_) => {
                out.push(LEVEL_LONG);
                put_len(out, level.len());
            }
        }
        out.extend_from_slice(level);
    }
    out.push(LEVELS_END);
}

fn put_share(out: &mut Vec<u8>, share: Option<&Share>) {
    let Some(share) = share else {
        out.push(SHARE_NONE);
        return;
    };
    out.push(if share.ordered {
        SHARE_ORDERED
    } else {
        SHARE_PLAIN
    });
    put_text(out, share.name.as_bytes());
}

fn put_receiver(out: &mut Vec<u8>, receiver: &Receiver) {
    match receiver {
        Receiver::Transient(session) => {
            out.push(RECEIVER_TRANSIENT);
            out.extend_from_slice(&session.node.0.to_be_bytes());
            out.extend_from_slice(&session.number.to_be_bytes());
        }
        Receiver::Persistent {
            client,
            incarnation,
        } => {
            out.push(RECEIVER_PERSISTENT);
            put_text(out, client.as_bytes());
            out.extend_from_slice(&incarnation.0.to_be_bytes());
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_len(out, text.len());
    out.extend_from_slice(text);
}

/// Lengths of MQTT strings, which two bytes hold by their types.
fn put_len(out: &mut Vec<u8>, len: usize) {
    debug_assert!(u16::try_from(len).is_ok(), "longer than an MQTT string");
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
}

/// Bytes that are still to be read.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Whether nothing is left.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = u16::from_be_bytes(self.array()?);
        self.take(usize::from(len))
    }

    fn level(&mut self) -> Result<Option<&'a [u8]>, Undecodable> {
        let level = match self.byte().ok_or(UNDECODABLE)? {
            LEVELS_END => return Ok(None),
            LEVEL_LONG => self.text().filter(|text| text.len() > LEVEL_SHORT_LEN_MAX),
            marker => (marker < LEVEL_LONG)
                .then_some(usize::from(marker) - 1)
                .and_then(|len| self.take(len)),
        };
        level.map(Some).ok_or(UNDECODABLE)
    }

    fn share(&mut self) -> Result<Option<Share>, Undecodable> {
        let ordered = match self.byte().ok_or(UNDECODABLE)? {
            SHARE_NONE => return Ok(None),
            SHARE_PLAIN => false,
            SHARE_ORDERED => true,
            _unknown => return Err(UNDECODABLE),
        };
        let name = Bytes::copy_from_slice(self.text().ok_or(UNDECODABLE)?);
        let name = ShareName::try_from(name).map_err(|_| UNDECODABLE)?;
        Ok(Some(Share { name, ordered }))
    }

    fn receiver(&mut self) -> Result<Receiver, Undecodable> {
        self.try_receiver().ok_or(UNDECODABLE)
    }

    fn try_receiver(&mut self) -> Option<Receiver> {
        match self.byte()? {
            RECEIVER_TRANSIENT => Some(Receiver::Transient(NodeSession {
                node: NodeId(self.number()?),
                number: self.number()?,
            })),
            RECEIVER_PERSISTENT => Some(Receiver::Persistent {
                client: ClientId::try_from(Bytes::copy_from_slice(self.text()?)).ok()?,
                incarnation: SessionIncarnation(self.number()?),
            }),
            _unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
