//! Keys of rows.
//!
//! ```text
//! tenant(16) · 01                                             the tenant's figures
//! tenant(16) · 02 · len(2) client · 01                        a session
//! tenant(16) · 02 · len(2) client · 02                        its received QoS 2 identifiers
//! tenant(16) · 02 · len(2) client · 03 · len(2) filter        one subscription
//! tenant(16) · 02 · len(2) client · 04 · last sequence(8)     one run of its queue
//! tenant(16) · 02 · len(2) client · 05 · sequence(8)          one message whose PUBREC came
//! tenant(16) · 02 · len(2) client · 06 · number(8)            a will
//! tenant(16) · 03 · log index(8) · chunk(4)                   a block of message bodies
//! tenant(16) · 04 · log index(8) · chunk(4)                   how many runs refer to that block
//! tenant(16) · 05 · due ms(8) · len(2) client                 a session that ends at that time
//! tenant(16) · 06 · len(2) client                             a client that is online: its session
//!                                                             is stored, or it has a will
//! tenant(16) · 07 · len(2) client · incarnation(8)            a publisher's QoS 2 numbers
//! tenant(16) · 08 · due ms(8) · len(2) client · number(8)     a will that is published at that time
//! tenant(16) · 09 · len(2) client                             which of several nodes has the client
//! ```
//! Numbers are big-endian, so that keys sort as they do. A run of a queue is keyed by its *last*
//! sequence: the run that holds a sequence is the first key from that sequence on. A will stands
//! behind all that ends with its session: it outlives the session.

use tessera_tenancy::TenantId;

use crate::encoding::{Reader, Writer};

const TENANT: u8 = 1;
const CLIENT: u8 = 2;
const BLOCK: u8 = 3;
const BLOCK_REFS: u8 = 4;
const DUE: u8 = 5;
const ONLINE: u8 = 6;
const PUBLISHER: u8 = 7;
const WILL_DUE: u8 = 8;
const REGISTRATION: u8 = 9;

const CLIENT_SESSION: u8 = 1;
const CLIENT_RECEIVED: u8 = 2;
const CLIENT_SUBSCRIPTION: u8 = 3;
const CLIENT_QUEUE: u8 = 4;
const CLIENT_MARK: u8 = 5;
const CLIENT_WILL: u8 = 6;
const CLIENT_END: u8 = 7;

/// A block of bodies: the log index of its entry, and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockId {
    pub(crate) index: u64,
    pub(crate) chunk: u32,
}

/// What a row of one tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row<'a> {
    Tenant,
    Session {
        client: &'a [u8],
    },
    Received {
        client: &'a [u8],
    },
    Subscription {
        client: &'a [u8],
        filter: &'a [u8],
    },
    Queue {
        client: &'a [u8],
        last: u64,
    },
    Mark {
        client: &'a [u8],
        sequence: u64,
    },
    Will {
        client: &'a [u8],
        number: u64,
    },
    Block(BlockId),
    BlockRefs(BlockId),
    Due {
        due_ms: u64,
        client: &'a [u8],
    },
    Online {
        client: &'a [u8],
    },
    Publisher {
        client: &'a [u8],
        incarnation: u64,
    },
    WillDue {
        due_ms: u64,
        client: &'a [u8],
        number: u64,
    },
    Registration {
        client: &'a [u8],
    },
}

impl<'a> Row<'a> {
    /// The whole key.
    pub(crate) fn key(self, tenant: TenantId) -> Vec<u8> {
        let mut key = Writer::with_capacity(64);
        key.raw(tenant.as_bytes());
        match self {
            Self::Tenant => key.byte(TENANT),
            Self::Session { client } => in_client(&mut key, client, CLIENT_SESSION),
            Self::Received { client } => in_client(&mut key, client, CLIENT_RECEIVED),
            Self::Subscription { client, filter } => {
                in_client(&mut key, client, CLIENT_SUBSCRIPTION).name(filter)
            }
            Self::Queue { client, last } => in_client(&mut key, client, CLIENT_QUEUE).long(last),
            Self::Mark { client, sequence } => {
                in_client(&mut key, client, CLIENT_MARK).long(sequence)
            }
            Self::Will { client, number } => in_client(&mut key, client, CLIENT_WILL).long(number),
            Self::Block(id) => key.byte(BLOCK).long(id.index).word(id.chunk),
            Self::BlockRefs(id) => key.byte(BLOCK_REFS).long(id.index).word(id.chunk),
            Self::Due { due_ms, client } => key.byte(DUE).long(due_ms).name(client),
            Self::Online { client } => key.byte(ONLINE).name(client),
            Self::Publisher {
                client,
                incarnation,
            } => key.byte(PUBLISHER).name(client).long(incarnation),
            Self::WillDue {
                due_ms,
                client,
                number,
            } => key.byte(WILL_DUE).long(due_ms).name(client).long(number),
            Self::Registration { client } => key.byte(REGISTRATION).name(client),
        };
        key.finish()
    }

    /// What [`key`](Self::key) wrote.
    pub(crate) fn parse(key: &'a [u8]) -> Option<(TenantId, Self)> {
        let mut reader = Reader::new(key);
        let tenant = TenantId::from_bytes(reader.id()?);
        let row = match reader.byte()? {
            TENANT => Self::Tenant,
            CLIENT => parse_in_client(&mut reader)?,
            BLOCK => Self::Block(parse_block(&mut reader)?),
            BLOCK_REFS => Self::BlockRefs(parse_block(&mut reader)?),
            DUE => Self::Due {
                due_ms: reader.long()?,
                client: reader.name()?,
            },
            ONLINE => Self::Online {
                client: reader.name()?,
            },
            PUBLISHER => Self::Publisher {
                client: reader.name()?,
                incarnation: reader.long()?,
            },
            WILL_DUE => Self::WillDue {
                due_ms: reader.long()?,
                client: reader.name()?,
                number: reader.long()?,
            },
            REGISTRATION => Self::Registration {
                client: reader.name()?,
            },
            _ => return None,
        };
        reader.end((tenant, row))
    }
}

fn in_client<'w>(key: &'w mut Writer, client: &[u8], part: u8) -> &'w mut Writer {
    key.byte(CLIENT).name(client).byte(part)
}

fn parse_in_client<'a>(reader: &mut Reader<'a>) -> Option<Row<'a>> {
    let client = reader.name()?;
    Some(match reader.byte()? {
        CLIENT_SESSION => Row::Session { client },
        CLIENT_RECEIVED => Row::Received { client },
        CLIENT_SUBSCRIPTION => Row::Subscription {
            client,
            filter: reader.name()?,
        },
        CLIENT_QUEUE => Row::Queue {
            client,
            last: reader.long()?,
        },
        CLIENT_MARK => Row::Mark {
            client,
            sequence: reader.long()?,
        },
        CLIENT_WILL => Row::Will {
            client,
            number: reader.long()?,
        },
        _ => return None,
    })
}

fn parse_block(reader: &mut Reader<'_>) -> Option<BlockId> {
    Some(BlockId {
        index: reader.long()?,
        chunk: reader.word()?,
    })
}

/// `from` and `until` of a scan.
pub(crate) type Span = (Vec<u8>, Vec<u8>);

/// What follows the tenant in the keys of a client: it decides the shard.
pub(crate) fn client_key_rest(client: &[u8]) -> Vec<u8> {
    let mut rest = Writer::with_capacity(client.len() + 3);
    rest.byte(CLIENT).name(client);
    rest.finish()
}

/// Everything of a client that ends with its session, but the session row.
pub(crate) fn belongings_of(tenant: TenantId, client: &[u8]) -> Span {
    (
        client_part(tenant, client, CLIENT_RECEIVED),
        client_part(tenant, client, CLIENT_WILL),
    )
}

/// All subscriptions of a client.
pub(crate) fn subscriptions_of(tenant: TenantId, client: &[u8]) -> Span {
    (
        client_part(tenant, client, CLIENT_SUBSCRIPTION),
        client_part(tenant, client, CLIENT_QUEUE),
    )
}

/// The runs of a queue that hold the sequence `from` or a later one.
pub(crate) fn queue_from(tenant: TenantId, client: &[u8], from: u64) -> Span {
    (
        Row::Queue { client, last: from }.key(tenant),
        client_part(tenant, client, CLIENT_MARK),
    )
}

/// The marks from the sequence `from` on.
pub(crate) fn marks_from(tenant: TenantId, client: &[u8], from: u64) -> Span {
    (
        Row::Mark {
            client,
            sequence: from,
        }
        .key(tenant),
        client_part(tenant, client, CLIENT_WILL),
    )
}

/// All wills of a client, in the order of their numbers.
pub(crate) fn wills_of(tenant: TenantId, client: &[u8]) -> Span {
    (
        client_part(tenant, client, CLIENT_WILL),
        client_part(tenant, client, CLIENT_END),
    )
}

/// Sessions of a tenant that end at or before `now_ms`.
pub(crate) fn due_until(tenant: TenantId, now_ms: u64) -> Span {
    let mut until = tenant_part(tenant, DUE);
    until.extend_from_slice(&now_ms.saturating_add(1).to_be_bytes());
    (tenant_part(tenant, DUE), until)
}

/// Wills of a tenant that are due at or before `now_ms`.
pub(crate) fn wills_due_until(tenant: TenantId, now_ms: u64) -> Span {
    let mut until = tenant_part(tenant, WILL_DUE);
    until.extend_from_slice(&now_ms.saturating_add(1).to_be_bytes());
    (tenant_part(tenant, WILL_DUE), until)
}

/// Clients of a tenant that are online.
pub(crate) fn online_of(tenant: TenantId) -> Span {
    (tenant_part(tenant, ONLINE), tenant_part(tenant, PUBLISHER))
}

/// Clients of a tenant that are connected to one of several nodes.
pub(crate) fn registrations_of(tenant: TenantId) -> Span {
    (
        tenant_part(tenant, REGISTRATION),
        tenant_part(tenant, REGISTRATION + 1),
    )
}

fn tenant_part(tenant: TenantId, kind: u8) -> Vec<u8> {
    let mut key = tenant.as_bytes().to_vec();
    key.push(kind);
    key
}

fn client_part(tenant: TenantId, client: &[u8], part: u8) -> Vec<u8> {
    let mut key = Writer::with_capacity(client.len() + 20);
    key.raw(tenant.as_bytes());
    in_client(&mut key, client, part);
    key.finish()
}

#[cfg(test)]
mod tests;
