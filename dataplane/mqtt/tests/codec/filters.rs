//! Topic filters and shared subscriptions against naive oracles.

use proptest::prelude::*;
use tessera_mqtt::{
    ClientId, ClientIdError, FilterError, FilterLevel, FilterSpec, MqttString, ShareName,
    StringError, TopicError, TopicFilter, TopicName,
};

/// The standard's rules, by the book: split, recurse.
fn naive_matches(filter: &str, topic: &str) -> bool {
    fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
            ([wanted, filter @ ..], [name, topic @ ..]) => {
                wanted == name && levels_match(filter, topic)
            }
            ([_, ..], []) | ([], [_, ..]) => false,
        }
    }
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    levels_match(&filter, &topic)
}

/// The standard's rules on the form of a filter.
fn naive_is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let last = levels.len() - 1;
    let level_is_fine = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at == last,
        text => !text.contains(['+', '#']),
    };
    !text.is_empty()
        && !text.starts_with("$share/")
        && !text.starts_with("$oshare/")
        && levels.iter().enumerate().all(level_is_fine)
}

fn topic_text() -> impl Strategy<Value = String> {
    "(\\$)?([ab]{0,2}|ü)(/([ab]{0,2}|ü)){0,4}"
}

fn filter_text() -> impl Strategy<Value = String> {
    "(\\$)?([ab]{0,2}|ü|\\+|#)(/([ab]{0,2}|ü|\\+)){0,4}(/#)?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn matching_is_what_the_standard_says(filter in filter_text(), topic in topic_text()) {
        if let (Ok(filter), Ok(name)) =
            (TopicFilter::try_from(&*filter), TopicName::try_from(&*topic))
        {
            prop_assert_eq!(filter.matches(&name), naive_matches(filter.as_str(), &topic));
        }
    }

    #[test]
    fn a_filter_is_what_the_standard_says(
        text in prop_oneof![filter_text(), "[ab/+#$]{0,8}", "\\$o?share/[ab/+#]{0,6}"],
    ) {
        prop_assert_eq!(TopicFilter::try_from(&*text).is_ok(), naive_is_filter(&text));
    }

    #[test]
    fn a_topic_name_is_any_text_without_wildcard(text in "[ab/+#$üx\u{0}\u{1F600}]{0,40}") {
        let expected = !text.is_empty() && !text.contains(['+', '#', '\0']);
        prop_assert_eq!(TopicName::try_from(&*text).is_ok(), expected);
    }

    #[test]
    fn a_string_is_utf_8_without_nul(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let expected = std::str::from_utf8(&bytes).is_ok() && !bytes.contains(&0);
        let string = MqttString::try_from(bytes::Bytes::from(bytes));
        prop_assert_eq!(string.is_ok(), expected);
    }

    #[test]
    fn a_filter_spec_reads_back_from_its_text(
        text in prop_oneof![filter_text(), "\\$o?share/[ab]{1,3}/[ab/]{1,4}(/\\+)?(/#)?"],
    ) {
        if let Ok(spec) = FilterSpec::try_from(&*text) {
            prop_assert_eq!(spec.to_string(), text.clone());
            prop_assert_eq!(spec.is_shared(), text.contains("share/"));
        }
    }

    #[test]
    fn levels_are_the_parts_between_slashes(topic in topic_text()) {
        if let Ok(name) = TopicName::try_from(&*topic) {
            let levels: Vec<&[u8]> = name.levels().collect();
            let expected: Vec<&[u8]> = topic.split('/').map(str::as_bytes).collect();
            prop_assert_eq!(levels, expected);
        }
    }
}

/// Every text of one to `levels` levels out of these.
fn texts_of(parts: &[&str], levels: usize) -> Vec<String> {
    let mut all: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    let mut last = all.clone();
    for _ in 1..levels {
        let longer = |text: &String| parts.iter().map(|part| format!("{text}/{part}")).collect();
        last = last.iter().flat_map::<Vec<String>, _>(longer).collect();
        all.extend_from_slice(&last);
    }
    all
}

#[test]
fn every_short_filter_matches_every_short_topic_as_the_standard_says() {
    let topics = texts_of(&["", "a", "$b"], 4);
    let names: Vec<(&String, TopicName)> = topics
        .iter()
        .filter_map(|topic| Some((topic, TopicName::try_from(&**topic).ok()?)))
        .collect();
    let mut matching = 0;
    for text in texts_of(&["", "a", "$b", "+", "#"], 4) {
        let filter = TopicFilter::try_from(&*text);
        assert_eq!(filter.is_ok(), naive_is_filter(&text), "{text}");
        let Ok(filter) = filter else { continue };
        for (topic, name) in &names {
            let expected = naive_matches(&text, topic);
            assert_eq!(filter.matches(name), expected, "{text} {topic}");
            matching += usize::from(expected);
        }
    }
    assert!(matching > 1_000, "{matching}");
}

#[test]
fn the_standards_own_examples_match() {
    for (filter, topic, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/#", "sport", true),
        ("#", "sport/tennis", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/x", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/monitor", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("$SYS/+", "$SYS/monitor/Clients", false),
        ("a/#", "$a", false),
        ("A", "a", false),
        ("\u{0041}\u{030A}", "\u{00C5}", false),
    ] {
        let matches = TopicFilter::try_from(filter)
            .unwrap()
            .matches(&TopicName::try_from(topic).unwrap());
        assert_eq!(matches, expected, "{filter} {topic}");
    }
}

#[test]
fn a_filter_of_the_longest_text_is_matched_without_recursion() {
    let slashes = "/".repeat(65_533);
    let filter = TopicFilter::try_from(&*format!("{slashes}/#")).unwrap();
    assert!(filter.matches(&TopicName::try_from(&*slashes).unwrap()));
    assert!(!filter.matches(&TopicName::try_from("/").unwrap()));
}

#[test]
fn shared_subscriptions_are_read_once_and_typed() {
    let spec = FilterSpec::try_from("$oshare/group/a/+").unwrap();
    let share = spec.share.unwrap();
    assert_eq!((share.name.as_str(), share.ordered), ("group", true));
    let levels: Vec<FilterLevel<'_>> = spec.filter.levels().collect();
    assert_eq!(levels, [FilterLevel::Exact(b"a"), FilterLevel::Plus]);

    for (text, error) in [
        ("$share/", FilterError::ShareName),
        ("$share//t", FilterError::ShareName),
        ("$share/a+/t", FilterError::ShareName),
        ("$share/g", FilterError::ShareWithoutFilter),
        ("$share/g/", FilterError::ShareWithoutFilter),
        ("$share/g/a#", FilterError::Hash),
        ("$share/g/$share/h/t", FilterError::Reserved),
        ("a#", FilterError::Hash),
        ("a/#/b", FilterError::Hash),
        ("a+", FilterError::Plus),
        ("", FilterError::Empty),
    ] {
        assert_eq!(FilterSpec::try_from(text), Err(error), "{text}");
    }
    assert!(!FilterSpec::try_from("$share").unwrap().is_shared());
}

#[test]
fn names_say_why_they_are_refused() {
    let long = "x".repeat(65_536);
    let too_long = StringError::TooLong { len: 65_536 };
    assert_eq!(MqttString::try_from(&*long), Err(too_long));
    assert_eq!(MqttString::try_from("a\0"), Err(StringError::Nul));
    assert_eq!(TopicName::try_from(""), Err(TopicError::Empty));
    assert_eq!(TopicName::try_from("a/+"), Err(TopicError::Wildcard));
    assert_eq!(TopicName::try_from("$share/g/t"), Err(TopicError::Reserved));
    assert_eq!(ClientId::try_from(""), Err(ClientIdError::Empty));
    assert_eq!(ShareName::try_from("a/b"), Err(FilterError::ShareName));
    assert!(
        MqttString::try_from("\u{FEFF}x")
            .unwrap()
            .as_str()
            .starts_with('\u{FEFF}')
    );
}

#[test]
fn a_filter_says_whether_it_holds_a_wildcard() {
    for (text, holds) in [
        ("a/b", false),
        ("$a", false),
        ("+", true),
        ("a/+/b", true),
        ("a/#", true),
        ("#", true),
    ] {
        let filter = TopicFilter::try_from(text).unwrap();
        assert_eq!(filter.has_wildcard(), holds, "{text}");
    }
}
