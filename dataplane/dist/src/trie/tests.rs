use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tessera_mqtt::FilterSpec;

use super::*;
use crate::testing::{persistent, route, routes, topics, transient};

/// MQTT 5, 4.7, word by word.
fn naively_matches(filter: &FilterSpec, topic: &TopicName) -> bool {
    fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
            ([wanted, filter @ ..], [level, topic @ ..]) => {
                wanted == level && levels_match(filter, topic)
            }
            (_, []) | ([], _) => false,
        }
    }
    let (filter, topic) = (filter.filter.as_str(), topic.as_str());
    let dollar = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    !dollar && levels_match(&filter, &topic)
}

fn matches(trie: &Trie, topic: &TopicName) -> Vec<Route> {
    let mut found = Vec::new();
    trie.for_each_match(topic, &mut |route| found.push(route.clone()));
    found.sort();
    found
}

fn all(trie: &Trie) -> Vec<Route> {
    let mut found = Vec::new();
    trie.for_each(&mut |route| found.push(route.clone()));
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_snapshot_matches_as_the_naive_oracle_does(
        changes in prop::collection::vec((prop::bool::weighted(0.75), routes()), 1..60),
        topics in prop::collection::vec(topics(), 1..12),
        again in any::<prop::sample::Index>(),
    ) {
        let (mut trie, mut model) = (Trie::default(), BTreeMap::new());
        let mut snapshots = Vec::new();
        let repeated = changes[again.index(changes.len())].clone();
        for (insert, route) in changes.into_iter().chain([repeated]) {
            snapshots.push((trie.clone(), model.clone()));
            let at = (route.filter.clone(), route.receiver.clone());
            let (changed, expected) = if insert {
                (trie.insert(&route), model.insert(at, route.options) != Some(route.options))
            } else {
                (trie.remove(&route.filter, &route.receiver), model.remove(&at).is_some())
            };
            prop_assert_eq!(changed, expected);
        }
        snapshots.push((trie, model));
        for (trie, model) in snapshots {
            let routes: Vec<Route> = model
                .into_iter()
                .map(|((filter, receiver), options)| Route { filter, receiver, options })
                .collect();
            prop_assert_eq!(trie.len(), routes.len());
            prop_assert_eq!(&all(&trie), &routes);
            for topic in &topics {
                let mut expected = routes.clone();
                expected.retain(|route| naively_matches(&route.filter, topic));
                prop_assert_eq!(matches(&trie, topic), expected, "topic {}", topic);
            }
        }
    }
}

/// Which of the filters match the topic, the trie and the oracle agreeing.
#[track_caller]
fn check(topic: &str, filters: &[&str], expected: &[&str]) {
    let mut trie = Trie::default();
    for filter in filters {
        trie.insert(&route(filter, transient(1, 1)));
    }
    let topic = TopicName::try_from(topic).unwrap();
    let found: BTreeSet<String> = matches(&trie, &topic)
        .into_iter()
        .map(|route| route.filter.to_string())
        .collect();
    assert_eq!(found, expected.iter().map(ToString::to_string).collect());
    for filter in filters {
        let filter = FilterSpec::try_from(*filter).unwrap();
        let expected = expected.contains(&&*filter.to_string());
        assert_eq!(naively_matches(&filter, &topic), expected, "{filter}");
    }
}

#[test]
fn the_examples_of_the_standard_hold() {
    let player = [
        "sport/tennis/player1/#",
        "sport/#",
        "#",
        "+/tennis/#",
        "sport/+",
    ];
    check(
        "sport/tennis/player1",
        &player,
        &[player[0], "sport/#", "#", "+/tennis/#"],
    );
    check("sport", &player, &["sport/#", "#"]);
    check("sport/", &player, &["sport/#", "#", "sport/+"]);
    check("/finance", &["+/+", "/+", "+", "#"], &["+/+", "/+", "#"]);
    check(
        "a",
        &["a/#", "a/+", "a/+/#", "a", "+/#", "a//#"],
        &["a/#", "a", "+/#"],
    );
    check(
        "a/",
        &["a/#", "a/+", "a", "a/", "a//#", "a/+/#"],
        &["a/#", "a/+", "a/", "a//#", "a/+/#"],
    );
}

#[test]
fn a_leading_wildcard_matches_no_topic_that_begins_with_a_dollar() {
    let filters = [
        "#",
        "+/monitor/+",
        "+/#",
        "$SYS/#",
        "$SYS/monitor/+",
        "$SYS/+/x",
        "$share/g/#",
    ];
    let expected = ["$SYS/#", "$SYS/monitor/+", "$SYS/+/x"];
    check("$SYS/monitor/x", &filters, &expected);
    check(
        "a/$SYS",
        &["#", "+/+", "a/+", "+/$SYS"],
        &["#", "+/+", "a/+", "+/$SYS"],
    );
}

#[test]
fn one_filter_may_have_many_receivers_and_groups() {
    let mut trie = Trie::default();
    let filters = ["a/b", "$share/g/a/b", "$oshare/g/a/b", "$share/h/a/b"];
    for filter in filters {
        for receiver in [
            transient(1, 1),
            transient(2, 1),
            persistent("c", 1),
            persistent("c", 2),
        ] {
            assert!(trie.insert(&route(filter, receiver)));
        }
    }
    let topic = TopicName::try_from("a/b").unwrap();
    assert_eq!(matches(&trie, &topic).len(), 16);
    assert!(trie.remove(&filters[1].try_into().unwrap(), &persistent("c", 1)));
    let left = matches(&trie, &topic);
    assert_eq!(left.len(), 15);
    assert!(left.contains(&route("$share/g/a/b", persistent("c", 2))));
}

/// Runs where recursion over levels would overflow at once.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    const STACK_BYTES: usize = 96 * 1024;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn the_longest_topics_and_filters_need_no_stack() {
    on_a_small_stack(|| {
        let slashes = "/".repeat(65_535);
        let levels = ["a"; 32_768].join("/");
        let plusses = ["+"; 32_768].join("/");
        let long_level = "x".repeat(65_535);
        let mut trie = Trie::default();
        for filter in [&slashes, &levels, &plusses, &long_level, "#"] {
            assert!(trie.insert(&route(filter, persistent("c", 1))));
        }
        for (topic, expected) in [(&slashes, 2), (&levels, 3), (&long_level, 2)] {
            let topic = TopicName::try_from(&**topic).unwrap();
            assert_eq!(matches(&trie, &topic).len(), expected);
        }
        assert_eq!(all(&trie).len(), 5);
    });
}

#[test]
fn a_trie_as_deep_as_a_topic_is_long_needs_no_stack() {
    const DEPTH: usize = 1_500;
    on_a_small_stack(|| {
        let levels = ["a"; DEPTH].join("/");
        let mut trie = Trie::default();
        for end in (1..=levels.len()).step_by(2) {
            assert!(trie.insert(&route(&levels[..end], transient(1, 1))));
            assert!(trie.insert(&route(&format!("{}/#", &levels[..end]), transient(1, 1))));
        }
        let topic = TopicName::try_from(&*levels).unwrap();
        assert_eq!(matches(&trie, &topic).len(), DEPTH + 1);
        let snapshot = trie.clone();
        assert!(trie.remove(&levels.as_str().try_into().unwrap(), &transient(1, 1)));
        drop(snapshot);
        assert_eq!(trie.len(), 2 * DEPTH - 1);
    });
}

#[test]
fn a_route_takes_little_memory() {
    const ROUTES: usize = 50_000;
    let mut trie = Trie::default();
    for number in 0..ROUTES {
        let client = format!(
            "device-{:08x}",
            number.wrapping_mul(2_654_435_761) % (1 << 32)
        );
        trie.insert(&route(
            &format!("site/7/{client}/commands"),
            persistent(&client, 1),
        ));
    }
    let bytes_per_route = trie.routes.heap_bytes() / ROUTES;
    assert!(bytes_per_route <= 140, "{bytes_per_route} bytes a route");
}
