//! `plexus-conformance mutants`

use std::{sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use clap::Args;

use super::run::{Against, runtime};
use crate::{
    client_server, harness,
    mutants::{self, Baseline, Mutant, Verdict},
    server::{Server, Target},
};

/// Against what, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only mutants whose name contains one of these.
    names: Vec<String>,
    #[command(flatten)]
    against: Against,
    /// Runs every test that touches what is changed, and names all that notice.
    #[arg(long)]
    all: bool,
}

/// Whether every mutant was noticed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let chosen = |mutant: &Mutant| {
        let name = mutant.name();
        options.names.is_empty() || options.names.iter().any(|part| name.contains(part.as_str()))
    };
    let chosen: Vec<_> = mutants::all().into_iter().filter(chosen).collect();
    ensure!(!chosen.is_empty(), "no mutant is meant by that");
    let target = Arc::new(Target::new(&options.against.url, &options.against.server_name)?);
    let began = Instant::now();
    let verdicts = runtime()?.block_on(async {
        let tests = client_server::tests();
        let reports = harness::run(&target, &tests, options.against.at_once.max(1), |_| {}).await;
        let pairs = tests.into_iter().zip(&reports).filter(|(_, report)| report.passed());
        let baseline: Vec<_> = pairs.map(|(test, report)| Baseline::new(test, report)).collect();
        outln!("{} tests pass on the server as it is", baseline.len());
        let verdicts = mutants::judge_all(&target, &baseline, chosen, options.all, print).await?;
        // If the server were gone, every test would fail.
        Server::new(Arc::clone(&target)).user("survivor").await;
        anyhow::Ok(verdicts)
    })?;
    let noticed = verdicts.iter().filter(|verdict| !verdict.noticed.is_empty()).count();
    outln!("{} mutants in {:.1} s", verdicts.len(), began.elapsed().as_secs_f64());
    for verdict in verdicts.iter().filter(|verdict| verdict.noticed.is_empty()) {
        outln!("nobody noticed: {}", verdict.mutant.name());
    }
    outln!("{noticed} passed, {} failed", verdicts.len() - noticed);
    Ok(noticed == verdicts.len())
}

fn print(verdict: &Verdict) {
    let name = verdict.mutant.name();
    match &verdict.noticed[..] {
        [] => outln!(
            "{name}: UNNOTICED by {} tests, though {} answers were changed",
            verdict.run,
            verdict.changed
        ),
        [first, rest @ ..] => {
            outln!("{name}: noticed by {} of {} tests: {first}", rest.len() + 1, verdict.run);
            for other in rest.iter().take(2) {
                outln!("  and {other}");
            }
        }
    }
}
