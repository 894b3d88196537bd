//! The node's figures for Prometheus. None is labelled with a tenant: per-tenant figures do not belong
//! on a page whose size grows with the number of customers.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use tessera_config::Config;
use tessera_frontend::{DropReason, Metrics};

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    registry: Registry,
}

impl NodeMetrics {
    pub(crate) fn new(frontend: Arc<Metrics>, config: Config) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Figures::new(frontend, config)?))?;
        Ok(Self { registry })
    }

    /// The page, in the text format.
    pub(crate) fn render(&self) -> Result<String, prometheus::Error> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }
}

/// Reads the counters of the rooms when the page is asked for: nothing is counted twice.
struct Figures {
    frontend: Arc<Metrics>,
    config: Config,
    connections: IntGauge,
    revision: IntGauge,
    counters: [IntCounter; 7],
    dropped: IntCounterVec,
}

const COUNTERS: [(&str, &str); 7] = [
    (
        "tessera_mqtt_connects_accepted_total",
        "CONNECT packets accepted",
    ),
    (
        "tessera_mqtt_connects_refused_total",
        "connections refused or never established",
    ),
    (
        "tessera_mqtt_publish_received_total",
        "PUBLISH packets received",
    ),
    (
        "tessera_mqtt_messages_delivered_total",
        "messages written or queued towards clients",
    ),
    (
        "tessera_limits_refusals_total",
        "PUBLISH packets refused by a limit or a policy",
    ),
    (
        "tessera_mqtt_received_bytes_total",
        "bytes read from devices",
    ),
    ("tessera_mqtt_sent_bytes_total", "bytes written to devices"),
];

impl Figures {
    fn new(frontend: Arc<Metrics>, config: Config) -> Result<Self, prometheus::Error> {
        let mut counters = Vec::with_capacity(COUNTERS.len());
        for (name, help) in COUNTERS {
            counters.push(IntCounter::new(name, help)?);
        }
        let counters = counters
            .try_into()
            .map_err(|_| prometheus::Error::Msg("as many counters as names".to_owned()))?;
        Ok(Self {
            frontend,
            config,
            connections: IntGauge::new("tessera_mqtt_connections", "devices connected")?,
            revision: IntGauge::new("tessera_config_revision", "configuration applied")?,
            counters,
            dropped: IntCounterVec::new(
                Opts::new(
                    "tessera_mqtt_messages_dropped_total",
                    "messages that did not reach a session",
                ),
                &["reason"],
            )?,
        })
    }

    fn values(&self) -> [u64; 7] {
        let metrics = &self.frontend;
        [
            metrics.connects_accepted.get(),
            metrics.connects_refused.get(),
            metrics.messages_received.get(),
            metrics.messages_delivered.get(),
            metrics.publishes_refused.get(),
            metrics.bytes_received.get(),
            metrics.bytes_sent.get(),
        ]
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.connections, &self.revision]
            .into_iter()
            .flat_map(Collector::desc);
        gauges
            .chain(self.counters.iter().flat_map(Collector::desc))
            .chain(self.dropped.desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.connections.set(self.frontend.connections.get());
        let revision = self.config.position().1.0;
        self.revision
            .set(i64::try_from(revision).unwrap_or(i64::MAX));
        for (counter, value) in self.counters.iter().zip(self.values()) {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        for reason in DropReason::ALL {
            let counter = self.dropped.with_label_values(&[reason.name()]);
            let value = self.frontend.messages_dropped.get(reason);
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        let gauges = [&self.connections, &self.revision]
            .into_iter()
            .flat_map(Collector::collect);
        gauges
            .chain(self.counters.iter().flat_map(Collector::collect))
            .chain(self.dropped.collect())
            .collect()
    }
}
