//! Talking with other homeservers: finding them, signing and verifying requests, their keys, and what to expect of them.
//!
//! [`Peers`] makes requests; [`Discovery`] finds where a server name leads, by [`plexus_outbound`], which refuses private
//! addresses; [`authorization`] is the header of signed requests; [`KeyRing`] holds the keys of servers. It knows
//! neither rooms nor logs nor databases: keys are kept by whoever implements [`KeyStore`].
//!
//! Requests are signed here and not by ruma because they may hold events of room versions 3 to 5, whose numbers have no
//! canonical form, and because older servers write the header in ways that its parser refuses.

pub mod authorization;
pub mod discover;
pub mod health;
pub mod keys;
pub mod name;
mod path;
pub mod pool;
pub mod request;
pub mod well_known;

pub use discover::{DiscoverError, Discovery, Route};
pub use health::Health;
pub use keys::{KeyRing, KeyStore, Purpose, ServerKeys};
pub use name::{Host, NameError, PeerName};
pub use path::encoded;
pub use request::{Call, CallError, Class, Fault, Peers, chain};

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
