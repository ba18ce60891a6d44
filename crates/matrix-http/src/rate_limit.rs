//! Limits on what one client may ask.

mod buckets;
mod failures;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use plexus_service::config::RateLimitsConfig;
use ruma::UserId;

use crate::{MatrixError, UserLimit};
use failures::Failures;

pub use buckets::Buckets;
pub use failures::LoginSource;

/// The limits of the configuration, each with a bucket per user or address. Cheap to clone.
///
/// Routes name their limit in their [`Policy`](crate::Policy); handlers count what only they know.
#[derive(Clone)]
pub struct RateLimiter {
    /// `None` if there are no limits.
    limits: Option<Arc<Limits>>,
}

struct Limits {
    message: Buckets,
    registration: Buckets,
    login: Buckets,
    failed_login: Failures,
    join: Buckets,
    invite: Buckets,
    invitee: Buckets,
    room_creation: Buckets,
    to_device: Buckets,
    claim: Buckets,
    other: Buckets,
    written: Buckets,
    served: Buckets,
    read: Buckets,
    open_read: Buckets,
}

impl RateLimiter {
    /// Makes the buckets, all full.
    #[must_use]
    pub fn new(config: &RateLimitsConfig) -> Self {
        let limits = config.enabled.then(|| {
            Arc::new(Limits {
                message: Buckets::new(config.message),
                registration: Buckets::new(config.registration),
                login: Buckets::new(config.login),
                failed_login: Failures::new(config),
                join: Buckets::new(config.join),
                invite: Buckets::new(config.invite),
                invitee: Buckets::new(config.invitee),
                room_creation: Buckets::new(config.room_creation),
                to_device: Buckets::new(config.to_device),
                claim: Buckets::new(config.claim),
                other: Buckets::new(config.other),
                written: Buckets::new(config.written),
                served: Buckets::new(config.served),
                read: Buckets::new(config.read),
                open_read: Buckets::new(config.open_read),
            })
        });
        Self { limits }
    }

    /// Counts a change by a user.
    pub fn check(&self, limit: UserLimit, user: &UserId) -> Result<(), MatrixError> {
        self.with(|limits| {
            let buckets = match limit {
                UserLimit::Message => &limits.message,
                UserLimit::Join => &limits.join,
                UserLimit::RoomCreation => &limits.room_creation,
                UserLimit::ToDevice => &limits.to_device,
                UserLimit::Other => &limits.other,
            };
            buckets.take(user.as_str(), 1)
        })
    }

    /// Counts what more a request with messages to devices costs than a request.
    pub fn check_to_device(&self, user: &UserId, cost: u32) -> Result<(), MatrixError> {
        if cost == 0 {
            return Ok(());
        }
        self.with(|limits| limits.to_device.take(user.as_str(), cost))
    }

    /// Counts one-time keys that a user claims of another: who claims them all leaves none for others.
    pub fn check_claim(&self, user: &UserId, owner: &UserId, keys: usize) -> Result<(), MatrixError> {
        if keys == 0 {
            return Ok(());
        }
        let keys = u32::try_from(keys).unwrap_or(u32::MAX);
        self.with(|limits| limits.claim.take((user.as_str(), owner.as_str()), keys))
    }

    /// Counts the bytes of a change by a user, as kilobytes: one for the change itself, and those of its body.
    pub fn check_written(&self, user: &UserId, bytes: usize) -> Result<(), MatrixError> {
        let kilobytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_add(1);
        self.with(|limits| limits.written.take(user.as_str(), kilobytes))
    }

    /// Counts an event sent.
    pub fn check_message(&self, user: &UserId) -> Result<(), MatrixError> {
        self.check(UserLimit::Message, user)
    }

    /// Counts invites, each by who sends it and by whom it is for.
    pub fn check_invites<'a>(
        &self,
        sender: &UserId,
        invitees: impl ExactSizeIterator<Item = &'a UserId>,
    ) -> Result<(), MatrixError> {
        let count = u32::try_from(invitees.len()).unwrap_or(u32::MAX);
        self.with(|limits| {
            if count > 0 {
                limits.invite.take(sender.as_str(), count)?;
            }
            invitees.into_iter().try_for_each(|invitee| limits.invitee.take(invitee.as_str(), 1))
        })
    }

    /// Counts a registration.
    pub fn check_registration(&self, address: IpAddr) -> Result<(), MatrixError> {
        self.with(|limits| limits.registration.take(network(address), 1))
    }

    /// Counts a login, or a question about a registration.
    pub fn check_login(&self, address: IpAddr) -> Result<(), MatrixError> {
        self.with(|limits| limits.login.take(network(address), 1))
    }

    /// Counts reads of a user by their cost.
    pub fn check_read(&self, user: &UserId, cost: u32) -> Result<(), MatrixError> {
        self.with(|limits| limits.read.take(user.as_str(), cost))
    }

    /// Counts reads of somebody who shows no token by their cost.
    pub fn check_open_read(&self, address: IpAddr, cost: u32) -> Result<(), MatrixError> {
        self.with(|limits| limits.open_read.take(network(address), cost))
    }

    /// Refuses while more was answered to a holder than may be; counts nothing.
    pub(crate) fn check_served(&self, holder: u64) -> Result<(), MatrixError> {
        self.with(|limits| limits.served.peek(holder))
    }

    /// Counts the bytes of an answer, which is out already: it may leave a debt.
    pub(crate) fn count_served(&self, holder: u64, bytes: usize) {
        if let Some(limits) = &self.limits {
            limits.served.charge(holder, u32::try_from(bytes / 1024).unwrap_or(u32::MAX));
        }
    }

    /// Refuses while too many passwords for the account were wrong; counts nothing.
    pub fn check_failed_logins(&self, user: &UserId, source: LoginSource<'_>) -> Result<(), MatrixError> {
        self.with(|limits| limits.failed_login.check(user, source))
    }

    /// Counts a wrong password for an account, whether it exists or not.
    pub fn count_failed_login(&self, user: &UserId, source: LoginSource<'_>) {
        if let Some(limits) = &self.limits {
            limits.failed_login.count(user, source);
        }
    }

    /// Remembers an address from which a user has logged in: failures elsewhere do not keep the user out there.
    pub fn remember_login(&self, user: &UserId, address: IpAddr) {
        if let Some(limits) = &self.limits {
            limits.failed_login.remember(user, address);
        }
    }

    fn with(&self, check: impl FnOnce(&Limits) -> Result<(), Duration>) -> Result<(), MatrixError> {
        match &self.limits {
            Some(limits) => check(limits).map_err(MatrixError::limit_exceeded),
            None => Ok(()),
        }
    }
}

/// What stands for an address: whoever has one of IPv6 has a /64 of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
