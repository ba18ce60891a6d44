//! Sessions by access token, held in memory, because every client request asks for one.
//!
//! The room server that owns a user's partition holds them, and so may the services that ask it, by leases: an owner
//! tells nobody that a session has ended before all who hold it have dropped it or their leases have run out.

mod cache;
mod lease;

pub use cache::{Session, SessionCache, Ticket, TokenHash};
pub use lease::keep_leases;
