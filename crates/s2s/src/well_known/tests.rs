use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use super::*;

fn name(text: &str) -> PeerName {
    PeerName::parse(text).unwrap()
}

fn delegated(lifetime: Option<u64>) -> Outcome {
    Outcome::Delegated(name("b.org"), lifetime.map(Duration::from_secs))
}

#[test]
fn lifetimes_have_bounds_and_jitter() {
    let now = Instant::now();
    for (lifetime, jitter, seconds) in [
        (None, 1.0, 86_400),
        (None, 0.9, 77_760),
        (Some(3_600), 1.0, 3_600),
        (Some(0), 1.0, 300),
        (Some(1_000_000), 1.0, 172_800),
        (Some(u64::MAX), 1.0, 172_800),
    ] {
        let entry = Entry::after(None, delegated(lifetime), now, jitter);
        assert_eq!((entry.fresh_until - now).as_secs(), seconds, "{lifetime:?}");
    }
}

#[test]
fn absence_is_kept_for_longer_each_time() {
    let now = Instant::now();
    let mut entry = None;
    let mut seconds = Vec::new();
    for outcome in [Outcome::Failed, Outcome::Absent, Outcome::Failed, Outcome::Failed, Outcome::Absent] {
        let next = Entry::after(entry.as_ref(), outcome, now, 1.0);
        assert_eq!(next.delegated, None);
        seconds.push((next.fresh_until - now).as_secs());
        entry = Some(next);
    }
    assert_eq!(seconds, [300, 600, 1_200, 2_400, 3_600]);
    let again = Entry::after(entry.as_ref(), delegated(None), now, 1.0);
    assert_eq!(Entry::after(Some(&again), Outcome::Absent, now, 1.0).absence, FIRST_ABSENCE);
}

/// A broken reverse proxy does not make a delegated server be looked for at port 8448.
#[test]
fn a_good_answer_outlives_failures_for_two_hours() {
    let now = Instant::now();
    let good = Entry::after(None, delegated(Some(3_600)), now, 1.0);
    let mut later = now + Duration::from_secs(3_600);
    let mut entry = good.clone();
    for _ in 0..60 {
        entry = Entry::after(Some(&entry), Outcome::Failed, later, 1.0);
        assert_eq!(entry.delegated, Some(name("b.org")));
        assert_eq!(entry.fresh_until - later, Duration::from_secs(120));
        later += Duration::from_secs(120);
    }
    assert_eq!(Entry::after(Some(&entry), Outcome::Failed, later, 1.0).delegated, None);
    // What says that there is no delegation is believed at once.
    assert_eq!(Entry::after(Some(&good), Outcome::Absent, now, 1.0).delegated, None);
}

#[test]
fn answers_are_read_strictly_and_their_lifetime_leniently() {
    let read_with = |header: Option<&str>, body: &str| {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(header::CACHE_CONTROL, header.parse().unwrap());
        }
        read(&headers, body.as_bytes())
    };
    let body = r#"{"m.server":"B.org:443","other":1}"#;
    for (header, lifetime) in [
        (None, None),
        (Some("max-age=60"), Some(60)),
        (Some("public, MAX-AGE = \"60\" , x=y"), Some(60)),
        (Some("no-store"), Some(0)),
        (Some("max-age=9, no-cache"), Some(0)),
        (Some("max-age=minutes"), None),
        (Some("max-age=-1"), None),
    ] {
        let expected = Outcome::Delegated(name("b.org:443"), lifetime.map(Duration::from_secs));
        assert_eq!(read_with(header, body), expected, "{header:?}");
    }
    for body in ["", "{}", "[]", r#"{"m.server":1}"#, r#"{"m.server":"https://b.org"}"#, r#"{"m.server":""}"#]
    {
        assert_eq!(read_with(None, body), Outcome::Absent, "{body}");
    }
}

/// Answers as a test says, and counts.
struct Script {
    asked: Arc<AtomicUsize>,
    answers: Mutex<Vec<Outcome>>,
}

#[async_trait]
impl AskWellKnown for Script {
    async fn ask(&self, _: &str) -> Outcome {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.answers.lock().pop().unwrap_or(Outcome::Failed)
    }
}

#[tokio::test(start_paused = true)]
async fn many_questions_at_the_same_time_are_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = Mutex::new(vec![delegated(Some(600))]);
    let cache = WellKnown::new(Box::new(Script { asked: Arc::clone(&asked), answers }));
    let all = futures::future::join_all((0..50).map(|_| cache.find("a.org"))).await;
    assert!(all.into_iter().all(|found| found == Some(name("b.org"))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // It is asked again when its time is over, and the failure costs nothing yet.
    tokio::time::advance(Duration::from_secs(700)).await;
    let all = futures::future::join_all((0..50).map(|_| cache.find("a.org"))).await;
    assert!(all.into_iter().all(|found| found == Some(name("b.org"))));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    cache.forget("a.org").await;
    assert_eq!(cache.find("a.org").await, None);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
