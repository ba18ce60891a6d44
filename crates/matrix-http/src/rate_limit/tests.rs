use plexus_service::config::RateLimit;
use ruma::{device_id, user_id};

use super::*;

const LIMIT: RateLimit = RateLimit { per_second: 0.5, burst: 2 };

fn limiter(config: RateLimitsConfig) -> RateLimiter {
    RateLimiter::new(&RateLimitsConfig { message: LIMIT, failed_login: LIMIT, ..config })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_was_answered_is_made_up_for_before_more_is_read() {
    let config = RateLimitsConfig {
        served: RateLimit { per_second: 10.0, burst: 100 },
        ..RateLimitsConfig::default()
    };
    let limiter = RateLimiter::new(&config);
    limiter.check_served(1).unwrap();
    // One answer may be larger than the bucket; it leaves a debt of one more bucket at most.
    limiter.count_served(1, 1_000 * 1024);
    assert!(limiter.check_served(1).unwrap_err().is("M_LIMIT_EXCEEDED"));
    limiter.check_served(2).unwrap();
    limiter.count_served(2, 99 * 1024);
    limiter.check_served(2).unwrap();
    limiter.count_served(2, 1024);
    limiter.check_served(2).unwrap_err();
}

#[test]
fn more_than_the_burst_is_refused_by_user() {
    let limiter = limiter(RateLimitsConfig::default());
    let (alice, bob) = (user_id!("@alice:test"), user_id!("@bob:test"));
    limiter.check_message(alice).unwrap();
    limiter.check_message(alice).unwrap();
    let error = limiter.check_message(alice).unwrap_err();
    assert!(error.is("M_LIMIT_EXCEEDED"));
    let millis = error.extra["retry_after_ms"].as_u64().unwrap();
    assert!((1..=2000).contains(&millis), "{millis}");
    limiter.check_message(bob).unwrap();
}

#[test]
fn nothing_is_refused_when_limits_are_off() {
    let limiter = limiter(RateLimitsConfig { enabled: false, ..RateLimitsConfig::default() });
    let alice = user_id!("@alice:test");
    let source = LoginSource::Address(address("192.0.2.1"));
    for _ in 0..10_000 {
        limiter.check_message(alice).unwrap();
        limiter.check_invites(alice, [alice; 100].into_iter()).unwrap();
        limiter.check_read(alice, 100).unwrap();
        limiter.check_open_read(address("192.0.2.1"), 100).unwrap();
        limiter.count_failed_login(alice, source);
        limiter.check_failed_logins(alice, source).unwrap();
    }
}

#[test]
fn only_failures_count_against_an_account() {
    let limiter = limiter(RateLimitsConfig::default());
    let alice = user_id!("@alice:test");
    let source = LoginSource::Address(address("192.0.2.1"));
    for _ in 0..10 {
        limiter.check_failed_logins(alice, source).unwrap();
    }
    limiter.count_failed_login(alice, source);
    limiter.count_failed_login(alice, source);
    assert!(limiter.check_failed_logins(alice, source).unwrap_err().is("M_LIMIT_EXCEEDED"));
}

#[test]
fn failures_elsewhere_keep_nobody_out() {
    let limiter = limiter(RateLimitsConfig::default());
    let alice = user_id!("@alice:test");
    let (home, phone) = (LoginSource::Address(address("192.0.2.1")), device_id!("PHONE"));
    limiter.remember_login(alice, address("192.0.2.1"));
    // One attacker does not concern other addresses.
    for _ in 0..20 {
        limiter.count_failed_login(alice, LoginSource::Address(address("198.51.100.1")));
    }
    limiter.check_failed_logins(alice, LoginSource::Address(address("203.0.113.1"))).unwrap();
    // Many attackers are stopped at last; who has been there before, and who is logged in, are not.
    for number in 0..100 {
        limiter.count_failed_login(alice, LoginSource::Address(address(&format!("198.51.100.{number}"))));
    }
    let stranger = LoginSource::Address(address("203.0.113.1"));
    assert!(limiter.check_failed_logins(alice, stranger).unwrap_err().is("M_LIMIT_EXCEEDED"));
    limiter.check_failed_logins(alice, home).unwrap();
    limiter.check_failed_logins(alice, LoginSource::Device(phone)).unwrap();
    // Each of them has failures of its own.
    for source in [home, LoginSource::Device(phone)] {
        limiter.count_failed_login(alice, source);
        limiter.count_failed_login(alice, source);
        assert!(limiter.check_failed_logins(alice, source).unwrap_err().is("M_LIMIT_EXCEEDED"));
    }
}

#[test]
fn each_invitee_counts() {
    let limiter = limiter(RateLimitsConfig { invitee: LIMIT, ..RateLimitsConfig::default() });
    let (alice, bob, carol) = (user_id!("@alice:test"), user_id!("@bob:test"), user_id!("@carol:test"));
    let burst = usize::try_from(RateLimitsConfig::default().invite.burst).unwrap();
    let many: Vec<_> = (0..burst).map(|n| UserId::parse(format!("@u{n}:test")).unwrap()).collect();
    limiter.check_invites(alice, many.iter().map(|user| &**user)).unwrap();
    assert!(limiter.check_invites(alice, [bob].into_iter()).unwrap_err().is("M_LIMIT_EXCEEDED"));
    // Nobody is flooded by many.
    for sender in ["@d:test", "@e:test"] {
        limiter.check_invites(&UserId::parse(sender).unwrap(), [carol].into_iter()).unwrap();
    }
    assert!(limiter.check_invites(bob, [carol].into_iter()).unwrap_err().is("M_LIMIT_EXCEEDED"));
}

#[test]
fn a_heavy_client_may_read() {
    let limiter = limiter(RateLimitsConfig::default());
    let alice = user_id!("@alice:test");
    // The state of 1,000 rooms, 100 pages of a timeline and 50 other reads.
    for _ in 0..1_150 {
        limiter.check_read(alice, 2).unwrap();
    }
}
