//! What the log carries: one command, as bytes. The tenant is the command's scope.
//!
//! ```text
//! form(1) = 01 · kind(1) · fields…
//! ```
//! Kinds are never used again. A command that does not read is answered
//! [`Answer::Malformed`](crate::answer::Answer::Malformed) and changes nothing.

use bytes::Bytes;
use tessera_tenancy::{NodeId, PrincipalId};

use crate::encoding::{Reader, Writer};
use crate::queue::{OverflowPolicy, QueueBounds};
use crate::registration::OwnerNode;
use crate::rows::Mark;
use crate::run::Delivery;
use crate::session::WillEnd;

/// The form that this version writes and reads.
const FORM: u8 = 1;

/// Who acts: refused as stale unless it is the session's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence<'a> {
    pub(crate) client: &'a [u8],
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
}

/// A change of the inbox of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Takes a stored session over, or makes one.
    Attach(Attach<'a>),
    /// The owner leaves.
    Detach {
        fence: Fence<'a>,
        expiry_seconds: Option<u32>,
        sent_below: u64,
        will: WillEnd,
    },
    /// The owner's process is gone, or it never came to be: nobody has the session. Among several
    /// nodes only if the client is still registered under that number.
    Release {
        client: &'a [u8],
        registration: Option<u64>,
    },
    /// A connection without a stored session is gone from the node where it was registered.
    Leave { client: &'a [u8], registration: u64 },
    /// Removes a session whose time has passed, or goes on removing it.
    Expire { client: &'a [u8] },
    /// Records that a route is about to be added.
    Subscribe {
        fence: Fence<'a>,
        filter: &'a [u8],
        options: u8,
        subscription_id: u32,
    },
    /// Records that a route is about to be removed.
    Unsubscribe { fence: Fence<'a>, filter: &'a [u8] },
    /// The route was added or removed.
    Confirm { fence: Fence<'a>, filter: &'a [u8] },
    /// A message for queues.
    Insert(Insert<'a>),
    /// Everything below is acknowledged.
    Acknowledge { fence: Fence<'a>, below: u64 },
    /// PUBREC or PUBCOMP of one message.
    Mark {
        fence: Fence<'a>,
        sequence: u64,
        mark: Mark,
    },
    /// A QoS 2 PUBLISH came: its identifier gets a number.
    Publishing { fence: Fence<'a>, id: u16 },
    /// All its receivers have it.
    PublishReceived { fence: Fence<'a>, id: u16 },
    /// PUBREL came: the identifier is free.
    PublishReleased { fence: Fence<'a>, id: u16 },
    /// A connection without a stored session leaves its will.
    LeaveWill {
        client: &'a [u8],
        number: u64,
        end: WillEnd,
    },
    /// Every receiver has the will, or nobody may have it: it is no more.
    ForgetWill { client: &'a [u8], number: u64 },
}

/// The will of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewWill<'a> {
    pub(crate) delay_seconds: u32,
    /// The message and its writer, in the stored form of messages.
    pub(crate) body: &'a [u8],
}

/// Fields of [`Command::Attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attach<'a> {
    pub(crate) client: &'a [u8],
    pub(crate) principal: PrincipalId,
    pub(crate) clean_start: bool,
    /// Make a session if there is none.
    pub(crate) create: bool,
    pub(crate) expiry_seconds: u32,
    pub(crate) will: Option<NewWill<'a>>,
    /// The node that has the connection, if it is one of several: the client is registered with it.
    pub(crate) owner: Option<OwnerNode>,
}

/// Fields of [`Command::Insert`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insert<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) bounds: QueueBounds,
    pub(crate) origin: Option<Origin<'a>>,
    pub(crate) targets: Vec<InsertTarget<'a>>,
}

/// One QoS 2 publish. Its targets are in the order of their clients' bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    pub(crate) client: &'a [u8],
    pub(crate) incarnation: u64,
    pub(crate) number: u64,
    pub(crate) floor: u64,
    /// The last target of the command before, of several of this publish.
    pub(crate) after: Option<&'a [u8]>,
    /// No command with more targets of this publish follows for this shard.
    pub(crate) last: bool,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InsertTarget<'a> {
    pub(crate) client: &'a [u8],
    pub(crate) incarnation: u64,
    pub(crate) delivery: Delivery,
    /// What the owner's process knows to be unsent from here on; 0 if nobody is connected,
    /// [`SENT_UNKNOWN`](crate::bounds::SENT_UNKNOWN) if perhaps at another node.
    pub(crate) sent_below: u64,
}

mod kind {
    pub(super) const ATTACH: u8 = 1;
    pub(super) const DETACH: u8 = 2;
    pub(super) const RELEASE: u8 = 3;
    pub(super) const EXPIRE: u8 = 4;
    pub(super) const SUBSCRIBE: u8 = 5;
    pub(super) const UNSUBSCRIBE: u8 = 6;
    pub(super) const CONFIRM: u8 = 7;
    pub(super) const INSERT: u8 = 8;
    pub(super) const ACKNOWLEDGE: u8 = 9;
    pub(super) const MARK: u8 = 10;
    pub(super) const PUBLISHING: u8 = 11;
    pub(super) const PUBLISH_RECEIVED: u8 = 12;
    pub(super) const PUBLISH_RELEASED: u8 = 13;
    pub(super) const ATTACH_WITH_WILL: u8 = 14;
    pub(super) const DETACH_WITH_WILL: u8 = 15;
    pub(super) const LEAVE_WILL: u8 = 16;
    pub(super) const FORGET_WILL: u8 = 17;
    pub(super) const ATTACH_REGISTERED: u8 = 18;
    pub(super) const RELEASE_REGISTERED: u8 = 19;
    pub(super) const LEAVE: u8 = 20;
}

impl<'a> Command<'a> {
    /// As the log carries it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64);
        self.write(out.byte(FORM));
        out.finish().into()
    }

    /// Whether it leaves less behind than there was, now or once what it is a step of is done, so that
    /// it is taken although the disk is full. A mark is such a step: without PUBREC and PUBCOMP a
    /// QoS 2 message does not leave its queue. So is the confirmation of an intent, which takes the
    /// row that is there.
    pub(crate) const fn frees(&self) -> bool {
        match self {
            Self::Detach { .. }
            | Self::Release { .. }
            | Self::Leave { .. }
            | Self::Expire { .. }
            | Self::Unsubscribe { .. }
            | Self::Confirm { .. }
            | Self::Acknowledge { .. }
            | Self::Mark { .. }
            | Self::PublishReceived { .. }
            | Self::PublishReleased { .. }
            | Self::LeaveWill { .. }
            | Self::ForgetWill { .. } => true,
            Self::Attach(_)
            | Self::Subscribe { .. }
            | Self::Insert(_)
            | Self::Publishing { .. } => false,
        }
    }

    /// What [`encode`](Self::encode) wrote, and nothing else.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORM {
            return None;
        }
        let kind = reader.byte()?;
        let command = read_fields(kind, &mut reader)?;
        reader.end(command)
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Attach(attach) => attach.write(out),
            Self::Detach {
                fence,
                expiry_seconds,
                sent_below,
                will,
            } => write_detach(out, *fence, *expiry_seconds, *sent_below, *will),
            Self::Release {
                client,
                registration,
            } => write_release(out, client, *registration),
            Self::Leave {
                client,
                registration,
            } => {
                out.byte(kind::LEAVE).name(client).number(*registration);
            }
            Self::Expire { client } => {
                out.byte(kind::EXPIRE).name(client);
            }
            Self::Subscribe {
                fence,
                filter,
                options,
                subscription_id,
            } => {
                fence.write(out.byte(kind::SUBSCRIBE));
                out.name(filter)
                    .byte(*options)
                    .number(u64::from(*subscription_id));
            }
            Self::Unsubscribe { fence, filter } => {
                fence.write(out.byte(kind::UNSUBSCRIBE)).name(filter);
            }
            Self::Confirm { fence, filter } => {
                fence.write(out.byte(kind::CONFIRM)).name(filter);
            }
            Self::Insert(insert) => insert.write(out.byte(kind::INSERT)),
            Self::Acknowledge { fence, below } => {
                fence.write(out.byte(kind::ACKNOWLEDGE)).number(*below);
            }
            Self::Mark {
                fence,
                sequence,
                mark,
            } => {
                fence
                    .write(out.byte(kind::MARK))
                    .number(*sequence)
                    .raw(&mark.encode());
            }
            Self::Publishing { fence, id } => {
                fence.write(out.byte(kind::PUBLISHING)).short(*id);
            }
            Self::PublishReceived { fence, id } => {
                fence.write(out.byte(kind::PUBLISH_RECEIVED)).short(*id);
            }
            Self::PublishReleased { fence, id } => {
                fence.write(out.byte(kind::PUBLISH_RELEASED)).short(*id);
            }
            Self::LeaveWill {
                client,
                number,
                end,
            } => {
                out.byte(kind::LEAVE_WILL)
                    .name(client)
                    .number(*number)
                    .byte(will_end_byte(*end));
            }
            Self::ForgetWill { client, number } => {
                out.byte(kind::FORGET_WILL).name(client).number(*number);
            }
        }
    }
}

fn write_detach(
    out: &mut Writer,
    fence: Fence<'_>,
    expiry_seconds: Option<u32>,
    sent_below: u64,
    will: WillEnd,
) {
    match will {
        WillEnd::Dropped => out.byte(kind::DETACH),
        WillEnd::Published | WillEnd::PublishedUnlessBack => {
            out.byte(kind::DETACH_WITH_WILL).byte(will_end_byte(will))
        }
    };
    fence.write(out);
    out.flag(expiry_seconds.is_some())
        .word(expiry_seconds.unwrap_or_default());
    out.number(sent_below);
}

fn write_release(out: &mut Writer, client: &[u8], registration: Option<u64>) {
    match registration {
        None => out.byte(kind::RELEASE).name(client),
        Some(registration) => out
            .byte(kind::RELEASE_REGISTERED)
            .name(client)
            .number(registration),
    };
}

fn read_fields<'a>(kind: u8, reader: &mut Reader<'a>) -> Option<Command<'a>> {
    Some(match kind {
        kind::ATTACH => Command::Attach(Attach::read(reader)?),
        kind::ATTACH_WITH_WILL => {
            let attach = Attach::read(reader)?;
            let will = Some(NewWill {
                delay_seconds: reader.word()?,
                body: reader.blob()?,
            });
            Command::Attach(Attach { will, ..attach })
        }
        kind::ATTACH_REGISTERED => Command::Attach(read_registered(reader)?),
        kind::DETACH => read_detach(reader, WillEnd::Dropped)?,
        kind::DETACH_WITH_WILL => {
            let will = read_will_end(reader).filter(|end| *end != WillEnd::Dropped)?;
            read_detach(reader, will)?
        }
        kind::RELEASE => Command::Release {
            client: reader.name()?,
            registration: None,
        },
        kind::RELEASE_REGISTERED => Command::Release {
            client: reader.name()?,
            registration: Some(reader.number()?),
        },
        kind::LEAVE => Command::Leave {
            client: reader.name()?,
            registration: reader.number()?,
        },
        kind::EXPIRE => Command::Expire {
            client: reader.name()?,
        },
        kind::SUBSCRIBE => Command::Subscribe {
            fence: Fence::read(reader)?,
            filter: reader.name()?,
            options: reader.byte()?,
            subscription_id: reader.small()?,
        },
        kind::UNSUBSCRIBE => Command::Unsubscribe {
            fence: Fence::read(reader)?,
            filter: reader.name()?,
        },
        kind::CONFIRM => Command::Confirm {
            fence: Fence::read(reader)?,
            filter: reader.name()?,
        },
        kind::INSERT => Command::Insert(Insert::read(reader)?),
        kind::ACKNOWLEDGE => Command::Acknowledge {
            fence: Fence::read(reader)?,
            below: reader.number()?,
        },
        kind::MARK => Command::Mark {
            fence: Fence::read(reader)?,
            sequence: reader.number()?,
            mark: Mark::decode(reader.take(2)?)?,
        },
        kind::PUBLISHING => Command::Publishing {
            fence: Fence::read(reader)?,
            id: reader.short()?,
        },
        kind::PUBLISH_RECEIVED => Command::PublishReceived {
            fence: Fence::read(reader)?,
            id: reader.short()?,
        },
        kind::PUBLISH_RELEASED => Command::PublishReleased {
            fence: Fence::read(reader)?,
            id: reader.short()?,
        },
        kind::LEAVE_WILL => Command::LeaveWill {
            client: reader.name()?,
            number: reader.number()?,
            end: read_will_end(reader)?,
        },
        kind::FORGET_WILL => Command::ForgetWill {
            client: reader.name()?,
            number: reader.number()?,
        },
        _ => return None,
    })
}

fn read_registered<'a>(reader: &mut Reader<'a>) -> Option<Attach<'a>> {
    let attach = Attach::read(reader)?;
    let owner = OwnerNode {
        node: NodeId(reader.number()?),
        number: reader.number()?,
    };
    let will = match reader.flag()? {
        false => None,
        true => Some(NewWill {
            delay_seconds: reader.word()?,
            body: reader.blob()?,
        }),
    };
    Some(Attach {
        will,
        owner: Some(owner),
        ..attach
    })
}

fn read_detach<'a>(reader: &mut Reader<'a>, will: WillEnd) -> Option<Command<'a>> {
    let fence = Fence::read(reader)?;
    let (given, seconds) = (reader.flag()?, reader.word()?);
    Some(Command::Detach {
        fence,
        expiry_seconds: given.then_some(seconds),
        sent_below: reader.number()?,
        will,
    })
}

const fn will_end_byte(end: WillEnd) -> u8 {
    match end {
        WillEnd::Dropped => 0,
        WillEnd::Published => 1,
        WillEnd::PublishedUnlessBack => 2,
    }
}

fn read_will_end(reader: &mut Reader<'_>) -> Option<WillEnd> {
    Some(match reader.byte()? {
        0 => WillEnd::Dropped,
        1 => WillEnd::Published,
        2 => WillEnd::PublishedUnlessBack,
        _ => return None,
    })
}

impl<'a> Fence<'a> {
    fn write<'w>(&self, out: &'w mut Writer) -> &'w mut Writer {
        out.name(self.client)
            .number(self.incarnation)
            .number(self.epoch)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            client: reader.name()?,
            incarnation: reader.number()?,
            epoch: reader.number()?,
        })
    }
}

impl<'a> Attach<'a> {
    fn write(&self, out: &mut Writer) {
        out.byte(match (self.owner, self.will) {
            (Some(_), _) => kind::ATTACH_REGISTERED,
            (None, None) => kind::ATTACH,
            (None, Some(_)) => kind::ATTACH_WITH_WILL,
        });
        out.name(self.client).raw(self.principal.as_bytes());
        out.flag(self.clean_start)
            .flag(self.create)
            .word(self.expiry_seconds);
        if let Some(owner) = self.owner {
            out.number(owner.node.0)
                .number(owner.number)
                .flag(self.will.is_some());
        }
        if let Some(will) = &self.will {
            out.word(will.delay_seconds).blob(will.body);
        }
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            client: reader.name()?,
            principal: PrincipalId::from_bytes(reader.id()?),
            clean_start: reader.flag()?,
            create: reader.flag()?,
            expiry_seconds: reader.word()?,
            will: None,
            owner: None,
        })
    }
}

impl<'a> Insert<'a> {
    fn write(&self, out: &mut Writer) {
        out.blob(self.body)
            .word(self.bounds.messages_max)
            .number(self.bounds.bytes_max);
        out.byte(match self.bounds.overflow {
            OverflowPolicy::DropOldest => 0,
            OverflowPolicy::DropNewest => 1,
            OverflowPolicy::RefusePublisher => 2,
        });
        out.flag(self.origin.is_some());
        if let Some(origin) = &self.origin {
            origin.write(out);
        }
        out.count(self.targets.len());
        for target in &self.targets {
            out.name(target.client)
                .number(target.incarnation)
                .number(target.sent_below);
            target.delivery.write(out);
        }
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let body = reader.blob()?;
        let bounds = QueueBounds {
            messages_max: reader.word()?,
            bytes_max: reader.number()?,
            overflow: match reader.byte()? {
                0 => OverflowPolicy::DropOldest,
                1 => OverflowPolicy::DropNewest,
                2 => OverflowPolicy::RefusePublisher,
                _ => return None,
            },
        };
        let origin = match reader.flag()? {
            false => None,
            true => Some(Origin::read(reader)?),
        };
        let count = reader.count()?;
        let mut targets = Vec::with_capacity(count.min(1_024));
        for _ in 0..count {
            targets.push(InsertTarget::read(reader)?);
        }
        Some(Self {
            body,
            bounds,
            origin,
            targets,
        })
    }
}

impl<'a> Origin<'a> {
    fn write(&self, out: &mut Writer) {
        out.name(self.client)
            .number(self.incarnation)
            .number(self.number)
            .number(self.floor);
        match (self.after, self.last) {
            (None, last) => out.flag(last),
            (Some(after), false) => out.byte(2).name(after),
            (Some(after), true) => out.byte(3).name(after),
        };
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (client, incarnation) = (reader.name()?, reader.number()?);
        let (number, floor) = (reader.number()?, reader.number()?);
        let (after, last) = match reader.byte()? {
            0 => (None, false),
            1 => (None, true),
            2 => (Some(reader.name()?), false),
            3 => (Some(reader.name()?), true),
            _ => return None,
        };
        Some(Self {
            client,
            incarnation,
            number,
            floor,
            after,
            last,
        })
    }
}

impl<'a> InsertTarget<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            client: reader.name()?,
            incarnation: reader.number()?,
            sent_below: reader.number()?,
            delivery: Delivery::read(reader)?,
        })
    }
}

#[cfg(test)]
mod tests;
