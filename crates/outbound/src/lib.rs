//! Connections to addresses that strangers choose: other homeservers, push gateways, pages to preview.
//!
//! Whoever names a server or a URL must not make us talk to ourselves or to our neighbors, so every connection of this
//! kind is made here: [`Dialer`] checks the socket address that it is about to connect to, at every attempt, whatever
//! was resolved before. [`Fetcher`] follows redirects, each with the same check. Nothing here reads a proxy from the
//! environment or keeps cookies; bodies and times have bounds.
//!
//! It knows nothing of Matrix.

pub mod address;
pub mod dial;
pub mod fetch;
pub mod resolve;
pub mod tls;
pub mod wire;

pub use address::{AddressPolicy, DEFAULT_DENIED, RangeError};
pub use dial::{ConnectError, Dialer, SetupError};
pub use fetch::{FetchError, Fetched, Fetcher, Limits, OpenedUrl};
pub use resolve::{Dns, DnsConfigError, Resolve, ResolveError, Service};
pub use tls::TrustError;

#[cfg(test)]
mod tests;
