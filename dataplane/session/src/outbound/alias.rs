//! Topic aliases towards the client.

use bytes::Bytes;
use tessera_mqtt::{TopicAlias, TopicName};

use crate::limits::OUTBOUND_ALIASES_MAX;

/// What a topic gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// No alias this time.
    Plain,
    /// The client knows it: the name may stay out.
    Known(TopicAlias),
    /// To be defined: name and alias go out together, then [`Aliases::define`].
    Define(TopicAlias),
}

/// The aliases that the client knows. Topics that recur keep theirs: when all are given, each miss
/// moves a hand on by one and takes the alias there only if its topic was not used since the hand
/// last came by.
///
/// Complication: an alias is recorded only once the packet that defines it is in the buffer, so
/// that no dropped packet leaves the client without it.
#[derive(Debug)]
pub(super) struct Aliases {
    max: u16,
    hand: usize,
    /// `hashes[i]`, `entries[i]` are those of alias i + 1. Hashes stand apart for a fast scan.
    hashes: Vec<u32>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    topic: Bytes,
    used: bool,
}

impl Aliases {
    /// `client_maximum` is the client's Topic Alias Maximum; 0: none are used.
    pub(super) fn new(client_maximum: u16) -> Self {
        Self {
            max: client_maximum.min(OUTBOUND_ALIASES_MAX),
            hand: 0,
            hashes: Vec::new(),
            entries: Vec::new(),
        }
    }

    pub(super) fn choose(&mut self, topic: &TopicName) -> Choice {
        if self.max == 0 {
            return Choice::Plain;
        }
        let hash = hash(topic.as_bytes());
        if let Some(index) = self.find(hash, topic.as_bytes()) {
            self.entries[index].used = true;
            return alias(index).map_or(Choice::Plain, Choice::Known);
        }
        if self.entries.len() < usize::from(self.max) {
            return alias(self.entries.len()).map_or(Choice::Plain, Choice::Define);
        }
        self.hand = (self.hand + 1) % self.entries.len();
        let taken = std::mem::replace(&mut self.entries[self.hand].used, false);
        if taken {
            return Choice::Plain;
        }
        alias(self.hand).map_or(Choice::Plain, Choice::Define)
    }

    /// The packet that defines it was written. The topic is copied: it would hold its publisher's
    /// read buffer.
    pub(super) fn define(&mut self, alias: TopicAlias, topic: &TopicName) {
        let index = usize::from(alias.get()) - 1;
        let entry = Entry {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            used: true,
        };
        let hash = hash(topic.as_bytes());
        if let Some(slot) = self.entries.get_mut(index) {
            *slot = entry;
            self.hashes[index] = hash;
        } else {
            self.entries.push(entry);
            self.hashes.push(hash);
        }
    }

    fn find(&self, hash: u32, topic: &[u8]) -> Option<usize> {
        let mut from = 0;
        while let Some(at) = self.hashes[from..].iter().position(|known| *known == hash) {
            let index = from + at;
            if self.entries[index].topic == topic {
                return Some(index);
            }
            from = index + 1;
        }
        None
    }
}

fn alias(index: usize) -> Option<TopicAlias> {
    TopicAlias::new(u16::try_from(index + 1).ok()?)
}

/// FNV-1a. A collision costs one comparison.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::try_from(name).unwrap()
    }

    fn send(aliases: &mut Aliases, name: &str) -> Choice {
        let topic = topic(name);
        let choice = aliases.choose(&topic);
        if let Choice::Define(alias) = choice {
            aliases.define(alias, &topic);
        }
        choice
    }

    fn number(n: u16) -> TopicAlias {
        TopicAlias::new(n).unwrap()
    }

    #[test]
    fn an_alias_that_was_not_written_is_offered_for_definition_again() {
        let mut aliases = Aliases::new(4);
        assert_eq!(aliases.choose(&topic("a")), Choice::Define(number(1)));
        assert_eq!(aliases.choose(&topic("a")), Choice::Define(number(1)));
        assert_eq!(send(&mut aliases, "b"), Choice::Define(number(1)));
        assert_eq!(send(&mut aliases, "a"), Choice::Define(number(2)));
        assert_eq!(send(&mut aliases, "b"), Choice::Known(number(1)));
    }

    #[test]
    fn a_busy_topic_keeps_its_alias_while_others_come_and_go() {
        let mut aliases = Aliases::new(2);
        send(&mut aliases, "busy");
        send(&mut aliases, "idle");
        let mut redefined = 0;
        for n in 0..100 {
            assert_eq!(send(&mut aliases, "busy"), Choice::Known(number(1)));
            if let Choice::Define(alias) = send(&mut aliases, &format!("rare/{n}")) {
                assert_eq!(alias, number(2));
                redefined += 1;
            }
        }
        assert!(redefined > 0, "an idle alias is given away");
    }

    #[test]
    fn no_alias_goes_above_the_clients_maximum() {
        for maximum in [0, 1, 3, 65_535] {
            let mut aliases = Aliases::new(maximum);
            for n in 0..500 {
                match send(&mut aliases, &format!("t/{}", n % 120)) {
                    Choice::Plain => {}
                    Choice::Known(alias) | Choice::Define(alias) => {
                        assert!(alias.get() <= maximum.min(OUTBOUND_ALIASES_MAX));
                    }
                }
            }
        }
    }

    #[test]
    fn topics_of_one_hash_have_an_alias_each() {
        // A pair that collides in 32-bit FNV-1a, and its published value of one letter.
        assert_eq!(hash(b"costarring"), hash(b"liquid"));
        assert_eq!(hash(b"a"), 0xE40C_292C);
        let mut aliases = Aliases::new(4);
        for (name, alias) in [("first", 1), ("costarring", 2), ("liquid", 3), ("last", 4)] {
            assert_eq!(send(&mut aliases, name), Choice::Define(number(alias)));
        }
        for (name, alias) in [("liquid", 3), ("last", 4), ("costarring", 2), ("first", 1)] {
            assert_eq!(send(&mut aliases, name), Choice::Known(number(alias)));
        }
    }
}
