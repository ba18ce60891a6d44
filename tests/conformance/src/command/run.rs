//! `plexus-conformance run`

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::{
    harness::{self, Expectations, Outcome, Report, Test},
    server::Target,
};

/// All tests.
fn all_tests() -> Vec<Test> {
    [crate::client_server::tests(), crate::server_server::tests()].concat()
}

/// Which tests.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only tests whose name contains one of these.
    names: Vec<String>,
    /// Only every Nth of them: a sample.
    #[arg(long, default_value_t = 1, value_name = "N")]
    every: usize,
}

impl Filter {
    /// The tests that are meant.
    pub(crate) fn tests(&self) -> Vec<Test> {
        let wanted = |test: &Test| {
            self.names.is_empty() || self.names.iter().any(|part| test.name.contains(part.as_str()))
        };
        all_tests().into_iter().filter(wanted).step_by(self.every.max(1)).collect()
    }
}

/// Against which server.
#[derive(Debug, Args)]
pub(crate) struct Against {
    /// Base URL of the client API.
    #[arg(long)]
    pub(crate) url: String,
    /// The server's name.
    #[arg(long)]
    pub(crate) server_name: String,
    /// How many tests run at once.
    #[arg(long, default_value_t = 12, value_name = "N")]
    pub(crate) at_once: usize,
}

/// Against what, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    against: Against,
    /// Tables of tests that are expected to fail.
    #[arg(long, value_name = "FILE")]
    expect: Vec<PathBuf>,
    /// Shape of the server, as these tables name it.
    #[arg(long, default_value = "")]
    shape: String,
    /// Where to write results for machines.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Runs tests again that fail unexpectedly, alone, and takes the second result: for servers that are the measure
    /// of the tests, not what they test, and now and then race.
    #[arg(long)]
    twice: bool,
    /// Prints every test, not only those that fail.
    #[arg(long, short)]
    verbose: bool,
}

/// A runtime for tests.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}

/// Runs tests; whether all went as expected.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut expected = Vec::new();
    for file in &options.expect {
        expected.push(Expectations::read(file, &options.shape)?);
    }
    check_names(&expected)?;
    let tests = options.filter.tests();
    ensure!(!tests.is_empty(), "no test is meant by that");
    let target = Arc::new(Target::new(&options.against.url, &options.against.server_name)?);
    let began = Instant::now();
    let runtime = runtime()?;
    let run = |tests: &[Test], at_once| {
        let print = |report: &Report| print(report, &expected, options.verbose);
        runtime.block_on(harness::run(&target, tests, at_once, print))
    };
    let mut reports = run(&tests, options.against.at_once.max(1));
    if options.twice {
        let failed = |report: &Report| !report.passed() && reason(&expected, report).is_none();
        let (failed, rest): (Vec<_>, _) = reports.into_iter().partition(failed);
        let names: BTreeSet<_> = failed.iter().map(|report| &report.name).collect();
        let again: Vec<_> = tests.iter().filter(|test| names.contains(&test.name)).cloned().collect();
        if !again.is_empty() {
            outln!("{} of them again", again.len());
        }
        reports = rest;
        reports.extend(run(&again, 1));
    }
    if let Some(file) = &options.json {
        let all: Value = reports.iter().map(Report::json).collect();
        fs::write(file, all.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(summary(&reports, &expected, began))
}

fn reason<'a>(expected: &'a [Expectations], report: &Report) -> Option<&'a str> {
    expected.iter().find_map(|table| table.reason(&report.name))
}

/// Whether a test passes that is listed as one that always fails.
fn is_news(expected: &[Expectations], report: &Report) -> bool {
    report.passed() && expected.iter().any(|table| table.fails_always(&report.name))
}

/// A table that names a test which does not exist is out of date.
fn check_names(expected: &[Expectations]) -> Result<()> {
    let known: BTreeSet<String> = all_tests().into_iter().map(|test| test.name).collect();
    for name in expected.iter().flat_map(Expectations::names) {
        ensure!(known.contains(name), "there is no test {name}, though it is listed");
    }
    Ok(())
}

fn print(report: &Report, expected: &[Expectations], verbose: bool) {
    match (&report.outcome, reason(expected, report)) {
        (Outcome::Passed, Some(reason)) if is_news(expected, report) => {
            outln!("{} unexpected\n  it passes, but is listed as one that fails: {reason}", report.name);
        }
        (Outcome::Passed, _) if !verbose => {}
        (Outcome::Passed, _) => outln!("{} passed", report.name),
        (Outcome::Failed(_), Some(_)) => outln!("{} expected", report.name),
        (Outcome::Failed(_), None) => out!("{} failed\n{report}", report.name),
    }
}

fn summary(reports: &[Report], expected: &[Expectations], began: Instant) -> bool {
    let count = |of: &dyn Fn(&Report) -> bool| reports.iter().filter(|report| of(report)).count();
    let passed = count(&Report::passed);
    let unexpected = count(&|report| is_news(expected, report));
    let listed = count(&|report| !report.passed() && reason(expected, report).is_some());
    let wrong = reports.len() - passed - listed + unexpected;
    outln!("{} tests in {:.1} s", reports.len(), began.elapsed().as_secs_f64());
    outln!("{listed} fail as expected, {unexpected} pass though listed as failing");
    outln!("{} passed, {wrong} failed", passed - unexpected);
    wrong == 0
}
