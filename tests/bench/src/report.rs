//! Results: a table for people, JSON for machines.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use plexus_service::{out, outln};
use serde::{Deserialize, Serialize};

/// What a run found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) label: String,
    pub(crate) scenario: String,
    pub(crate) seconds: f64,
    pub(crate) sends: u64,
    pub(crate) sends_per_s: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) send_ms: Percentiles,
    pub(crate) delivery_ms: Option<Percentiles>,
    /// CPU seconds of all processes under test for 1,000 acknowledged sends.
    pub(crate) cpu_s_per_1000: f64,
    /// Cores that the processes under test kept busy.
    pub(crate) cores: f64,
    /// Cores that the load generator kept busy.
    pub(crate) own_cores: f64,
    pub(crate) idle_memory_mib: f64,
    pub(crate) memory_mib: f64,
    /// Acknowledged and never delivered.
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Microseconds, up to two minutes, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(120_000_000, 3).expect("the bounds make sense")
}

/// Microseconds, for [`histogram`].
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "two minutes in microseconds are far below 2^52")]
        let ms = |micros: u64| micros as f64 / 1000.0;
        Self {
            count: histogram.len(),
            p50: ms(histogram.value_at_quantile(0.5)),
            p90: ms(histogram.value_at_quantile(0.9)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
        }
    }
}

impl Results {
    pub(crate) fn set_sends(&mut self, latency_us: &Histogram<u64>) {
        self.send_ms = Percentiles::of(latency_us);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let sends = self.sends as f64;
        self.sends_per_s = sends / self.seconds;
    }

    pub(crate) fn set_delivery(&mut self, latency_us: &Histogram<u64>) {
        self.delivery_ms = Some(Percentiles::of(latency_us));
    }

    pub(crate) fn set_cpu(&mut self, cpu_s: f64, own_cpu_s: f64) {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let thousands = self.sends.max(1) as f64 / 1000.0;
        self.cpu_s_per_1000 = cpu_s / thousands;
        self.cores = cpu_s / self.seconds;
        self.own_cores = own_cpu_s / self.seconds;
    }

    fn rows(&self) -> Vec<(&'static str, f64)> {
        let mut rows = vec![
            ("sends/s", self.sends_per_s),
            ("send p50 ms", self.send_ms.p50),
            ("send p90 ms", self.send_ms.p90),
            ("send p99 ms", self.send_ms.p99),
        ];
        if let Some(delivery) = &self.delivery_ms {
            rows.extend([
                ("delivery p50 ms", delivery.p50),
                ("delivery p90 ms", delivery.p90),
                ("delivery p99 ms", delivery.p99),
            ]);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        rows.extend([
            ("CPU s per 1,000 events", self.cpu_s_per_1000),
            ("cores busy", self.cores),
            ("cores busy, load generator", self.own_cores),
            ("memory MiB before", self.idle_memory_mib),
            ("memory MiB after", self.memory_mib),
            ("errors", self.errors as f64),
            ("lost", self.lost as f64),
            ("duplicates", self.duplicates as f64),
        ]);
        rows
    }

    /// Prints one run.
    pub(crate) fn print(&self) {
        outln!("{}: {} ({:.0} s)", self.label, self.scenario, self.seconds);
        for (name, value) in self.rows() {
            outln!("  {name:<28} {value:>12.2}");
        }
        if let Some(error) = &self.first_error {
            outln!("  the first error: {error}");
        }
    }
}

/// Prints runs side by side, by scenario, each with its ratio to the first.
pub(crate) fn compare(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut all: Vec<Results> = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        all.push(serde_json::from_str(&text).with_context(|| format!("{} is not a result", file.display()))?);
    }
    let mut scenarios: Vec<String> = all.iter().map(|results| results.scenario.clone()).collect();
    scenarios.dedup();
    for scenario in scenarios {
        let runs: Vec<_> = all.iter().filter(|results| results.scenario == scenario).collect();
        outln!("\n{scenario}");
        out!("  {:<28}", "");
        for run in &runs {
            out!(" {:>24}", run.label);
        }
        outln!();
        let columns: Vec<_> = runs.iter().map(|run| run.rows()).collect();
        for (index, (name, first)) in columns[0].iter().enumerate() {
            out!("  {name:<28}");
            for (column, rows) in columns.iter().enumerate() {
                let value = rows[index].1;
                let ratio = if column == 0 || *first == 0.0 {
                    String::new()
                } else {
                    format!("(×{:.2})", value / first)
                };
                out!(" {:>24}", format!("{value:.2} {ratio:>10}"));
            }
            outln!();
        }
    }
    Ok(())
}
