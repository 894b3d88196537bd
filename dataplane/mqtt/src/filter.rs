//! Topic filters and shared subscriptions: what a client subscribes to. The one parser of both.

use std::fmt;

use bytes::Bytes;

use crate::text::{MqttString, StringError, text_type};
use crate::topic::{ORDERED_SHARE_PREFIX, SHARE_PREFIX, TopicLevels, TopicName, is_shared};

/// Why text is not a topic filter. In SUBACK and UNSUBACK: 0x8F.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not a string of MQTT. In a packet this is malformed, never an answer per filter.
    #[error(transparent)]
    String(#[from] StringError),
    /// Empty (MQTT-4.7.3-1).
    #[error("is empty")]
    Empty,
    /// `#` shares its level or is not in the last one (MQTT-4.7.1-1).
    #[error("holds # that is not a whole last level")]
    Hash,
    /// `+` shares its level (MQTT-4.7.1-2).
    #[error("holds + that is not a whole level")]
    Plus,
    /// The share name is missing or empty, or holds a wildcard (MQTT-4.8.2-1, -2).
    #[error("has no valid share name")]
    ShareName,
    /// A share name that no filter follows (MQTT-4.8.2-2).
    #[error("has a share name without a filter")]
    ShareWithoutFilter,
    /// The filter of a shared subscription, or a plain one, begins as a shared subscription does.
    #[error("begins as a shared subscription does")]
    Reserved,
    /// More levels than [`crate::DecodeLimits::topic_levels_max`].
    #[error("has more than {max} levels")]
    Levels {
        /// The bound.
        max: usize,
    },
}

/// A topic filter: 1 to 65,535 bytes, wildcards in their places, not under `$share/` or `$oshare/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(MqttString);

text_type!(TopicFilter);

impl TopicFilter {
    /// Its levels, from the left.
    pub fn levels(&self) -> FilterLevels<'_> {
        FilterLevels(TopicLevels::new(self.as_bytes()))
    }

    /// Whether it holds `+` or `#`. Without, it matches one topic name only: the same text.
    pub fn has_wildcard(&self) -> bool {
        self.as_bytes()
            .iter()
            .any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Whether a message to this topic is for this filter (MQTT 5, 4.7).
    ///
    /// Linear in the shorter of both; no recursion.
    pub fn matches(&self, topic: &TopicName) -> bool {
        if topic.is_dollar() && matches!(self.as_bytes().first(), Some(b'+' | b'#')) {
            return false;
        }
        let mut names = topic.levels();
        for level in self.levels() {
            match (level, names.next()) {
                (FilterLevel::Hash, _) => return true,
                (FilterLevel::Plus, Some(_)) => {}
                (FilterLevel::Exact(wanted), Some(name)) if wanted == name => {}
                (FilterLevel::Plus | FilterLevel::Exact(_), _) => return false,
            }
        }
        names.next().is_none()
    }
}

impl TryFrom<MqttString> for TopicFilter {
    type Error = FilterError;

    fn try_from(text: MqttString) -> Result<Self, FilterError> {
        check_filter(text.as_bytes())?;
        Ok(Self(text))
    }
}

impl TryFrom<Bytes> for TopicFilter {
    type Error = FilterError;

    fn try_from(bytes: Bytes) -> Result<Self, FilterError> {
        Self::try_from(MqttString::try_from(bytes)?)
    }
}

impl TryFrom<&str> for TopicFilter {
    type Error = FilterError;

    fn try_from(text: &str) -> Result<Self, FilterError> {
        Self::try_from(MqttString::try_from(text)?)
    }
}

/// One level of a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterLevel<'a> {
    /// This text, which may be empty.
    Exact(&'a [u8]),
    /// `+`: any one level.
    Plus,
    /// `#`: this level's parent and everything below it. Always the last.
    Hash,
}

/// The levels of a topic filter.
#[derive(Debug, Clone)]
pub struct FilterLevels<'a>(TopicLevels<'a>);

impl<'a> Iterator for FilterLevels<'a> {
    type Item = FilterLevel<'a>;

    fn next(&mut self) -> Option<FilterLevel<'a>> {
        Some(match self.0.next()? {
            b"+" => FilterLevel::Plus,
            b"#" => FilterLevel::Hash,
            text => FilterLevel::Exact(text),
        })
    }
}

impl std::iter::FusedIterator for FilterLevels<'_> {}

/// A share name: at least one character, none of `/ + #`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName(MqttString);

text_type!(ShareName);

impl TryFrom<MqttString> for ShareName {
    type Error = FilterError;

    fn try_from(text: MqttString) -> Result<Self, FilterError> {
        let reserved = |byte: &u8| matches!(byte, b'/' | b'+' | b'#');
        if text.is_empty() || text.as_bytes().iter().any(reserved) {
            return Err(FilterError::ShareName);
        }
        Ok(Self(text))
    }
}

impl TryFrom<Bytes> for ShareName {
    type Error = FilterError;

    fn try_from(bytes: Bytes) -> Result<Self, FilterError> {
        Self::try_from(MqttString::try_from(bytes)?)
    }
}

impl TryFrom<&str> for ShareName {
    type Error = FilterError;

    fn try_from(text: &str) -> Result<Self, FilterError> {
        Self::try_from(MqttString::try_from(text)?)
    }
}

/// Which group shares a subscription, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The group's name.
    pub name: ShareName,
    /// `$oshare/…`: each publisher's messages go to one member, in order. Otherwise `$share/…`.
    pub ordered: bool,
}

/// What one subscription names: a topic filter, shared or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterSpec {
    /// The group that shares it; `None` for a plain subscription.
    pub share: Option<Share>,
    /// The topics.
    pub filter: TopicFilter,
}

impl FilterSpec {
    /// A plain subscription.
    pub const fn plain(filter: TopicFilter) -> Self {
        Self {
            share: None,
            filter,
        }
    }

    /// Reads `filter`, `$share/name/filter` or `$oshare/name/filter`. Shares the bytes.
    ///
    /// # Errors
    /// Says which rule of MQTT 5, 4.7.1 or 4.8.2, the text breaks.
    pub fn parse(text: &MqttString) -> Result<Self, FilterError> {
        let bytes = text.as_bytes();
        let (ordered, start) = if bytes.starts_with(SHARE_PREFIX) {
            (false, SHARE_PREFIX.len())
        } else if bytes.starts_with(ORDERED_SHARE_PREFIX) {
            (true, ORDERED_SHARE_PREFIX.len())
        } else {
            return TopicFilter::try_from(text.clone()).map(Self::plain);
        };
        let slash = bytes[start..].iter().position(|byte| *byte == b'/');
        let end = slash.map_or(bytes.len(), |at| start + at);
        let name = ShareName::try_from(text.slice(start, end))?;
        if end + 1 >= bytes.len() {
            return Err(FilterError::ShareWithoutFilter);
        }
        Ok(Self {
            share: Some(Share { name, ordered }),
            filter: TopicFilter::try_from(text.slice(end + 1, bytes.len()))?,
        })
    }

    /// Whether it is shared, ordered or not.
    pub const fn is_shared(&self) -> bool {
        self.share.is_some()
    }
}

impl TryFrom<&str> for FilterSpec {
    type Error = FilterError;

    fn try_from(text: &str) -> Result<Self, FilterError> {
        Self::parse(&MqttString::try_from(text)?)
    }
}

impl fmt::Display for FilterSpec {
    /// The text that [`FilterSpec::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Share { name, ordered }) = &self.share {
            let prefix = if *ordered { "$oshare" } else { "$share" };
            write!(f, "{prefix}/{name}/")?;
        }
        fmt::Display::fmt(&self.filter, f)
    }
}

/// The filter of a SUBSCRIBE or UNSUBSCRIBE: its text, and what it says if it says anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SentFilter {
    /// The text is the filter's own.
    Plain(FilterSpec),
    /// Rare, and boxed to keep lists of the others small.
    Shared(Box<(MqttString, FilterSpec)>),
    IllFormed(MqttString, FilterError),
}

impl SentFilter {
    /// Reads a filter of at most so many levels.
    pub(crate) fn read(text: MqttString, levels_max: usize) -> Self {
        let shape = Shape::of(text.as_bytes(), levels_max);
        Self::of(shape, text, levels_max)
    }

    /// The filter of that text, which is one and not shared.
    #[inline]
    pub(crate) const fn plain(text: MqttString) -> Self {
        Self::Plain(FilterSpec::plain(TopicFilter(text)))
    }

    /// The filter of that text, whose shape is known.
    pub(crate) fn of(shape: Shape, text: MqttString, levels_max: usize) -> Self {
        match shape {
            Shape::Plain => Self::plain(text),
            Shape::Shared => Self::shared(text, levels_max),
            Shape::IllFormed(error) => Self::IllFormed(text, error),
        }
    }

    #[cold]
    fn shared(text: MqttString, levels_max: usize) -> Self {
        match FilterSpec::parse(&text).and_then(|spec| bounded(spec, levels_max)) {
            Ok(spec) => Self::Shared(Box::new((text, spec))),
            Err(error) => Self::IllFormed(text, error),
        }
    }

    pub(crate) const fn text(&self) -> &MqttString {
        match self {
            Self::Plain(spec) => &spec.filter.0,
            Self::Shared(shared) => &shared.0,
            Self::IllFormed(text, _) => text,
        }
    }

    pub(crate) const fn spec(&self) -> Result<&FilterSpec, FilterError> {
        match self {
            Self::Plain(spec) => Ok(spec),
            Self::Shared(shared) => Ok(&shared.1),
            Self::IllFormed(_, error) => Err(*error),
        }
    }
}

/// What the bytes of a filter say, before they are shared.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Plain,
    /// Of the form of a shared subscription, well formed or not.
    Shared,
    IllFormed(FilterError),
}

impl Shape {
    /// Of a filter that may have so many levels.
    #[inline]
    pub(crate) fn of(text: &[u8], levels_max: usize) -> Self {
        if is_shared(text) {
            return Self::Shared;
        }
        match check_plain(text).and_then(|()| check_levels(text, levels_max)) {
            Ok(()) => Self::Plain,
            Err(error) => Self::IllFormed(error),
        }
    }
}

fn bounded(spec: FilterSpec, levels_max: usize) -> Result<FilterSpec, FilterError> {
    check_levels(spec.filter.as_bytes(), levels_max)?;
    Ok(spec)
}

/// Bounds the levels of a filter; a text of n bytes has at most n + 1.
fn check_levels(text: &[u8], max: usize) -> Result<(), FilterError> {
    if text.len() < max || level_count(text) <= max {
        return Ok(());
    }
    Err(FilterError::Levels { max })
}

/// Levels of a topic name or filter, counted without splitting it.
pub(crate) fn level_count(text: &[u8]) -> usize {
    1 + text.iter().filter(|byte| **byte == b'/').count()
}

fn check_filter(text: &[u8]) -> Result<(), FilterError> {
    if is_shared(text) {
        return Err(FilterError::Reserved);
    }
    check_plain(text)
}

/// Checks a filter that is not of the form of a shared subscription.
#[inline]
fn check_plain(text: &[u8]) -> Result<(), FilterError> {
    if text.is_empty() {
        return Err(FilterError::Empty);
    }
    let (words, tail) = text.as_chunks();
    let mut at = 0;
    for word in words {
        check_wildcards(text, at, wildcards(*word))?;
        at += word.len();
    }
    match text.last_chunk() {
        // The bytes of the last word that were looked at are shifted out.
        Some(word) if !tail.is_empty() => {
            let found = wildcards(*word) >> (8 * (word.len() - tail.len()));
            check_wildcards(text, at, found)
        }
        Some(_) => Ok(()),
        None => {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            check_wildcards(text, at, wildcards(word))
        }
    }
}

/// Checks the wildcards of the word that begins at that place.
#[inline]
fn check_wildcards(text: &[u8], at: usize, mut found: u64) -> Result<(), FilterError> {
    while found != 0 {
        check_wildcard(text, at + bytes_before(found))?;
        found &= found - 1;
    }
    Ok(())
}

/// The top bit of each byte that is `+` or `#`, the first in the lowest byte.
const fn wildcards(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The two differ in one bit; what equals either without it is zero now.
    let zero_if_wildcard = (u64::from_le_bytes(word) | (ONES * 8)) ^ (ONES * 0x2B);
    // Adding 0x7F to the lower seven bits carries into the top one unless they are all zero.
    let lower = zero_if_wildcard & (ONES * 0x7F);
    !((lower + ONES * 0x7F) | zero_if_wildcard) & (ONES * 0x80)
}

/// Bytes before the first whose top bit is set.
const fn bytes_before(found: u64) -> usize {
    (found.trailing_zeros() / 8) as usize
}

/// Whether the wildcard at that place fills its level, and `#` ends the filter.
fn check_wildcard(text: &[u8], at: usize) -> Result<(), FilterError> {
    let (before, rest) = text.split_at(at);
    let begins_level = matches!(before, [] | [.., b'/']);
    match rest {
        [b'#'] | [b'+'] | [b'+', b'/', ..] if begins_level => Ok(()),
        [b'+', ..] => Err(FilterError::Plus),
        _ => Err(FilterError::Hash),
    }
}

#[cfg(test)]
mod tests {
    use super::{FilterError, bytes_before, check_levels, check_plain, check_wildcard, wildcards};

    #[test]
    fn a_wildcard_is_checked_wherever_it_stands_in_texts_of_one_to_three_words() {
        for len in 1..=24 {
            for (at, next) in (0..len).flat_map(|at| [0, 1, 8].map(|step| (at, at + step))) {
                for (one, other) in [(b'+', b'#'), (b'#', b'+'), (b'+', b'/'), (b'/', b'#')] {
                    let mut text = vec![b'/'; len];
                    text[at] = one;
                    if let Some(byte) = text.get_mut(next) {
                        *byte = other;
                    }
                    for beside in [None, at.checked_sub(1)] {
                        if let Some(beside) = beside {
                            text[beside] = b'x';
                        }
                        let wanted = byte_by_byte(&text);
                        assert_eq!(check_plain(&text), wanted, "{}", text.escape_ascii());
                    }
                }
            }
        }
    }

    #[test]
    fn a_text_of_separators_has_one_level_more_than_bytes() {
        assert_eq!(check_levels(b"//", 3), Ok(()));
        assert_eq!(check_levels(b"///", 3), Err(FilterError::Levels { max: 3 }));
        assert_eq!(check_levels(b"long/er/text", 3), Ok(()));
    }

    fn byte_by_byte(text: &[u8]) -> Result<(), FilterError> {
        let is_wildcard = |at: &usize| matches!(text[*at], b'+' | b'#');
        (0..text.len())
            .filter(is_wildcard)
            .try_for_each(|at| check_wildcard(text, at))
    }

    #[test]
    fn wildcards_of_a_word_are_found_where_they_stand_whatever_stands_beside_them() {
        for beside in [0x00, b'+', b'#', b'*', b'\'', b'3', 0xAB, 0xA3, 0xFF] {
            for (at, byte) in (0..8).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut word = [beside; 8];
                word[at] = byte;
                let mut bits = wildcards(word);
                let mut found = Vec::new();
                while bits != 0 {
                    found.push(bytes_before(bits));
                    bits &= bits - 1;
                }
                let stands = |at: &usize| matches!(word[*at], b'+' | b'#');
                assert_eq!(found, (0..8).filter(stands).collect::<Vec<_>>(), "{word:?}");
            }
        }
    }
}
