//! One run's figures.

use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// What a scenario measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) messages_per_second: f64,
    /// `None` if no process was named.
    pub(crate) messages_per_cpu_second: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) latency_us: Latency,
}

/// Microseconds from the publisher's write to the subscriber's read.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// Any figures as one line of JSON on standard output.
pub(crate) fn print_json(figures: &impl Serialize) {
    let json = serde_json::to_string(figures).unwrap_or_default();
    // A reader that is gone wants no figures.
    writeln!(std::io::stdout(), "{json}").unwrap_or_default();
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(crate) fn new(
        scenario: String,
        messages: u64,
        elapsed: Duration,
        cpu: Option<Duration>,
        latency: &Histogram<u64>,
    ) -> Self {
        let count = messages as f64;
        Self {
            scenario,
            messages,
            seconds: elapsed.as_secs_f64(),
            messages_per_second: count / elapsed.as_secs_f64(),
            messages_per_cpu_second: cpu
                .filter(|cpu| !cpu.is_zero())
                .map(|cpu| count / cpu.as_secs_f64()),
            cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
            latency_us: Latency {
                p50: latency.value_at_quantile(0.5),
                p90: latency.value_at_quantile(0.9),
                p99: latency.value_at_quantile(0.99),
                p999: latency.value_at_quantile(0.999),
                max: latency.max(),
            },
        }
    }

    /// The figures for people on standard error, as one line of JSON on standard output.
    pub(crate) fn print(&self) {
        let per_cpu = self.messages_per_cpu_second.map_or_else(
            || "no process named".to_owned(),
            |rate| format!("{rate:.0}"),
        );
        let latency = &self.latency_us;
        let table = format!(
            "{}\n  messages            {} in {:.1} s\n  per second          {:.0}\n  per CPU-second      \
             {per_cpu}\n  latency us          p50 {} p90 {} p99 {} p99.9 {} max {}\n",
            self.scenario,
            self.messages,
            self.seconds,
            self.messages_per_second,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.p999,
            latency.max,
        );
        std::io::stderr()
            .write_all(table.as_bytes())
            .unwrap_or_default();
        print_json(self);
    }
}
