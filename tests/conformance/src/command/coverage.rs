//! `plexus-conformance coverage`

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::run::runtime;
use crate::{
    client_server, mutants,
    server::{Server, Target},
    specification::{self, Endpoint},
};

/// Which results.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Base URL of a server: which endpoints does it serve?
    #[arg(long)]
    url: String,
    /// The server's name.
    #[arg(long)]
    server_name: String,
    /// Results of a run by `run --json`, with what the server is called: `standalone=FILE`. The first counts how many
    /// tests touch an endpoint.
    #[arg(long = "results", value_name = "NAME=FILE", required = true)]
    results: Vec<String>,
}

/// What a run of all tests gave.
struct Results {
    name: String,
    passed: usize,
    failed: Vec<String>,
    touches: BTreeMap<&'static str, BTreeSet<String>>,
}

/// Prints the page: what is served, and what is tested.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut results = Vec::new();
    for argument in &options.results {
        let (name, file) = argument.split_once('=').context("results are NAME=FILE")?;
        results.push(read(name, &PathBuf::from(file))?);
    }
    let target = Arc::new(Target::new(&options.url, &options.server_name)?);
    let served = runtime()?.block_on(probe(&target));
    out!("{}", page(&results, &served));
    Ok(true)
}

fn read(name: &str, file: &Path) -> Result<Results> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let reports: Vec<Value> = serde_json::from_str(&text)?;
    ensure!(!reports.is_empty(), "{} has no results", file.display());
    let mut results = Results { name: name.to_owned(), passed: 0, failed: vec![], touches: BTreeMap::new() };
    for report in &reports {
        let test = report["name"].as_str().unwrap_or_default().to_owned();
        for request in report["requests"].as_array().into_iter().flatten() {
            let part = |index: usize| request[index].as_str().unwrap_or_default();
            if let Some(endpoint) = specification::find(part(0), part(1)) {
                results.touches.entry(key(endpoint)).or_default().insert(test.clone());
            }
        }
        if report["passed"] == true {
            results.passed += 1;
        } else {
            results.failed.push(test);
        }
    }
    Ok(results)
}

/// Names of operations are not unique over the APIs, and two pairs of endpoints share a path.
fn key(endpoint: &Endpoint) -> &'static str {
    if endpoint.api == "client-server" { endpoint.operation } else { "" }
}

/// The endpoints that a server does not call unrecognized.
async fn probe(target: &Arc<Target>) -> BTreeSet<&'static str> {
    let server = Server::new(Arc::clone(target));
    let mut served = BTreeSet::new();
    let ours = specification::endpoints().iter().filter(|endpoint| endpoint.api == "client-server");
    for endpoint in ours {
        if specification::is_of_a_route(&specification::ask(&server, endpoint).await) {
            served.insert(endpoint.operation);
        }
    }
    served
}

fn page(results: &[Results], served: &BTreeSet<&'static str>) -> String {
    let mut page = String::from(
        "# Conformance\n\n\
         Counts of `tests/conformance`, and what of the specification (v1.19) is served and tested.\n\
         `tests/run conformance-coverage` writes this page; [`tests/conformance`](../tests/conformance/README.md) says more.\n\n\
         | server | tests | passed | failed |\n| --- | --: | --: | --: |\n",
    );
    for run in results {
        let all = run.passed + run.failed.len();
        writeln!(page, "| {} | {all} | {} | {} |", run.name, run.passed, run.failed.len())
            .expect("writing to text cannot fail");
    }
    let differs = include_str!("../../synapse-differs.tsv");
    let expected = include_str!("../../expected-failures.tsv");
    let lines = |file: &str| file.lines().filter(|line| !line.starts_with('#')).count();
    writeln!(
        page,
        "\nWhat fails on Synapse departs from the specification in a sentence that `synapse-differs.tsv` quotes ({} tests).\n\
         What fails on Plexus is in `expected-failures.tsv` with its reason ({} tests).\n\
         `tests/run conformance-mutants` changes one thing at a time in what a server answers, in {} ways; each must be \
         noticed by a test.",
        lines(differs),
        lines(expected),
        mutants::all().len(),
    )
    .expect("writing to text cannot fail");
    for run in results {
        let list = if run.name == "synapse" { differs } else { expected };
        let listed = |test: &str| list.lines().any(|line| line.split('\t').next() == Some(test));
        for test in run.failed.iter().filter(|test| !listed(test)) {
            writeln!(page, "Not listed, but failed on {} this time: `{test}`.", run.name)
                .expect("writing to text cannot fail");
        }
    }
    page.push('\n');
    let sections = sections();
    page.push_str("## Sections\n\n| section | tests |\n| --- | --: |\n");
    for (section, count) in sections {
        writeln!(page, "| `{section}` | {count} |").expect("writing to text cannot fail");
    }
    page.push_str("\n## Endpoints\n\n");
    let ours: Vec<_> =
        specification::endpoints().iter().filter(|endpoint| endpoint.api == "client-server").collect();
    let count = ours.iter().filter(|endpoint| served.contains(endpoint.operation)).count();
    let touched = |endpoint: &Endpoint| results[0].touches.get(key(endpoint)).map_or(0, BTreeSet::len);
    let tested =
        ours.iter().filter(|endpoint| served.contains(endpoint.operation) && touched(endpoint) > 0).count();
    writeln!(
        page,
        "{} endpoints of the specification: {count} of {} of the client-server API are served, {tested} of these are \
         touched by a test; those of the other APIs ({}) are not probed.\n\n\
         | endpoint | | served | tests |\n| --- | --- | --- | --: |",
        specification::endpoints().len(),
        ours.len(),
        specification::endpoints().len() - ours.len(),
    )
    .expect("writing to text cannot fail");
    for endpoint in specification::endpoints() {
        let is_ours = endpoint.api == "client-server";
        let served = match is_ours {
            true if served.contains(endpoint.operation) => "yes",
            true => "",
            false => "–",
        };
        let tests = if is_ours { touched(endpoint) } else { 0 };
        let note = match (is_ours, endpoint.deprecated) {
            (false, _) => endpoint.api,
            (true, true) => "deprecated",
            (true, false) => "",
        };
        writeln!(page, "| `{} {}` | {note} | {served} | {tests} |", endpoint.method, endpoint.path)
            .expect("writing to text cannot fail");
    }
    page
}

/// How many tests each section has.
fn sections() -> BTreeMap<String, usize> {
    let mut sections = BTreeMap::new();
    for test in client_server::tests() {
        let section = match test.name.split_once("client_server/endpoints/") {
            // Each endpoint of these tables is a test: they count together.
            Some(_) => "client_server/endpoints".to_owned(),
            None => test.name.rsplit_once('/').map_or(test.name.clone(), |(section, _)| section.to_owned()),
        };
        *sections.entry(section).or_default() += 1;
    }
    sections
}
