//! One checked walk over the properties of a PUBLISH or a will, without allocation.
//!
//! What concerns the connection or the server (alias, subscription identifiers, expiry, delay) is
//! taken out; the rest is forwarded as it stands. Where the two alternate, [`close_gaps`] moves the
//! forwarded ones together inside the buffer.

use std::ops::Range;

use crate::error::Fault;
use crate::limits::DecodeLimits;
use crate::property;
use crate::publish::SubscriptionIds;
use crate::reason::ReasonCode;
use crate::sink::read_varint;
use crate::text::check_utf8;
use crate::topic::{TopicError, check_topic_name};
use crate::values::{SubscriptionId, TopicAlias};

/// Whose properties these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    ToServer,
    ToClient,
    Will,
}

/// What stands in a property section.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Where the forwarded ones are. Wrong while there are gaps.
    pub(crate) forwarded: Range<usize>,
    /// Others stand between forwarded ones: [`close_gaps`] is due.
    pub(crate) has_gaps: bool,
    pub(crate) expiry_seconds: Option<u32>,
    pub(crate) topic_alias: Option<TopicAlias>,
    pub(crate) subscription_ids: SubscriptionIds,
    pub(crate) delay_seconds: u32,
}

/// Walks and checks a section.
pub(crate) fn scan(section: &[u8], place: Place, limits: &DecodeLimits) -> Result<Scan, Fault> {
    let mut found = Scan::default();
    found.read(section, place, limits)?;
    Ok(found)
}

/// Moves the forwarded properties of a scanned section to its beginning; gives their length.
pub(crate) fn close_gaps(section: &mut [u8]) -> usize {
    let mut end = 0;
    let mut at = 0;
    while let Some(identifier) = section.get(at) {
        let keep = is_forwarded(*identifier);
        let len = property_len(&section[at..]);
        if keep {
            section.copy_within(at..at + len, end);
            end += len;
        }
        at += len;
    }
    end
}

/// The fault of one user property too many.
#[cold]
pub(crate) fn too_many_user_properties(limits: &DecodeLimits) -> Fault {
    let text = "too many user properties";
    Fault::bounded(ReasonCode::QuotaExceeded, text, limits.user_properties_max)
}

/// Which properties stood before. Only identifiers that exist get in.
#[derive(Debug, Default)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Notes a property other than the user property.
    pub(crate) fn insert(&mut self, identifier: u8) -> Result<(), Fault> {
        if !property::is_known(identifier) {
            return Err(Fault::malformed("unknown property"));
        }
        let bit = 1 << identifier;
        if self.0 & bit != 0 {
            return Err(Fault::protocol("a property stands twice"));
        }
        self.0 |= bit;
        Ok(())
    }
}

impl Scan {
    /// Walks and checks a section, as the first that is read.
    pub(crate) fn read(
        &mut self,
        section: &[u8],
        place: Place,
        limits: &DecodeLimits,
    ) -> Result<(), Fault> {
        let mut seen = Seen::default();
        let mut user_properties = 0;
        let mut rest = section;
        while let [identifier, value @ ..] = rest {
            let start = section.len() - rest.len();
            rest = match *identifier {
                property::USER_PROPERTY => {
                    user_properties += 1;
                    if user_properties > limits.user_properties_max {
                        return Err(too_many_user_properties(limits));
                    }
                    skip_text(skip_text(value)?)?
                }
                property::SUBSCRIPTION_ID => self.subscription_id(value, place)?,
                other => {
                    seen.insert(other)?;
                    self.single(other, value, place)?
                }
            };
            if is_forwarded(*identifier) {
                self.extend_forwarded(start..section.len() - rest.len());
            }
        }
        Ok(())
    }

    /// Checks and takes one property, gives what follows it.
    #[inline]
    fn single<'a>(
        &mut self,
        identifier: u8,
        value: &'a [u8],
        place: Place,
    ) -> Result<&'a [u8], Fault> {
        match (identifier, place) {
            (property::PAYLOAD_FORMAT, _) => match value {
                [0 | 1, rest @ ..] => Ok(rest),
                [_, ..] => Err(Fault::protocol("payload format is neither 0 nor 1")),
                [] => Err(cut_short()),
            },
            (property::MESSAGE_EXPIRY, _) => {
                let (seconds, rest) = value.split_first_chunk().ok_or_else(cut_short)?;
                self.expiry_seconds = Some(u32::from_be_bytes(*seconds));
                Ok(rest)
            }
            (property::CONTENT_TYPE, _) => skip_text(value),
            (property::RESPONSE_TOPIC, _) => skip_response_topic(value),
            (property::CORRELATION_DATA, _) => {
                let (_, rest) = property::split_field(value).ok_or_else(cut_short)?;
                Ok(rest)
            }
            (property::TOPIC_ALIAS, Place::ToServer | Place::ToClient) => {
                let (alias, rest) = value.split_first_chunk().ok_or_else(cut_short)?;
                let alias = TopicAlias::new(u16::from_be_bytes(*alias));
                self.topic_alias = Some(alias.ok_or(ALIAS_ZERO)?);
                Ok(rest)
            }
            (property::WILL_DELAY, Place::Will) => {
                let (seconds, rest) = value.split_first_chunk().ok_or_else(cut_short)?;
                self.delay_seconds = u32::from_be_bytes(*seconds);
                Ok(rest)
            }
            _ => Err(MISPLACED),
        }
    }

    /// Takes a subscription identifier: one of several that a PUBLISH to a client may hold.
    fn subscription_id<'a>(&mut self, value: &'a [u8], place: Place) -> Result<&'a [u8], Fault> {
        match place {
            Place::ToClient => {}
            Place::ToServer => {
                let text = "a client may not send a subscription identifier in PUBLISH";
                return Err(Fault::protocol(text));
            }
            Place::Will => return Err(MISPLACED),
        }
        let (number, len) = read_varint(value)?.ok_or_else(cut_short)?;
        self.subscription_ids
            .push(SubscriptionId::new(number).ok_or(SUBSCRIPTION_ID_ZERO)?);
        Ok(&value[len..])
    }

    fn extend_forwarded(&mut self, property: Range<usize>) {
        if self.forwarded.is_empty() {
            self.forwarded = property;
        } else if self.forwarded.end == property.start {
            self.forwarded.end = property.end;
        } else {
            self.has_gaps = true;
        }
    }
}

/// The fault of a property in a packet that may not hold it (MQTT 5, 2.2.2.2).
pub(crate) const MISPLACED: Fault = Fault::new(
    ReasonCode::MalformedPacket,
    "a property that this packet may not hold",
);

const ALIAS_ZERO: Fault = Fault::new(ReasonCode::TopicAliasInvalid, "topic alias is 0");

/// The fault of a subscription identifier of 0.
pub(crate) const SUBSCRIPTION_ID_ZERO: Fault =
    Fault::new(ReasonCode::ProtocolError, "subscription identifier is 0");

/// The fault of a field that its packet or section ends in.
#[cold]
pub(crate) fn cut_short() -> Fault {
    Fault::malformed("a field is longer than what holds it")
}

const fn is_forwarded(identifier: u8) -> bool {
    matches!(
        identifier,
        property::PAYLOAD_FORMAT
            | property::CONTENT_TYPE
            | property::RESPONSE_TOPIC
            | property::CORRELATION_DATA
            | property::USER_PROPERTY
    )
}

#[inline]
fn skip_text(value: &[u8]) -> Result<&[u8], Fault> {
    let (text, rest) = property::split_field(value).ok_or_else(cut_short)?;
    check_utf8(text).map_err(|_| Fault::malformed("a property is not a valid UTF-8 string"))?;
    Ok(rest)
}

fn skip_response_topic(value: &[u8]) -> Result<&[u8], Fault> {
    let (topic, rest) = property::split_field(value).ok_or_else(cut_short)?;
    match check_topic_name(topic) {
        // Somebody who may publish there may; here it is only a text.
        Ok(()) | Err(TopicError::Reserved) => Ok(rest),
        Err(TopicError::String(_)) => Err(Fault::malformed(
            "response topic is not a valid UTF-8 string",
        )),
        Err(TopicError::Empty) => Err(Fault::protocol("response topic is empty")),
        Err(TopicError::Wildcard) => Err(Fault::protocol("response topic holds a wildcard")),
    }
}

/// The length of the property that a scanned section begins with.
fn property_len(section: &[u8]) -> usize {
    let field = |at: usize| match section.get(at..) {
        Some([high, low, ..]) => 2 + usize::from(u16::from_be_bytes([*high, *low])),
        Some(_) | None => 0,
    };
    match section.first() {
        Some(&property::PAYLOAD_FORMAT) => 2,
        Some(&(property::MESSAGE_EXPIRY | property::WILL_DELAY)) => 5,
        Some(&property::TOPIC_ALIAS) => 3,
        Some(&property::SUBSCRIPTION_ID) => {
            let continued = section[1..].iter().take_while(|byte| **byte >= 0x80);
            2 + continued.count()
        }
        Some(&property::USER_PROPERTY) => {
            let name = field(1);
            1 + name + field(1 + name)
        }
        Some(_) | None => 1 + field(1),
    }
}
