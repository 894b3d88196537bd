//! A topic as a key: its levels, each with its length in front, so that a topic's subtree is exactly
//! the keys that begin with its path.
//!
//! ```text
//! level = length(1) · bytes                 up to 239 bytes
//!       | F0 · length(2) · bytes            longer ones
//! path  = level…                            at least one
//! ```
//! Paths sort level by level; of two levels the shorter one first. A path is never longer than the
//! topic by more than a byte and two for each 240: it fits a key whatever the topic.

use bytes::Bytes;
use tessera_mqtt::TopicName;

/// The first length that takes the long form, and the byte that says so.
const LONG: u8 = 0xF0;

/// Appends one level.
pub(crate) fn push_level(path: &mut Vec<u8>, level: &[u8]) {
    match u8::try_from(level.len()) {
        Ok(len) if len < LONG => path.push(len),
        Ok(_) | Err(_) => {
            // A level of a topic has at most 65,535 bytes.
            let len = u16::try_from(level.len()).unwrap_or(u16::MAX);
            path.push(LONG);
            path.extend_from_slice(&len.to_be_bytes());
        }
    }
    path.extend_from_slice(level);
}

/// The path of a topic.
pub(crate) fn path_of(topic: &TopicName) -> Vec<u8> {
    let mut path = Vec::with_capacity(topic.as_bytes().len() + 4);
    topic
        .levels()
        .for_each(|level| push_level(&mut path, level));
    path
}

/// The topic of a path.
pub(crate) fn topic_of(path: &[u8]) -> Option<TopicName> {
    let mut topic = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let level = level_at(path, at)?;
        if at > 0 {
            topic.push(b'/');
        }
        topic.extend_from_slice(&path[level.text..level.end]);
        at = level.end;
    }
    TopicName::try_from(Bytes::from(topic)).ok()
}

/// Whether bytes are the path of a topic.
pub(crate) fn is_path(path: &[u8]) -> bool {
    topic_of(path).is_some()
}

/// Where a level is in its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelAt {
    /// Where its bytes begin, after the length.
    pub(crate) text: usize,
    /// Where they end.
    pub(crate) end: usize,
}

/// The level that begins at an offset; `None` if there is none of the one right form.
pub(crate) fn level_at(path: &[u8], at: usize) -> Option<LevelAt> {
    let rest = path.get(at..)?;
    let (text, len) = match *rest.first()? {
        LONG => {
            let len = u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]);
            (at + 3, usize::from(len))
        }
        len => (at + 1, usize::from(len)),
    };
    let right_form = (len < usize::from(LONG)) == (text == at + 1);
    let end = text + len;
    (right_form && end <= path.len()).then_some(LevelAt { text, end })
}

/// The smallest key above all that begin with `prefix`; `None` if there is none.
pub(crate) fn after_subtree(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::encode_hex;

    fn path(topic: &str) -> Vec<u8> {
        path_of(&TopicName::try_from(topic).unwrap())
    }

    #[test]
    fn paths_are_golden() {
        let long = "x".repeat(240);
        let cases = [
            ("a", "0161".to_owned()),
            ("a/bc", "0161026263".to_owned()),
            ("/", "0000".to_owned()),
            ("/a//", "00016100 00".replace(' ', "")),
            (&long, format!("f000f0{}", "78".repeat(240))),
        ];
        for (topic, golden) in cases {
            assert_eq!(encode_hex(&path(topic)), golden, "{topic}");
        }
    }

    #[test]
    fn the_longest_topics_fit_a_key() {
        let deepest = "/".repeat(65_535);
        let longest = "x".repeat(65_535);
        for topic in [deepest, longest] {
            let path = path(&topic);
            assert!(path.len() + 25 <= tessera_shard::KEY_BYTES_MAX);
            assert_eq!(topic_of(&path).unwrap().as_str(), topic);
        }
    }

    #[test]
    fn a_level_has_one_form() {
        assert_eq!(
            level_at(&[0xF0, 0, 1, b'a'], 0),
            None,
            "short in the long form"
        );
        assert_eq!(level_at(&[0xF1, 0, 0], 0), None);
        assert_eq!(level_at(&[2, b'a'], 0), None, "cut");
        assert!(!is_path(&[]));
    }

    /// Topics whose characters look like the lengths of levels.
    fn hostile() -> impl Strategy<Value = String> {
        "[a/\u{1}\u{2}\u{3}$é\u{10FFFF}]{1,12}"
    }

    proptest! {
        #[test]
        fn a_topic_reads_back(topic in hostile()) {
            let read = topic_of(&path(&topic)).unwrap();
            prop_assert_eq!(read.as_str(), topic);
        }

        #[test]
        fn different_topics_have_different_paths(a in hostile(), b in hostile()) {
            prop_assert_eq!(path(&a) == path(&b), a == b);
        }

        #[test]
        fn a_subtree_is_the_keys_that_begin_with_its_path(a in hostile(), b in hostile()) {
            let below = b == a || b.starts_with(&format!("{a}/"));
            prop_assert_eq!(path(&b).starts_with(&path(&a)), below);
            let after = after_subtree(&path(&a)).unwrap();
            prop_assert_eq!(path(&b) >= path(&a) && path(&b) < after, below);
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes: Vec<u8>, at in 0_usize..20) {
            let _ = level_at(&bytes, at);
            let _ = topic_of(&bytes);
        }
    }
}
