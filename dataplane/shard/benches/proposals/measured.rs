//! What a round measures, and what rounds come to.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::disk::Asked;

/// One round.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) records: u64,
    /// Entries that they came in, or commits.
    pub(crate) entries: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) log: Asked,
    pub(crate) state: Asked,
    /// Of each record, or of each commit where records have none of their own. In order.
    pub(crate) latencies_us: Vec<u32>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        float(self.records) / self.seconds
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / float(self.records)
    }

    /// `copies` is how many logs have each record.
    pub(crate) fn records_per_sync(&self, copies: u64) -> f64 {
        float(self.records * copies) / float(self.log.syncs)
    }

    /// `copies` is how many nodes apply each entry.
    pub(crate) fn records_per_entry(&self, copies: u64) -> f64 {
        float(self.records * copies) / float(self.entries)
    }

    pub(crate) fn bytes_per_record(&self) -> f64 {
        float(self.log.bytes + self.state.bytes) / float(self.records)
    }

    /// The latency that `percent` of all stay below.
    pub(crate) fn latency_us(&self, percent: usize) -> f64 {
        let last = self.latencies_us.len() - 1;
        f64::from(self.latencies_us[last * percent / 100])
    }
}

/// Time and CPU time since a moment.
pub(crate) struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: process_cpu(),
        }
    }

    /// Seconds, and seconds of CPU of the whole process.
    pub(crate) fn read(&self) -> (f64, f64) {
        let cpu = process_cpu() - self.cpu;
        (self.started.elapsed().as_secs_f64(), cpu.as_secs_f64())
    }
}

fn process_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap();
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap())
}

/// Rounds' figures: the median, the lowest and the highest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Self {
            median: figures[figures.len() / 2],
            lowest: figures[0],
            highest: figures[figures.len() - 1],
        }
    }
}

/// `12.3 (11.0 to 14.1)`, with about three digits.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median {
            ..10.0 => 2,
            ..100.0 => 1,
            _ => 0,
        };
        let Self {
            median,
            lowest,
            highest,
        } = self;
        write!(
            f,
            "{median:.digits$} ({lowest:.digits$} to {highest:.digits$})"
        )
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of one run are far below 2^53"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}
