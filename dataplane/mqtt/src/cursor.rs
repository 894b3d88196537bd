//! Reading the body of a packet that is no PUBLISH: fields from the left, slices of the buffer.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::error::Fault;
use crate::limits::DecodeLimits;
use crate::packet::PacketType;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::{Seen, cut_short, too_many_user_properties};
use crate::sink::read_varint;
use crate::text::{MqttString, check_utf8};
use crate::user_properties::UserProperties;
use crate::values::{PacketId, ProtocolVersion};

/// Which end of the connection decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// What decoding a body depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) version: ProtocolVersion,
    pub(crate) role: Role,
    pub(crate) limits: &'a DecodeLimits,
}

/// The unread part of a body, or of a property section in it.
#[derive(Debug)]
pub(crate) struct Cursor {
    frame: Bytes,
    at: usize,
    end: usize,
}

impl Cursor {
    pub(crate) fn new(frame: Bytes) -> Self {
        let end = frame.len();
        Self { frame, at: 0, end }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.at == self.end
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Nothing may follow.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Fault::malformed("bytes follow the last field"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u32, Fault> {
        let (value, len) = read_varint(self.rest())?.ok_or_else(cut_short)?;
        self.at += len;
        Ok(value)
    }

    /// A byte that is 0 or 1; anything else is a protocol error.
    pub(crate) fn flag(&mut self, fault: &'static str) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::protocol(fault)),
        }
    }

    pub(crate) fn non_zero_u16(&mut self, fault: &'static str) -> Result<NonZeroU16, Fault> {
        NonZeroU16::new(self.u16()?).ok_or_else(|| Fault::protocol(fault))
    }

    pub(crate) fn non_zero_u32(&mut self, fault: &'static str) -> Result<NonZeroU32, Fault> {
        NonZeroU32::new(self.u32()?).ok_or_else(|| Fault::protocol(fault))
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Fault> {
        PacketId::new(self.u16()?).ok_or(PACKET_ID_ZERO)
    }

    /// A string; `fault` says which is not one.
    #[inline]
    pub(crate) fn string(&mut self, fault: &'static str) -> Result<MqttString, Fault> {
        let range = self.field()?;
        check_utf8(&self.frame[range.clone()]).map_err(|_| Fault::malformed(fault))?;
        Ok(MqttString::from_checked(self.frame.slice(range)))
    }

    /// A string or binary field that is compared only.
    pub(crate) fn field_bytes(&mut self) -> Result<&[u8], Fault> {
        let range = self.field()?;
        Ok(&self.frame[range])
    }

    pub(crate) fn binary(&mut self) -> Result<Bytes, Fault> {
        let range = self.field()?;
        Ok(self.frame.slice(range))
    }

    /// A reason code that the standard lists for the packet.
    pub(crate) fn reason(&mut self, packet: PacketType) -> Result<ReasonCode, Fault> {
        read_reason(self.u8()?, packet)
    }

    /// The next property section, unread.
    pub(crate) fn section(&mut self) -> Result<Bytes, Fault> {
        let len = self.section_len()?;
        let range = self.at..self.at + len;
        self.at = range.end;
        Ok(self.frame.slice(range))
    }

    /// What was not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &[u8] {
        &self.frame[self.at..self.end]
    }

    /// Enters the next property section. Until [`Section::finish`], the cursor reads in it only.
    pub(crate) fn properties(&mut self, limits: &DecodeLimits) -> Result<Section<'_>, Fault> {
        let len = self.section_len()?;
        let outer_end = self.end;
        self.end = self.at + len;
        Ok(Section {
            outer_end,
            seen: Seen::default(),
            user: UserRun::default(),
            limits: *limits,
            cursor: self,
        })
    }

    fn section_len(&mut self) -> Result<usize, Fault> {
        let len = self.varint()?;
        usize::try_from(len)
            .ok()
            .filter(|len| *len <= self.remaining())
            .ok_or_else(cut_short)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let array = *self.rest().first_chunk::<N>().ok_or_else(cut_short)?;
        self.at += N;
        Ok(array)
    }

    #[inline]
    fn field(&mut self) -> Result<Range<usize>, Fault> {
        let (field, _) = property::split_field(self.rest()).ok_or_else(cut_short)?;
        let start = self.at + 2;
        let end = start + field.len();
        self.at = end;
        Ok(start..end)
    }
}

pub(crate) const PACKET_ID_ZERO: Fault =
    Fault::new(ReasonCode::ProtocolError, "packet identifier is 0");

/// A reason code that the standard lists for the packet.
pub(crate) fn read_reason(byte: u8, packet: PacketType) -> Result<ReasonCode, Fault> {
    ReasonCode::try_from(byte)
        .ok()
        .filter(|reason| reason.is_listed_for(packet))
        .ok_or(UNLISTED_REASON)
}

const UNLISTED_REASON: Fault = Fault::new(
    ReasonCode::ProtocolError,
    "a reason code that this packet may not hold",
);

/// A property section that is being read.
#[derive(Debug)]
pub(crate) struct Section<'c> {
    /// Reads the values.
    pub(crate) cursor: &'c mut Cursor,
    outer_end: usize,
    seen: Seen,
    user: UserRun,
    limits: DecodeLimits,
}

impl Section<'_> {
    /// The identifier of the next property, whose value the caller reads. User properties, which
    /// every section may hold, are gathered on the way; a duplicate is refused.
    pub(crate) fn next_identifier(&mut self) -> Result<Option<u8>, Fault> {
        while !self.cursor.is_empty() {
            let start = self.cursor.at;
            let identifier = self.cursor.u8()?;
            if identifier != property::USER_PROPERTY {
                self.seen.insert(identifier)?;
                return Ok(Some(identifier));
            }
            for _ in ["name", "value"] {
                let range = self.cursor.field()?;
                check_utf8(&self.cursor.frame[range])
                    .map_err(|_| Fault::malformed("a property is not a valid UTF-8 string"))?;
            }
            if self.user.count == self.limits.user_properties_max {
                return Err(too_many_user_properties(&self.limits));
            }
            self.user.push(&self.cursor.frame, start..self.cursor.at);
        }
        Ok(None)
    }

    /// A string value.
    pub(crate) fn string(&mut self) -> Result<Option<MqttString>, Fault> {
        let fault = "a property is not a valid UTF-8 string";
        self.cursor.string(fault).map(Some)
    }

    /// Leaves the section, all of which was read.
    pub(crate) fn finish(self) -> UserProperties {
        self.cursor.end = self.outer_end;
        self.user.finish(&self.cursor.frame)
    }
}

/// User properties as they are found: a slice while they stand side by side, a copy once not.
#[derive(Debug, Default)]
struct UserRun {
    range: Range<usize>,
    copied: BytesMut,
    count: usize,
}

impl UserRun {
    fn push(&mut self, frame: &[u8], property: Range<usize>) {
        if self.range.end != property.start && self.count > 0 {
            self.copied.extend_from_slice(&frame[self.range.clone()]);
            self.range = property;
        } else if self.count > 0 {
            self.range.end = property.end;
        } else {
            self.range = property;
        }
        self.count += 1;
    }

    fn finish(mut self, frame: &Bytes) -> UserProperties {
        if self.copied.is_empty() {
            return UserProperties::from_checked(frame.slice(self.range));
        }
        self.copied.extend_from_slice(&frame[self.range]);
        UserProperties::from_checked(self.copied.freeze())
    }
}
