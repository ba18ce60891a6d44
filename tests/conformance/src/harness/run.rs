//! Running.

use std::{
    panic,
    sync::{Arc, Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};

use super::{Outcome, Report, Test};
use crate::server::{Server, Target};

/// Longer takes no test that goes well.
const PATIENCE: Duration = Duration::from_secs(90);

tokio::task_local! {
    /// Where a test panicked and what it said.
    static COMPLAINT: Arc<Mutex<String>>;
}

static HOOK: Once = Once::new();

/// Panics of tests are part of their report; others are printed as ever.
fn catch_complaints() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = |location: &panic::Location<'_>| {
                let said = info.payload_as_str().unwrap_or("a panic without words");
                format!("{said}\n  at {}:{}", location.file(), location.line())
            };
            let kept = COMPLAINT.try_with(|complaint| {
                let said = info.location().map_or_else(String::new, text);
                *complaint.lock().unwrap_or_else(PoisonError::into_inner) = said;
            });
            if kept.is_err() {
                before(info);
            }
        }));
    });
}

/// Runs tests, `at_once` at a time, and hands each report to `done` when it is there. Reports are in the order of the
/// tests.
pub(crate) async fn run(
    target: &Arc<Target>,
    tests: &[Test],
    at_once: usize,
    done: impl Fn(&Report),
) -> Vec<Report> {
    catch_complaints();
    let running = stream::iter(tests.iter().enumerate()).map(|(index, test)| {
        let (target, test) = (Arc::clone(target), test.clone());
        async move { (index, one(target, test).await) }
    });
    let mut reports = Vec::with_capacity(tests.len());
    let mut running = running.buffer_unordered(at_once);
    while let Some((index, report)) = running.next().await {
        done(&report);
        reports.push((index, report));
    }
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}

async fn one(target: Arc<Target>, test: Test) -> Report {
    let began = Instant::now();
    let server = Server::new(target);
    let transcript = server.transcript();
    let complaint = Arc::new(Mutex::new(String::new()));
    // A task of its own: a panic ends it and nothing else.
    let mut task = tokio::spawn(COMPLAINT.scope(Arc::clone(&complaint), (test.body)(server)));
    let outcome = match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(_)) => {
            let said = complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Outcome::Failed(said)
        }
        Err(_) => {
            task.abort();
            Outcome::Failed(format!("not done after {PATIENCE:?}"))
        }
    };
    Report { name: test.name, outcome, took: began.elapsed(), exchanges: transcript.exchanges() }
}
