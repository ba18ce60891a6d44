//! The run of an attack: who sends what, and what is wrong with the answers.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use tokio::sync::Mutex;

use super::{
    dice::Dice,
    holding,
    request::{Attack, Outcome},
    scene::Scene,
};
use crate::{
    server::{Server, Target},
    specification::{Endpoint, endpoints, proposed},
};

/// After how many requests the victim reads, and another attacker begins.
const ACT: u64 = 250;
/// Versions of the rooms that are attacked in turn.
const VERSIONS: [&str; 5] = ["12", "11", "10", "6", "3"];
/// What is worth more requests than others: content that others read.
const OFTEN: [&str; 3] = ["setRoomStateWithKey", "sendMessage", "setRoomStateWithKey"];

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many requests.
    pub(crate) requests: u64,
    /// Seed of the dice.
    pub(crate) seed: u64,
    /// How many attackers at once.
    pub(crate) at_once: usize,
    /// Only operations whose name contains this.
    pub(crate) only: Option<String>,
    /// Only this request.
    pub(crate) number: Option<u64>,
    /// How many silent connections of each kind.
    pub(crate) silent: usize,
    /// Within what time the server has to close them; unset if that does not matter.
    pub(crate) silent_for: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What is wrong, in order of its coming up.
    pub(crate) wrong: Vec<String>,
    /// Answers by status; 0 stands for connections closed without one.
    pub(crate) answers: BTreeMap<u16, usize>,
    /// Reads by victims.
    pub(crate) reads: usize,
}

struct Shared {
    target: Arc<Target>,
    address: String,
    plan: Plan,
    endpoints: Vec<&'static Endpoint>,
    next: AtomicU64,
    acts: AtomicUsize,
    findings: Mutex<Findings>,
}

/// The endpoints that are attacked: all that clients have.
fn attacked(only: Option<&str>) -> Vec<&'static Endpoint> {
    let of_clients = endpoints().iter().chain(proposed()).filter(|endpoint| endpoint.api == "client-server");
    let wanted = of_clients.filter(|endpoint| only.is_none_or(|only| endpoint.operation.contains(only)));
    let wanted: Vec<_> = wanted.collect();
    let often = OFTEN.iter().flat_map(|operation| {
        let times = wanted.len() / 12;
        let endpoint = wanted.iter().find(|endpoint| endpoint.operation == *operation).copied();
        endpoint.into_iter().flat_map(move |endpoint| std::iter::repeat_n(endpoint, times))
    });
    let often: Vec<_> = often.collect();
    [wanted, often].concat()
}

/// Attacks a server.
pub(crate) async fn run(target: &Arc<Target>, plan: Plan) -> Result<Findings> {
    let address = target.url.trim_start_matches("http://").to_owned();
    let endpoints = attacked(plan.only.as_deref());
    ensure!(!endpoints.is_empty(), "no operation is meant by that");
    let server = Server::new(Arc::clone(target));
    if plan.silent > 0 {
        holding::hold(&server, &address, plan.silent, plan.silent_for).await?;
    }
    let at_once = plan.at_once.max(1);
    let shared = Arc::new(Shared {
        target: Arc::clone(target),
        address,
        plan,
        endpoints,
        next: AtomicU64::new(0),
        acts: AtomicUsize::new(0),
        findings: Mutex::default(),
    });
    let began = Instant::now();
    let attackers = (0..at_once).map(|_| {
        let shared = Arc::clone(&shared);
        async move {
            while act(&shared).await? {}
            Ok::<_, anyhow::Error>(())
        }
    });
    futures::future::try_join_all(attackers).await?;
    let findings = std::mem::take(&mut *shared.findings.lock().await);
    outln!(
        "{:?} in {:.0} s, {} reads by victims",
        findings.answers,
        began.elapsed().as_secs_f64(),
        findings.reads
    );
    Ok(findings)
}

/// One act: a scene, requests, and what the victim reads then. Returns whether there is more to do.
async fn act(shared: &Shared) -> Result<bool> {
    let Plan { requests, number, .. } = shared.plan;
    let first = shared.next.fetch_add(ACT, Ordering::Relaxed);
    if first >= requests {
        return Ok(false);
    }
    if number.is_some_and(|number| !(first..first + ACT).contains(&number)) {
        return Ok(true);
    }
    let version = VERSIONS[shared.acts.fetch_add(1, Ordering::Relaxed) % VERSIONS.len()];
    let server = Server::new(Arc::clone(&shared.target));
    let mut scene = Scene::set(&server, version).await;
    for request in first..requests.min(first + ACT) {
        if number.is_some_and(|number| number != request) {
            continue;
        }
        if attack(shared, &scene, request).await? {
            // The attacker has logged out, or is gone.
            read(shared, &scene, request).await;
            scene = Scene::set(&server, version).await;
        }
    }
    read(shared, &scene, requests.min(first + ACT)).await;
    Ok(true)
}

/// Sends a request; returns whether the attacker is nobody any more.
async fn attack(shared: &Shared, scene: &Scene, number: u64) -> Result<bool> {
    let mut dice = Dice::of(shared.plan.seed, number);
    let endpoint = dice.pick(&shared.endpoints);
    let attack = Attack::make(endpoint, scene, &mut dice);
    let outcome = attack.send(&shared.address).await?;
    let wrong = match &outcome {
        Outcome::Hung => Some("no answer came".to_owned()),
        Outcome::Closed if attack.deserves_an_answer() => {
            Some("the connection was closed without an answer".to_owned())
        }
        Outcome::Answered(502 | 504) if attack.leads_elsewhere => None,
        Outcome::Answered(501) => None,
        Outcome::Answered(status) if *status >= 500 => Some(format!("the answer was {status}")),
        Outcome::Closed | Outcome::Answered(_) => None,
    };
    let mut findings = shared.findings.lock().await;
    let status = if let Outcome::Answered(status) = outcome { status } else { 0 };
    *findings.answers.entry(status).or_default() += 1;
    if let Some(wrong) = wrong {
        let shown = attack.shown();
        findings.wrong.push(format!("request {number}, {}: {wrong}\n{shown}", endpoint.operation));
    }
    let ends_session = ["logout", "logout_all", "deactivateAccount", "changePassword"];
    Ok(status == 401 && attack.is_authorized || ends_session.contains(&endpoint.operation))
}

/// The victim reads.
async fn read(shared: &Shared, scene: &Scene, number: u64) {
    // A request that gets no answer panics, as a test may; here it is something to tell.
    let unreadable = AssertUnwindSafe(scene.unreadable()).catch_unwind().await;
    let mut findings = shared.findings.lock().await;
    findings.reads += 1;
    match unreadable {
        Ok(wrong) => {
            let told = wrong.into_iter().map(|wrong| format!("before request {number}: {wrong}"));
            findings.wrong.extend(told);
        }
        Err(_) => findings.wrong.push(format!("before request {number}: the victim got no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_clients_is_attacked() {
        let attacked = attacked(None);
        for endpoint in endpoints().iter().filter(|endpoint| endpoint.api == "client-server") {
            assert!(attacked.contains(&endpoint), "{}", endpoint.operation);
        }
        for operation in OFTEN {
            assert!(
                attacked.iter().filter(|endpoint| endpoint.operation == operation).count() > 5,
                "{operation}"
            );
        }
    }
}
