//! What a command answers. Not stored: read by the process that proposed it.

use bytes::Bytes;
use tessera_tenancy::NodeId;

use crate::encoding::{Reader, Writer};
use crate::queue::{InsertOutcome, QueueBound};
use crate::registration::OwnerNode;

const FORM: u8 = 1;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The command does not read; it changed nothing.
    Malformed,
    /// Done, or done before.
    Done,
    /// As far as one step goes: send the command again.
    More,
    /// Another owner has the session, or there is no such session.
    Stale,
    /// There is nothing of that name.
    Unknown,
    /// A bound of the session is reached.
    Full,
    /// Done; whether it was there before.
    Existed(bool),
    /// What came of an attach, and what was removed for it.
    Attach {
        outcome: AttachOutcome,
        removed: Removed,
        /// The number of the will that came with it.
        will: Option<u64>,
        /// Where the client is connected now and was before, among several nodes.
        registered: Option<Registered>,
    },
    /// What was removed; whether all of it.
    Ended { done: bool, removed: Removed },
    /// The number of a publish.
    Number { number: u64, floor: u64 },
    /// For each target.
    Inserted(Vec<InsertOutcome>),
}

/// What came of an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttachOutcome {
    Owned {
        incarnation: u64,
        epoch: u64,
        resumed: bool,
    },
    /// There is no session, and none was to be made.
    Absent,
    /// The old one is not all removed: send the command again.
    More,
    OtherPrincipal,
}

/// A client's connection among several nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) registration: u64,
    /// The node that had the connection before.
    pub(crate) former: Option<OwnerNode>,
}

/// Subscriptions that were removed with their session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Removed {
    pub(crate) incarnation: u64,
    pub(crate) filters: Vec<Vec<u8>>,
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(16);
        out.byte(FORM);
        match self {
            Self::Malformed => {
                out.byte(0);
            }
            Self::Done => {
                out.byte(1);
            }
            Self::More => {
                out.byte(2);
            }
            Self::Stale => {
                out.byte(3);
            }
            Self::Unknown => {
                out.byte(4);
            }
            Self::Full => {
                out.byte(5);
            }
            Self::Existed(existed) => {
                out.byte(6).flag(*existed);
            }
            Self::Attach {
                outcome,
                removed,
                will,
                registered,
            } => {
                outcome.write(out.byte(7));
                removed.write(&mut out);
                out.flag(will.is_some()).number(will.unwrap_or_default());
                out.flag(registered.is_some());
                if let Some(registered) = registered {
                    registered.write(&mut out);
                }
            }
            Self::Ended { done, removed } => {
                out.byte(8).flag(*done);
                removed.write(&mut out);
            }
            Self::Number { number, floor } => {
                out.byte(9).number(*number).number(*floor);
            }
            Self::Inserted(outcomes) => {
                out.byte(10).count(outcomes.len());
                outcomes
                    .iter()
                    .for_each(|outcome| write_outcome(*outcome, &mut out));
            }
        }
        out.finish().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORM {
            return None;
        }
        let answer = match reader.byte()? {
            0 => Self::Malformed,
            1 => Self::Done,
            2 => Self::More,
            3 => Self::Stale,
            4 => Self::Unknown,
            5 => Self::Full,
            6 => Self::Existed(reader.flag()?),
            7 => Self::Attach {
                outcome: AttachOutcome::read(&mut reader)?,
                removed: Removed::read(&mut reader)?,
                will: {
                    let (given, number) = (reader.flag()?, reader.number()?);
                    given.then_some(number)
                },
                registered: match reader.flag()? {
                    false => None,
                    true => Some(Registered::read(&mut reader)?),
                },
            },
            8 => Self::Ended {
                done: reader.flag()?,
                removed: Removed::read(&mut reader)?,
            },
            9 => Self::Number {
                number: reader.number()?,
                floor: reader.number()?,
            },
            10 => {
                let count = reader.count()?;
                let outcomes = (0..count).map(|_| read_outcome(&mut reader));
                Self::Inserted(outcomes.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        reader.end(answer)
    }
}

impl AttachOutcome {
    fn write(self, out: &mut Writer) {
        match self {
            Self::Owned {
                incarnation,
                epoch,
                resumed,
            } => out.byte(0).number(incarnation).number(epoch).flag(resumed),
            Self::Absent => out.byte(1),
            Self::More => out.byte(2),
            Self::OtherPrincipal => out.byte(3),
        };
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.byte()? {
            0 => Self::Owned {
                incarnation: reader.number()?,
                epoch: reader.number()?,
                resumed: reader.flag()?,
            },
            1 => Self::Absent,
            2 => Self::More,
            3 => Self::OtherPrincipal,
            _ => return None,
        })
    }
}

impl Registered {
    fn write(self, out: &mut Writer) {
        out.number(self.registration).flag(self.former.is_some());
        if let Some(former) = self.former {
            out.number(former.node.0).number(former.number);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let registration = reader.number()?;
        let former = match reader.flag()? {
            false => None,
            true => Some(OwnerNode {
                node: NodeId(reader.number()?),
                number: reader.number()?,
            }),
        };
        Some(Self {
            registration,
            former,
        })
    }
}

impl Removed {
    fn write(&self, out: &mut Writer) {
        out.number(self.incarnation).count(self.filters.len());
        for filter in &self.filters {
            out.name(filter);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let incarnation = reader.number()?;
        let count = reader.count()?;
        let filters = (0..count).map(|_| reader.name().map(<[u8]>::to_vec));
        Some(Self {
            incarnation,
            filters: filters.collect::<Option<_>>()?,
        })
    }
}

fn write_outcome(outcome: InsertOutcome, out: &mut Writer) {
    match outcome {
        InsertOutcome::Stored => out.byte(0),
        InsertOutcome::Overflowed { dropped, stored } => {
            out.byte(1).number(u64::from(dropped)).flag(stored)
        }
        InsertOutcome::NoSubscription => out.byte(2),
        InsertOutcome::Expired => out.byte(3),
        InsertOutcome::Duplicate => out.byte(4),
        InsertOutcome::Refused { full } => out.byte(5).byte(bound_byte(full)),
        InsertOutcome::Withheld => out.byte(6),
    };
}

fn read_outcome(reader: &mut Reader<'_>) -> Option<InsertOutcome> {
    Some(match reader.byte()? {
        0 => InsertOutcome::Stored,
        1 => InsertOutcome::Overflowed {
            dropped: reader.small()?,
            stored: reader.flag()?,
        },
        2 => InsertOutcome::NoSubscription,
        3 => InsertOutcome::Expired,
        4 => InsertOutcome::Duplicate,
        5 => InsertOutcome::Refused {
            full: read_bound(reader)?,
        },
        6 => InsertOutcome::Withheld,
        _ => return None,
    })
}

const fn bound_byte(bound: QueueBound) -> u8 {
    match bound {
        QueueBound::Messages => 0,
        QueueBound::Bytes => 1,
    }
}

fn read_bound(reader: &mut Reader<'_>) -> Option<QueueBound> {
    Some(match reader.byte()? {
        0 => QueueBound::Messages,
        1 => QueueBound::Bytes,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_back() {
        let removed = Removed {
            incarnation: 7,
            filters: vec![b"a/#".to_vec(), b"b".to_vec()],
        };
        let owned = AttachOutcome::Owned {
            incarnation: 1,
            epoch: 300,
            resumed: true,
        };
        let outcomes = vec![
            InsertOutcome::Stored,
            InsertOutcome::Overflowed {
                dropped: 200,
                stored: true,
            },
            InsertOutcome::NoSubscription,
            InsertOutcome::Expired,
            InsertOutcome::Duplicate,
            InsertOutcome::Refused {
                full: QueueBound::Messages,
            },
            InsertOutcome::Refused {
                full: QueueBound::Bytes,
            },
            InsertOutcome::Withheld,
        ];
        let mut answers = vec![
            Answer::Malformed,
            Answer::Done,
            Answer::More,
            Answer::Stale,
            Answer::Unknown,
            Answer::Full,
            Answer::Existed(true),
            Answer::Ended {
                done: false,
                removed: removed.clone(),
            },
            Answer::Number {
                number: 500,
                floor: 2,
            },
            Answer::Inserted(outcomes),
        ];
        for outcome in [
            owned,
            AttachOutcome::Absent,
            AttachOutcome::More,
            AttachOutcome::OtherPrincipal,
        ] {
            for will in [None, Some(300)] {
                answers.push(Answer::Attach {
                    outcome,
                    removed: removed.clone(),
                    will,
                    registered: will.map(|registration| Registered {
                        registration,
                        former: (outcome == AttachOutcome::Absent).then_some(OwnerNode {
                            node: NodeId(7),
                            number: 300,
                        }),
                    }),
                });
            }
        }
        for answer in answers {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }
}
