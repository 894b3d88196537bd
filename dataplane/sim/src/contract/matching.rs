//! The standard's matching of topics, word by word: slow, and independent of the product's.

use std::sync::Arc;

/// A shared subscription's group: its name and its filter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) filter: Arc<str>,
}

/// The group that a filter as on the wire names, if it is a shared one. An ordered one is a group of
/// its own.
pub(crate) fn group(filter: &str) -> Option<Group> {
    let mut parts = filter.splitn(3, '/');
    let prefix = parts.next()?;
    if prefix != "$share" && prefix != "$oshare" {
        return None;
    }
    let name = parts.next()?;
    let filter = parts.next()?;
    Some(Group {
        name: format!("{prefix}/{name}").into(),
        filter: filter.into(),
    })
}

/// Whether the filter as on the wire takes the topic.
pub(crate) fn takes(filter: &str, topic: &str) -> bool {
    match group(filter) {
        Some(group) => matches(&group.filter, topic),
        None => matches(filter, topic),
    }
}

/// Whether a filter that is not shared matches (MQTT 5, 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    let starts_wild = filter.starts_with('+') || filter.starts_with('#');
    if topic.starts_with('$') && starts_wild {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
        ([level, filter @ ..], [same, topic @ ..]) => level == same && levels_match(filter, topic),
        ([], [..]) | ([_, ..], []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (filter, topic, is_match) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            ("sport/tennis/player1/#", "sport/tennis/player12", false),
            ("sport/#", "sport", true),
            ("#", "sport", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a", "A", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("$share/g/a/+", "a/b", true),
            ("$share/g/a/+", "g/a/b", false),
            ("$oshare/g/#", "a", true),
            ("$share/g/#", "$SYS/x", false),
        ] {
            assert_eq!(takes(filter, topic), is_match, "{filter} {topic}");
        }
    }

    #[test]
    fn a_group_has_a_name_and_a_filter() {
        let found = group("$share/g/a/b").unwrap();
        assert_eq!((&*found.name, &*found.filter), ("$share/g", "a/b"));
        assert_eq!(group("a/b"), None);
        assert_ne!(group("$share/g/a"), group("$oshare/g/a"));
    }
}
