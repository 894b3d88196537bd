//! Which retained topics a filter matches, as a walk over sorted paths that jumps over subtrees.
//!
//! [`Walk::step`] looks at one path: it matches, or it names the smallest path that may still match,
//! so that `+/a/b` over a million topics `x/…` costs a seek for each first level, not a million rows.

use tessera_mqtt::{FilterLevel, TopicFilter};

use crate::path::{after_subtree, level_at, push_level};

/// What a path means for the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The filter matches it; go on with the path after it.
    Match,
    /// It does not; no path below this one does. Above the path that was looked at.
    Seek(Vec<u8>),
    /// It does not, and no later one does.
    Done,
}

#[derive(Debug)]
enum Level {
    /// With its length in front.
    Exact(Vec<u8>),
    Plus,
    Hash,
}

/// A filter, ready to walk.
#[derive(Debug)]
pub(crate) struct Walk(Vec<Level>);

impl Walk {
    pub(crate) fn new(filter: &TopicFilter) -> Self {
        let level = |level| match level {
            FilterLevel::Plus => Level::Plus,
            FilterLevel::Hash => Level::Hash,
            FilterLevel::Exact(text) => {
                let mut exact = Vec::with_capacity(text.len() + 1);
                push_level(&mut exact, text);
                Level::Exact(exact)
            }
        };
        Self(filter.levels().map(level).collect())
    }

    /// The smallest path that may match.
    pub(crate) fn start(&self) -> Vec<u8> {
        self.with_exact(Vec::new(), 0)
    }

    /// What this path means. `None`: it is not a path.
    pub(crate) fn step(&self, path: &[u8]) -> Option<Step> {
        let mut at = 0;
        let mut sibling = None;
        for (depth, level) in self.0.iter().enumerate() {
            let wild = !matches!(level, Level::Exact(_));
            if depth == 0
                && wild
                && let Some(seek) = after_dollar(path)?
            {
                return Some(seek);
            }
            if matches!(level, Level::Hash) {
                return Some(Step::Match);
            }
            if at == path.len() {
                return Some(Step::Seek(self.below(path, depth)));
            }
            let found = level_at(path, at)?;
            if let Level::Exact(exact) = level {
                match path[at..found.end].cmp(exact) {
                    std::cmp::Ordering::Equal => {}
                    std::cmp::Ordering::Less => {
                        return Some(Step::Seek(self.with_exact(path[..at].to_vec(), depth)));
                    }
                    std::cmp::Ordering::Greater => return Some(turn_back(path, sibling)),
                }
            } else {
                sibling = Some(found.end);
            }
            at = found.end;
        }
        Some(if at == path.len() {
            Step::Match
        } else {
            turn_back(path, sibling)
        })
    }

    /// The smallest path below this one that may match, if its levels fit up to `depth`.
    fn below(&self, path: &[u8], depth: usize) -> Vec<u8> {
        let mut below = self.with_exact(path.to_vec(), depth);
        if below.len() == path.len() {
            // `+` next: the smallest level is the empty one.
            below.push(0);
        }
        below
    }

    /// Appends the exact levels from `depth` on, up to the first wildcard.
    fn with_exact(&self, mut path: Vec<u8>, depth: usize) -> Vec<u8> {
        for level in self.0.iter().skip(depth) {
            let Level::Exact(exact) = level else { break };
            path.extend_from_slice(exact);
        }
        path
    }
}

/// Nothing more below the level of the last `+`: on to its next sibling.
fn turn_back(path: &[u8], sibling: Option<usize>) -> Step {
    let next = sibling.and_then(|end| after_subtree(&path[..end]));
    next.map_or(Step::Done, Step::Seek)
}

/// A wildcard in the first level matches no topic that begins with `$` (MQTT-4.7.2-1): on to the
/// first that does not, among the first levels of that length.
fn after_dollar(path: &[u8]) -> Option<Option<Step>> {
    let first = level_at(path, 0)?;
    if path[first.text..first.end].first() != Some(&b'$') {
        return Some(None);
    }
    let mut next = path[..first.text].to_vec();
    next.push(b'$' + 1);
    Some(Some(Step::Seek(next)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::path_of;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use tessera_mqtt::TopicName;

    /// The topics that a walk finds, and how many paths it looked at.
    fn walk(filter: &TopicFilter, topics: &[TopicName]) -> (BTreeSet<TopicName>, usize) {
        let paths: std::collections::BTreeMap<_, _> = topics
            .iter()
            .map(|topic| (path_of(topic), topic.clone()))
            .collect();
        let walk = Walk::new(filter);
        let mut found = BTreeSet::new();
        let mut looks = 0;
        let mut from = walk.start();
        while let Some((path, topic)) = paths.range(from.clone()..).next() {
            looks += 1;
            match walk.step(path).unwrap() {
                Step::Match => {
                    found.insert(topic.clone());
                    from = [&path[..], &[0]].concat();
                }
                Step::Seek(next) => {
                    assert!(next > *path, "a seek goes forward");
                    from = next;
                }
                Step::Done => break,
            }
        }
        (found, looks)
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    #[test]
    fn wildcards_match_as_the_standard_says() {
        let topics = [
            "a", "a/b", "a/b/c", "a/", "/a", "/", "$SYS", "$SYS/a", "b/b", "ab",
        ];
        let topics = topics.map(topic);
        let cases: [(&str, &[&str]); 11] = [
            ("#", &["a", "a/b", "a/b/c", "a/", "/a", "/", "b/b", "ab"]),
            ("+", &["a", "ab"]),
            ("+/+", &["a/b", "a/", "/a", "/", "b/b"]),
            ("a/#", &["a", "a/b", "a/b/c", "a/"]),
            ("a/+", &["a/b", "a/"]),
            ("+/b", &["a/b", "b/b"]),
            ("/#", &["/a", "/"]),
            ("$SYS/#", &["$SYS", "$SYS/a"]),
            ("$SYS/+", &["$SYS/a"]),
            ("a/b/c", &["a/b/c"]),
            ("a/b/d", &[]),
        ];
        for (text, expected) in cases {
            let (found, _) = walk(&filter(text), &topics);
            let expected: BTreeSet<_> = expected.iter().map(|text| topic(text)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_walk_jumps_over_subtrees() {
        let mut topics = Vec::new();
        for site in 0..20 {
            for sensor in 0..100 {
                topics.push(topic(&format!("s{site}/{sensor}/temperature")));
            }
            topics.push(topic(&format!("s{site}/state")));
        }
        let (found, looks) = walk(&filter("+/state"), &topics);
        assert_eq!(found.len(), 20);
        assert!(
            looks <= 20 * 3,
            "{looks} looks for 20 of {} topics",
            topics.len()
        );
        let (found, looks) = walk(&filter("s7/5/#"), &topics);
        assert_eq!((found.len(), looks), (1, 2));
        let (found, looks) = walk(&filter("none/+/temperature"), &topics);
        assert_eq!((found.len(), looks), (0, 0));
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            Just(""),
            Just("a"),
            Just("b"),
            Just("aa"),
            Just("$x"),
            Just("é\u{1}")
        ]
    }

    fn topics() -> impl Strategy<Value = Vec<TopicName>> {
        let name = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
        let name = name.prop_filter("not empty", |text| !text.is_empty());
        prop::collection::vec(name.prop_map(|text| topic(&text)), 0..40)
    }

    fn filters() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![3 => level(), 2 => Just("+")];
        let filter = (prop::collection::vec(level, 0..5), any::<bool>());
        let filter = filter.prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            levels.join("/")
        });
        filter.prop_filter_map("not a filter", |text| TopicFilter::try_from(&text[..]).ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_walk_finds_what_the_filter_matches(filter in filters(), topics in topics()) {
            let expected: BTreeSet<_> =
                topics.iter().filter(|topic| filter.matches(topic)).cloned().collect();
            let (found, _) = walk(&filter, &topics);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_path_panics_a_walk(filter in filters(), path: Vec<u8>) {
            let _ = Walk::new(&filter).step(&path);
        }
    }
}
