//! What the log carries: one command, as bytes, and its answer. The tenant is the command's scope.
//!
//! ```text
//! form(1) = 01 · kind(1) · fields…
//! ```
//! Kinds are never used again. A command that does not read is answered [`Answer::Malformed`] and
//! changes nothing.

use bytes::Bytes;

use crate::encoding::{Reader, Writer};
use crate::message::{PutOutcome, RetainBounds};

/// The form that this version writes and reads.
const FORM: u8 = 1;

const PUT: u8 = 1;
const CLEAR: u8 = 2;
const EXPIRE: u8 = 3;

/// A change of one tenant's retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// The topic has this message now.
    Put {
        path: &'a [u8],
        bounds: RetainBounds,
        body: &'a [u8],
    },
    /// The topic has none now.
    Clear { path: &'a [u8] },
    /// Removes some of the messages that have expired by the group's time.
    Expire,
}

impl<'a> Command<'a> {
    /// As the log carries it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64);
        out.byte(FORM);
        match self {
            Self::Put { path, bounds, body } => {
                out.byte(PUT)
                    .blob(path)
                    .number(bounds.messages_max)
                    .number(bounds.bytes_max);
                out.blob(body);
            }
            Self::Clear { path } => {
                out.byte(CLEAR).blob(path);
            }
            Self::Expire => {
                out.byte(EXPIRE);
            }
        }
        out.finish().into()
    }

    /// Whether it leaves less behind than there was, so that it is taken although the disk is full.
    pub(crate) const fn frees(&self) -> bool {
        match self {
            Self::Clear { .. } | Self::Expire => true,
            Self::Put { .. } => false,
        }
    }

    /// What [`encode`](Self::encode) wrote, and nothing else.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORM {
            return None;
        }
        let command = match reader.byte()? {
            PUT => Self::Put {
                path: reader.blob()?,
                bounds: RetainBounds {
                    messages_max: reader.number()?,
                    bytes_max: reader.number()?,
                },
                body: reader.blob()?,
            },
            CLEAR => Self::Clear {
                path: reader.blob()?,
            },
            EXPIRE => Self::Expire,
            _ => return None,
        };
        reader.end(command)
    }
}

/// What a command did. Not stored: read by the process that proposed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The command does not read; it changed nothing.
    Malformed,
    /// What came of a put or a clear.
    Put(PutOutcome),
    /// So many were removed; whether there are more.
    Expired { messages: u64, more: bool },
}

impl Answer {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = Writer::with_capacity(8);
        out.byte(FORM);
        match self {
            Self::Malformed => out.byte(0),
            Self::Put(PutOutcome::Stored { replaced }) => out.byte(1).byte(u8::from(replaced)),
            Self::Put(PutOutcome::Cleared { existed }) => out.byte(2).byte(u8::from(existed)),
            Self::Put(PutOutcome::Expired) => out.byte(3),
            Self::Put(PutOutcome::Full) => out.byte(4),
            Self::Expired { messages, more } => out.byte(5).number(messages).byte(u8::from(more)),
        };
        out.finish().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORM {
            return None;
        }
        let answer = match reader.byte()? {
            0 => Self::Malformed,
            1 => Self::Put(PutOutcome::Stored {
                replaced: reader.byte()? != 0,
            }),
            2 => Self::Put(PutOutcome::Cleared {
                existed: reader.byte()? != 0,
            }),
            3 => Self::Put(PutOutcome::Expired),
            4 => Self::Put(PutOutcome::Full),
            5 => Self::Expired {
                messages: reader.number()?,
                more: reader.byte()? != 0,
            },
            _ => return None,
        };
        reader.end(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::encode_hex;

    fn golden() -> [(Command<'static>, &'static str); 3] {
        let bounds = RetainBounds {
            messages_max: 3,
            bytes_max: 300,
        };
        let put = Command::Put {
            path: b"\x01a",
            bounds,
            body: b"body",
        };
        [
            (put, "0101 020161 03 ac02 04626f6479"),
            (Command::Clear { path: b"\x01a" }, "0102 020161"),
            (Command::Expire, "0103"),
        ]
    }

    #[test]
    fn commands_are_golden_and_read_back() {
        for (command, golden) in golden() {
            let bytes = command.encode();
            assert_eq!(encode_hex(&bytes), golden.replace(' ', ""), "{command:?}");
            assert_eq!(Command::decode(&bytes), Some(command));
        }
    }

    #[test]
    fn a_cut_or_longer_command_is_none() {
        for (command, _) in golden() {
            let bytes = command.encode();
            for len in 0..bytes.len() {
                assert_eq!(
                    Command::decode(&bytes[..len]),
                    None,
                    "{command:?} cut to {len}"
                );
            }
            assert_eq!(
                Command::decode(&[&bytes[..], &[0]].concat()),
                None,
                "{command:?}"
            );
        }
    }

    #[test]
    fn answers_read_back() {
        let answers = [
            Answer::Malformed,
            Answer::Put(PutOutcome::Stored { replaced: true }),
            Answer::Put(PutOutcome::Cleared { existed: false }),
            Answer::Put(PutOutcome::Expired),
            Answer::Put(PutOutcome::Full),
            Answer::Expired {
                messages: 300,
                more: true,
            },
        ];
        for answer in answers {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }

    proptest! {
        #[test]
        fn a_put_reads_back(path: Vec<u8>, body: Vec<u8>, messages_max: u64, bytes_max: u64) {
            let bounds = RetainBounds { messages_max, bytes_max };
            let command = Command::Put { path: &path, bounds, body: &body };
            let bytes = command.encode();
            prop_assert_eq!(Command::decode(&bytes), Some(command));
        }

        #[test]
        fn no_command_panics_the_reader(bytes: Vec<u8>, kind in 0_u8..5) {
            let _ = Command::decode(&bytes);
            let _ = Command::decode(&[&[FORM, kind], &bytes[..]].concat());
        }
    }
}
