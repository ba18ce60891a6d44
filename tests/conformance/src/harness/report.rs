//! What came of a test.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::wire::Exchange;

/// Whether a test passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did.
    Passed,
    /// It did not, and this is what it said.
    Failed(String),
}

/// What came of a test.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Name of the test.
    pub(crate) name: String,
    /// Whether it passed.
    pub(crate) outcome: Outcome,
    /// How long it took.
    pub(crate) took: Duration,
    /// What was said.
    pub(crate) exchanges: Vec<Exchange>,
}

impl Report {
    /// Whether it passed.
    pub(crate) fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    /// For machines: name, result, seconds, what was said by the test, and the requests it made.
    pub(crate) fn json(&self) -> Value {
        let requests = self.exchanges.iter().map(|exchange| {
            json!([exchange.method, exchange.path.split('?').next().unwrap_or_default(), exchange.status])
        });
        json!({
            "name": self.name,
            "passed": self.passed(),
            "seconds": self.took.as_secs_f64(),
            "failure": match &self.outcome {
                Outcome::Passed => Value::Null,
                Outcome::Failed(said) => Value::from(said.as_str()),
            },
            "requests": requests.collect::<Vec<_>>(),
        })
    }
}

/// A failure in full: what the test said, and the requests and answers that led to it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--- {} after {} ms", self.name, self.took.as_millis())?;
        for exchange in &self.exchanges {
            writeln!(f, "{exchange}")?;
        }
        match &self.outcome {
            Outcome::Passed => Ok(()),
            Outcome::Failed(said) => writeln!(f, "{said}"),
        }
    }
}
