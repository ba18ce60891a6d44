//! Limits on wrong passwords, by which nobody keeps anybody else out.
//!
//! Failures count by account and by where they come from, so that somebody who fails elsewhere does not lock the owner
//! out. A limit on the account as a whole stands against many addresses; those pass it from which the account logged in
//! before. A device that is logged in counts by itself.

use std::{net::IpAddr, time::Duration};

use moka::sync::Cache;
use plexus_service::config::RateLimitsConfig;
use ruma::{DeviceId, UserId};

use super::{buckets::Buckets, network};

/// Addresses that are remembered at once, each with its account. Beyond it those seen longest ago are forgotten.
const MAX_KNOWN: u64 = 100_000;
/// How long an address is remembered.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where a password comes from.
#[derive(Debug, Clone, Copy)]
pub enum LoginSource<'a> {
    /// Somebody who is not logged in, at this address.
    Address(IpAddr),
    /// A device that is logged in to the account.
    Device(&'a DeviceId),
}

pub(super) struct Failures {
    by_source: Buckets,
    by_account: Buckets,
    known: Cache<(String, IpAddr), ()>,
}

impl Failures {
    pub(super) fn new(config: &RateLimitsConfig) -> Self {
        Self {
            by_source: Buckets::new(config.failed_login),
            by_account: Buckets::new(config.failed_login_account),
            known: Cache::builder().max_capacity(MAX_KNOWN).time_to_idle(KNOWN_FOR).build(),
        }
    }

    /// Refuses while there were too many failures; counts nothing.
    pub(super) fn check(&self, user: &UserId, source: LoginSource<'_>) -> Result<(), Duration> {
        match source {
            LoginSource::Device(device) => self.by_source.peek((user.as_str(), device.as_str())),
            LoginSource::Address(address) => {
                let address = network(address);
                self.by_source.peek((user.as_str(), address))?;
                if self.known.contains_key(&(user.to_string(), address)) {
                    return Ok(());
                }
                self.by_account.peek(user.as_str())
            }
        }
    }

    /// Counts a failure.
    pub(super) fn count(&self, user: &UserId, source: LoginSource<'_>) {
        match source {
            LoginSource::Device(device) => self.by_source.force((user.as_str(), device.as_str())),
            LoginSource::Address(address) => {
                self.by_source.force((user.as_str(), network(address)));
                self.by_account.force(user.as_str());
            }
        }
    }

    /// Remembers an address from which somebody has logged in.
    pub(super) fn remember(&self, user: &UserId, address: IpAddr) {
        self.known.insert((user.to_string(), network(address)), ());
    }
}
