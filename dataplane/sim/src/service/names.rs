//! What clients publish to and subscribe to: the same names in every tenant.

use std::sync::Arc;

use tessera_mqtt::Qos;

use crate::contract::Subscription;
use crate::rng::Rng;

/// Topics of messages, of a group's, and of retained messages.
const MESSAGE_TOPICS: u64 = 4;
const SHARED_TOPICS: u64 = 2;
const RETAINED_TOPICS: u64 = 3;
/// What `passing` picks from.
const PASSING: [&str; 7] = [
    "c/m/2",
    "c/m/3",
    "c/+/0",
    "+/m/+",
    "c/#",
    "c/r/+",
    "$share/h/c/s/+",
];
/// A topic whose retained message is set once: readers wait for it.
pub(crate) const SENTINEL: &str = "c/z";

pub(crate) fn message(rng: &mut Rng) -> Arc<str> {
    format!("c/m/{}", rng.below(MESSAGE_TOPICS)).into()
}

pub(crate) fn shared(rng: &mut Rng) -> Arc<str> {
    format!("c/s/{}", rng.below(SHARED_TOPICS)).into()
}

pub(crate) fn retained(rng: &mut Rng) -> Arc<str> {
    format!("c/r/{}", rng.below(RETAINED_TOPICS)).into()
}

pub(crate) fn will(client: u32) -> Arc<str> {
    format!("c/w/{client}").into()
}

pub(crate) fn client(client: u32) -> String {
    format!("client-{client}")
}

/// What a client holds all the time, so that losses show.
pub(crate) fn steady(client: u32) -> Vec<Subscription> {
    let (one, two) = (Qos::AtLeastOnce, Qos::ExactlyOnce);
    let filters: &[(&str, Qos)] = match client {
        0 => &[("c/w/#", two), ("c/m/#", two)],
        1 => &[("c/m/+", one), ("c/w/+", one)],
        2 => &[("$share/g/c/s/#", two), ("c/m/0", two)],
        3 => &[("$share/g/c/s/#", one)],
        4 => &[("c/m/#", one), ("c/w/#", two)],
        5 => &[("+/m/1", two)],
        _ => &[],
    };
    let filters = filters.iter();
    filters
        .map(|(filter, qos)| subscription(filter, *qos))
        .collect()
}

/// What a client may subscribe to and leave again.
pub(crate) fn passing(is_v5: bool, rng: &mut Rng) -> Subscription {
    let filter = rng.pick(&PASSING);
    let is_shared = filter.starts_with("$share/");
    let qos = if is_shared {
        rng.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce])
    } else {
        rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
    };
    let mut subscription = subscription(filter, qos);
    // A shared subscription may not refuse its own messages (MQTT-3.8.3-4).
    subscription.no_local = is_v5 && !is_shared && rng.chance(100);
    subscription.retain_as_published = is_v5 && rng.chance(100);
    subscription
}

fn subscription(filter: &str, qos: Qos) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
    }
}
