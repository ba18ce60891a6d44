//! Servers that are wrong in one thing: a proxy changes one thing at a time, and the tests should notice.

mod change;
mod proxy;
mod table;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use futures::{StreamExt as _, stream};

use self::{change::Change, proxy::Proxy};
use crate::{
    harness::{self, Report, Test},
    server::Target,
    specification,
    wire::Exchange,
};

/// A thing to be wrong in.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// The operation that is changed, by the specification's name; `*` for all.
    pub(crate) operation: &'static str,
    /// What is changed.
    change: Change,
}

impl Mutant {
    /// What it does, for people.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.operation, self.change)
    }

    /// Whether it would have changed something in what was said.
    fn touches(&self, exchanges: &[Exchange]) -> bool {
        let touched = |exchange: &&Exchange| {
            self.concerns(&exchange.method, &exchange.path) && self.change.touches(exchange)
        };
        let mut paths = exchanges.iter().filter(touched).map(|exchange| &*exchange.path);
        if matches!(self.change, Change::Repeat) {
            // Only who says the same twice can tell.
            let mut seen = BTreeSet::new();
            return paths.any(|path| !seen.insert(path));
        }
        paths.next().is_some()
    }

    fn concerns(&self, method: &str, path: &str) -> bool {
        self.operation == "*"
            || specification::find(method, path).is_some_and(|endpoint| endpoint.operation == self.operation)
    }
}

/// All mutants.
pub(crate) fn all() -> Vec<Mutant> {
    table::mutants()
}

/// A test, and what was said in it when the server was not changed.
#[derive(Debug, Clone)]
pub(crate) struct Baseline {
    test: Test,
    exchanges: Vec<Exchange>,
}

impl Baseline {
    /// From a test that passed.
    pub(crate) fn new(test: Test, report: &Report) -> Self {
        Self { test, exchanges: report.exchanges.clone() }
    }

    /// How much else it asks for: fewer is nearer to the point.
    fn breadth(&self) -> usize {
        let endpoints = self.exchanges.iter().map(|exchange| {
            let found = specification::find(&exchange.method, &exchange.path);
            found.map_or("", |endpoint| endpoint.operation)
        });
        endpoints.collect::<BTreeSet<_>>().len()
    }
}

/// What became of a mutant.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The mutant.
    pub(crate) mutant: Mutant,
    /// Tests that noticed it.
    pub(crate) noticed: Vec<String>,
    /// How many tests were run.
    pub(crate) run: usize,
    /// How often it changed something.
    pub(crate) changed: usize,
}

/// How many tests run at once for a mutant.
const AT_ONCE: usize = 8;

/// More tests than this are not tried on one mutant.
const MOST: usize = 96;

/// Runs the tests that touch what a mutant changes, the narrowest first, until some have noticed; `all` goes on to the
/// last of them.
pub(crate) async fn judge(
    target: &Arc<Target>,
    baseline: &[Baseline],
    mutant: Mutant,
    all: bool,
) -> Result<Verdict> {
    let touches = |test: &&Baseline| mutant.touches(&test.exchanges);
    let mut candidates: Vec<_> = baseline.iter().filter(touches).collect();
    candidates.sort_by_key(|candidate| candidate.breadth());
    if !all {
        candidates.truncate(MOST);
    }
    let proxy = Proxy::start(target, mutant.clone()).await?;
    let changed = Arc::new(proxy.target(target));
    let mut verdict = Verdict { mutant, noticed: Vec::new(), run: 0, changed: 0 };
    for batch in candidates.chunks(2 * AT_ONCE) {
        let tests: Vec<_> = batch.iter().map(|candidate| candidate.test.clone()).collect();
        for report in harness::run(&changed, &tests, AT_ONCE, |_| {}).await {
            verdict.run += 1;
            if !report.passed() {
                verdict.noticed.push(report.name);
            }
        }
        // Where nothing was changed, a failure is no merit.
        if proxy.changed() == 0 {
            verdict.noticed.clear();
        }
        if !all && !verdict.noticed.is_empty() {
            break;
        }
    }
    verdict.changed = proxy.changed();
    Ok(verdict)
}

/// Judges mutants, some at once, and hands each verdict to `done` when it is there.
pub(crate) async fn judge_all(
    target: &Arc<Target>,
    baseline: &[Baseline],
    mutants: Vec<Mutant>,
    all: bool,
    done: impl Fn(&Verdict),
) -> Result<Vec<Verdict>> {
    let mut running =
        stream::iter(mutants).map(|mutant| judge(target, baseline, mutant, all)).buffer_unordered(3);
    let mut verdicts = Vec::new();
    while let Some(verdict) = running.next().await {
        let verdict = verdict?;
        done(&verdict);
        verdicts.push(verdict);
    }
    Ok(verdicts)
}
