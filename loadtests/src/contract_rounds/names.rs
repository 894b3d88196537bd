//! What clients publish to and subscribe to. Every run has names of its own.

use std::sync::Arc;

use tessera_mqtt::Qos;
use tessera_sim::contract::Subscription;

use super::chance::Chance;

/// Topics of messages, of a group's, and of retained messages.
const MESSAGE_TOPICS: u64 = 4;
const SHARED_TOPICS: u64 = 2;
const RETAINED_TOPICS: u64 = 3;

/// The topics and filters of one run.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    run: u32,
}

impl Names {
    pub(crate) const fn new(run: u32) -> Self {
        Self { run }
    }

    pub(crate) fn message(&self, chance: &mut Chance) -> Arc<str> {
        format!("c{}/m/{}", self.run, chance.below(MESSAGE_TOPICS)).into()
    }

    pub(crate) fn shared(&self, chance: &mut Chance) -> Arc<str> {
        format!("c{}/s/{}", self.run, chance.below(SHARED_TOPICS)).into()
    }

    pub(crate) fn retained(&self, chance: &mut Chance) -> Arc<str> {
        format!("c{}/r/{}", self.run, chance.below(RETAINED_TOPICS)).into()
    }

    pub(crate) fn will(&self, client: u32) -> Arc<str> {
        format!("c{}/w/{client}", self.run).into()
    }

    /// A topic whose retained message is set once: readers wait for it.
    pub(crate) fn sentinel(&self) -> Arc<str> {
        format!("c{}/z", self.run).into()
    }

    pub(crate) fn client(&self, client: u32) -> String {
        format!("c{}-{client}", self.run)
    }

    /// What a client holds all the time, so that losses show.
    pub(crate) fn steady(&self, client: u32) -> Vec<Subscription> {
        let run = self.run;
        let one = Qos::AtLeastOnce;
        let two = Qos::ExactlyOnce;
        let filters: &[(String, Qos)] = &match client {
            0 => vec![(format!("c{run}/w/#"), two), (format!("c{run}/m/#"), two)],
            1 => vec![(format!("c{run}/m/+"), one), (format!("c{run}/w/+"), one)],
            2 => vec![
                (format!("$share/g/c{run}/s/#"), two),
                (format!("c{run}/m/0"), two),
            ],
            3 => vec![(format!("$share/g/c{run}/s/#"), one)],
            4 => vec![(format!("c{run}/m/#"), one), (format!("c{run}/w/#"), two)],
            5 => vec![("+/m/1".to_owned(), two)],
            _ => vec![],
        };
        let filters = filters.iter();
        filters
            .map(|(filter, qos)| subscription(filter, *qos))
            .collect()
    }

    /// What a client may subscribe to and leave again.
    pub(crate) fn passing(&self, is_v5: bool, chance: &mut Chance) -> Subscription {
        let run = self.run;
        let filters = [
            format!("c{run}/m/2"),
            format!("c{run}/m/3"),
            format!("c{run}/+/0"),
            "+/m/+".to_owned(),
            format!("c{run}/#"),
            format!("c{run}/r/+"),
            format!("$share/h/c{run}/s/+"),
        ];
        let filter = chance.pick(&[0, 1, 2, 3, 4, 5, 6]);
        let qos = if filter == 6 {
            chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce])
        } else {
            chance.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
        };
        let mut subscription = subscription(&filters[filter], qos);
        // A shared subscription may not refuse its own messages (MQTT-3.8.3-4).
        subscription.no_local = is_v5 && filter != 6 && chance.percent(10);
        subscription.retain_as_published = is_v5 && chance.percent(10);
        subscription
    }
}

fn subscription(filter: &str, qos: Qos) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
    }
}
