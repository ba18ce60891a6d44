//! Rate limits.

use serde::{Deserialize, Serialize};

/// One limit: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests a second in the long run.
    pub per_second: f64,
    /// Requests at once.
    pub burst: u32,
}

impl RateLimit {
    pub(super) const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Limits on what one client may ask.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitsConfig {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Events sent, by user.
    pub message: RateLimit,
    /// Registrations, by address.
    pub registration: RateLimit,
    /// Logins, by address.
    pub login: RateLimit,
    /// Failed logins, by account and address, or by account and device where somebody is logged in.
    pub failed_login: RateLimit,
    /// Failed logins, by account. Addresses from which the account has logged in pass.
    pub failed_login_account: RateLimit,
    /// Joins and knocks, by user.
    pub join: RateLimit,
    /// Invites, by who sends them; each invitee counts.
    pub invite: RateLimit,
    /// Invites, by whom they are for.
    pub invitee: RateLimit,
    /// Rooms created, by user.
    pub room_creation: RateLimit,
    /// Requests that send messages to devices, by user; every 25 recipients beyond the first count as one more.
    pub to_device: RateLimit,
    /// One-time keys claimed, by who claims and whose they are.
    pub claim: RateLimit,
    /// All other requests that change something, by user.
    pub other: RateLimit,
    /// Kilobytes written, by user: the bodies of all requests that change something, and one more for each.
    pub written: RateLimit,
    /// Kilobytes of answers, by user, and by address where nobody is known: further reads wait until what was answered is
    /// made up for.
    pub served: RateLimit,
    /// Reads, by user: each counts by its cost, from 1 for what is looked up to 10 for searches.
    pub read: RateLimit,
    /// Reads without a token, by address, likewise.
    pub open_read: RateLimit,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            message: RateLimit::new(5.0, 50),
            registration: RateLimit::new(0.2, 5),
            login: RateLimit::new(0.5, 10),
            failed_login: RateLimit::new(0.2, 5),
            failed_login_account: RateLimit::new(1.0, 50),
            join: RateLimit::new(0.5, 20),
            invite: RateLimit::new(0.5, 100),
            invitee: RateLimit::new(0.05, 50),
            room_creation: RateLimit::new(0.2, 10),
            to_device: RateLimit::new(20.0, 100),
            claim: RateLimit::new(0.2, 200),
            other: RateLimit::new(10.0, 100),
            written: RateLimit::new(6.0, 32_768),
            served: RateLimit::new(4_096.0, 262_144),
            read: RateLimit::new(100.0, 3_000),
            open_read: RateLimit::new(20.0, 500),
        }
    }
}
